//! A rule lets the SYN pass, and drops the answer to it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::json;

use super::Scenario;
use crate::commands::demo::expect::Expected;
use crate::commands::demo::rules::by_rule;
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("the server's rules do not let its answer out", Code::RT3003, &[kept_in]),
    Scenario::new("the client's rules drop the server's answer", Code::RT3003, &[kept_out]),
];

/// `EINPROGRESS`.
const EINPROGRESS: i32 = 115;

/// What drops the answers of Redis.
const RULE: &str = "tcp sport 6379 drop comment \"hit\"";

/// The other namespace.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// What must be told of an answer that a rule dropped.
fn lost(expected: Expected, server: SocketAddr) -> Expected {
    let flow = json!({"outcome": "timeout", "flow": {"server": endpoint(server)}});
    expected.with(flow).says("dropped the answer (SYN and ACK) of")
}

fn kept_in(stage: &mut Stage) -> Result<()> {
    stage.redis("--bind 127.0.0.1")?;
    stage.own().nft("inet", &[("out", "type filter hook output priority 0;", RULE)])?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, REDIS));
    // It waits well until it was looked who does.
    let dialled = stage.dials(&format!("give-up 2000 {server}"))?.remove(0);
    ensure!(dialled.errno == EINPROGRESS, "the dial ended with errno {}", dialled.errno);
    let expected = by_rule(Code::RT3003, stage.own(), "output", "hit")?
        .with(json!({"side": "both", "client_process": {"pid": dialled.pid, "comm": "client"}}))
        .says("nft insert rule inet f out ct state established,related accept");
    stage.expect(lost(expected, server));
    Ok(())
}

/// Whoever waits for it is told once it has waited: anyone can send answers.
fn kept_out(stage: &mut Stage) -> Result<()> {
    stage.other_netns(&format!("{FAR}/24"))?;
    stage.redis_elsewhere(&format!("--bind {FAR}"))?;
    stage.own().nft("inet", &[("in", "type filter hook input priority 0;", RULE)])?;
    let server = SocketAddr::from((FAR, REDIS));
    let dialled = stage.dials(&format!("give-up 3900 {server}"))?.remove(0);
    ensure!(dialled.errno == EINPROGRESS, "the dial ended with errno {}", dialled.errno);
    let expected = by_rule(Code::RT3003, stage.own(), "input", "hit")?
        .with(json!({"side": "client", "client_process": {"pid": dialled.pid, "comm": "client"}}));
    stage.expect(lost(expected, server));
    stage.expect(Expected::correction(Code::RT3003, 0));
    Ok(())
}
