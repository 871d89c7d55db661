//! What the client did, and what stood between it and the server.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Agent, Scenario};
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("localhost is refused on ::1 and answers on 127.0.0.1", Code::RT1009, &[localhost]),
    Scenario { agent: Agent::Counting, ..Scenario::new("a client tries 20 times", Code::RT1001, &[twenty_times]) },
    Scenario::new("an sk_lookup program turns the connection away from its listener", Code::RT1019, &[sk_lookup]),
];

fn localhost(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    let dialled = stage.dial(1, "[::1]:6379 127.0.0.1:6379")?;
    ensure!(
        dialled.len() == 2 && dialled[0].errno != 0 && dialled[1].errno == 0,
        "localhost was dialled with {dialled:?}"
    );
    let expected = stage.refusal(Code::RT1009, &dialled[0], (Ipv6Addr::LOCALHOST, REDIS).into());
    stage.expect(expected.with(json!({"benign": true, "server_process": {"pid": redis}})));
    Ok(())
}

fn twenty_times(stage: &mut Stage) -> Result<()> {
    let server: SocketAddr = (Ipv4Addr::LOCALHOST, 26_411).into();
    let dialled = stage.dial(20, &server.to_string())?;
    ensure!(dialled.len() == 20 && dialled.iter().all(|dialled| dialled.errno != 0), "20 dials ended as {dialled:?}");
    let mut expected = stage.refusal(Code::RT1001, &dialled[0], server).with(json!({"count": 20}));
    expected.is["flow"] = json!({"server": endpoint(server), "netns": stage.netns()});
    stage.expect(expected);
    Ok(())
}

fn sk_lookup(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.refuse_by_sk_lookup()?;
    let server = (Ipv4Addr::LOCALHOST, REDIS).into();
    let dialled = stage.refused(server)?;
    let expected = stage.refusal(Code::RT1019, &dialled, server);
    stage.expect(expected.says(&redis));
    Ok(())
}
