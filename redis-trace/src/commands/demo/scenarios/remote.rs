//! Another host answers, something on the way to it does, or nobody.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Needs, Scenario};
use crate::commands::demo::expect::Expected;
use crate::commands::demo::stage::{REDIS, Stage};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("another host sends the reset", Code::RT4001, &[reset]),
    Scenario::new("a router answers with an ICMP error", Code::RT4002, &[icmp]),
    Scenario::new("nobody answers, and the kernel gives up", Code::RT4003, &[timeout]),
    Scenario::new("nobody answers, and the client gives up", Code::RT4003, &[given_up]),
    Scenario::new("a middlebox sends the reset", Code::RT4004, &[middlebox]).needing(Needs::Trampolines),
];

/// errno values.
const EINPROGRESS: i32 = 115;
const ETIMEDOUT: i32 = 110;
const EHOSTUNREACH: i32 = 113;

/// The other host.
const SERVER: [u8; 4] = [10, 77, 0, 2];

/// Another host that answers SYNs so.
fn host(stage: &mut Stage, answers: &str) -> Result<()> {
    let other = stage.other_netns("10.77.0.254/24")?;
    let mac = other.mac()?;
    stage.know_neighbour("10.77.0.2", &mac)?;
    if !answers.is_empty() {
        stage.actor_elsewhere(&format!("answer 10.77.0.2 {answers}"), "ready")?;
    }
    Ok(())
}

fn reset(stage: &mut Stage) -> Result<()> {
    host(stage, "6379:reset:64")?;
    let server = SocketAddr::from((SERVER, REDIS));
    let dialled = stage.refused(server)?;
    let expected = stage.failure(Code::RT4001, &dialled, server, "refused");
    stage.expect(expected.with(json!({"cause": {"confidence": "likely"}})).says("with a reset after "));
    Ok(())
}

fn icmp(stage: &mut Stage) -> Result<()> {
    host(stage, "6379:unreachable:13:10.77.0.254 6380:unreachable:3:10.77.0.254")?;
    let server = SocketAddr::from((SERVER, REDIS));
    let dialled = stage.fails(server, EHOSTUNREACH)?;
    let expected = stage.failure(Code::RT4002, &dialled, server, "denied");
    stage.expect(expected.with(json!({"errno": "EHOSTUNREACH", "cause": {"class": "remote"}})).says("ICMP error"));
    Ok(())
}

fn timeout(stage: &mut Stage) -> Result<()> {
    host(stage, "")?;
    stage.sysctl("ipv4/tcp_syn_retries", 1)?;
    let server = SocketAddr::from((SERVER, REDIS));
    let dialled = stage.fails(server, ETIMEDOUT)?;
    let expected = stage.failure(Code::RT4003, &dialled, server, "timeout");
    stage.expect(expected.with(json!({"errno": "ETIMEDOUT"})).says("though the SYN was sent"));
    Ok(())
}

/// It is told while it still waits, and corrected when it ends.
fn given_up(stage: &mut Stage) -> Result<()> {
    host(stage, "")?;
    let server = SocketAddr::from((SERVER, REDIS));
    let dialled = stage.dials(&format!("give-up 3900 {server}"))?.remove(0);
    ensure!(dialled.errno == EINPROGRESS, "the dial ended with errno {}", dialled.errno);
    let expected = stage.failure(Code::RT4003, &dialled, server, "timeout");
    stage.expect(expected.says(&"no answer from 10.77.0.2:6379 for 3."));
    stage.expect(Expected::correction(Code::RT4003, 0));
    Ok(())
}

fn middlebox(stage: &mut Stage) -> Result<()> {
    host(stage, "6379:accept 6380:reset:200")?;
    let answered = stage.dial(1, "10.77.0.2:6379")?;
    ensure!(answered[0].errno == 0, "the peer did not answer: errno {}", answered[0].errno);
    let server = SocketAddr::from((SERVER, 6380));
    let dialled = stage.refused(server)?;
    let expected = stage.failure(Code::RT4004, &dialled, server, "refused");
    stage.expect(expected.with(json!({"cause": {"confidence": "likely"}})).says("200").says("64"));
    Ok(())
}
