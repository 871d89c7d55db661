//! What is no refusal.

use anyhow::Result;

use super::{Agent, Needs, Scenario};
use crate::commands::demo::stage::Stage;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "healthy connections of every kind",
    code: None,
    agent: Agent::Shared,
    before: None,
    needs: Needs::Nothing,
    steps: &[healthy],
}];

fn healthy(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 0.0.0.0")?;
    let connections = stage.connections;
    let client = stage.actor(&format!("healthy 0.0.0.0:6379 {connections}"), "done")?;
    stage.process(client)?.finish()?;
    Ok(())
}
