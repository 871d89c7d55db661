//! Calls that TOMOYO denies.

use anyhow::Result;
use serde_json::json;

use super::denial::{EPERM, denied_bind, denied_connect, dial_after_denial, loopback};
use super::{Needs, Scenario};
use crate::commands::demo::stage::{REDIS, Stage};
use crate::commands::demo::tomoyo::DOMAIN;
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("TOMOYO denies bind to redis-server", Code::RT3010, &[bind, dial_after_denial])
        .needing(Needs::Tomoyo),
    Scenario::new("TOMOYO denies connect to a client", Code::RT3012, &[connect]).needing(Needs::Tomoyo),
    Scenario {
        code: None,
        ..Scenario::new("TOMOYO is permissive and denies redis-server nothing", Code::RT0000, &[permissive])
            .needing(Needs::Tomoyo)
    },
];

fn bind(stage: &mut Stage) -> Result<()> {
    stage.be_strict("enforcing")?;
    let redis = stage.confined_redis("tomoyo", "--bind 127.0.0.1")?;
    // What it becomes by exec is in a domain below.
    let lsm = json!({"module": "tomoyo", "operation": "bind", "object": "tcp 127.0.0.1:6379"});
    let is = json!({"cause": {"confidence": "certain"}, "lsm": lsm});
    let expected = denied_bind(stage, Code::RT3010, redis, REDIS, "EPERM").with(is);
    stage.expect(expected.says(&format!("TOMOYO for {DOMAIN} /")).says("tomoyo-editpolicy"));
    Ok(())
}

fn connect(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    stage.be_strict("enforcing")?;
    let dialled = stage.confined_dial("tomoyo", loopback(REDIS), EPERM)?;
    let lsm = json!({"module": "tomoyo", "operation": "connect", "subject": DOMAIN, "object": "tcp 127.0.0.1:6379"});
    let is = json!({"cause": {"confidence": "certain"}, "lsm": lsm});
    stage.expect(denied_connect(stage, Code::RT3012, &dialled, "EPERM").with(is).says("TOMOYO"));
    Ok(())
}

/// What a permissive TOMOYO counts it does not deny.
fn permissive(stage: &mut Stage) -> Result<()> {
    stage.be_strict("permissive")?;
    stage.unharmed_redis("tomoyo", "--bind 127.0.0.1").map(drop)
}
