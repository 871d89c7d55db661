//! What once listened there, and how it ended.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use rustix::process::Signal;
use serde_json::json;

use super::{Agent, Scenario};
use crate::commands::demo::expect::Expected;
use crate::commands::demo::stage::{REDIS, Stage};
use crate::trace::cause::Code;

/// A port that no server on any host is likely to use: no other namespace explains a refusal there.
const LONELY: u16 = 26_411;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("nothing ever listened on the port", Code::RT1001, &[nothing_there]),
    Scenario::new("redis-server exited after SHUTDOWN", Code::RT1002, &[shut_down]),
    Scenario::new("redis-server was killed by kill -9", Code::RT1003, &[killed]),
    Scenario::new("redis-server ran out of its cgroup's memory", Code::RT1004, &[out_of_memory]),
    Scenario::new("redis-server crashed by SIGSEGV", Code::RT1005, &[crashed]),
    Scenario::new("the listening socket was closed while its process lives", Code::RT1006, &[closed]),
    Scenario::new("a socket is bound and never listens", Code::RT1014, &[bound]),
    Scenario {
        agent: Agent::Own,
        before: Some(killed_before),
        ..Scenario::new("redis-server was killed before anybody watched", Code::RT1001, &[after_killed_before])
    },
    Scenario::new("another program took the port after Redis died, and died too", Code::RT1003, &[taken_over]),
    Scenario::new("the server started after the refusal", Code::RT1018, &[refused_too_early, then_started]),
];

fn nothing_there(stage: &mut Stage) -> Result<()> {
    for server in [(Ipv4Addr::LOCALHOST, LONELY).into(), (Ipv6Addr::LOCALHOST, LONELY).into()] {
        let dialled = stage.refused(server)?;
        let expected = stage.refusal(Code::RT1001, &dialled, server);
        stage.expect(expected.with(json!({"cause": {"confidence": "certain"}})));
    }
    Ok(())
}

/// Dials a Redis that is no more; the verdict must name the process.
fn dial_the_late(stage: &mut Stage, code: Code, pid: u32) -> Result<Expected> {
    let server = (Ipv4Addr::LOCALHOST, REDIS).into();
    let dialled = stage.refused(server)?;
    Ok(stage.refusal(code, &dialled, server).with(json!({"server_process": {"pid": pid}})).says(&pid))
}

fn shut_down(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.run("redis-cli shutdown nosave")?;
    stage.process(redis)?.finish()?;
    let expected = dial_the_late(stage, Code::RT1002, redis)?;
    stage.expect(expected.says("redis-server").says("code 0"));
    Ok(())
}

fn killed(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.kill(redis, Signal::KILL)?;
    let expected = dial_the_late(stage, Code::RT1003, redis)?;
    stage.expect(expected.says("redis-server").says("SIGKILL").says(&std::process::id()));
    Ok(())
}

fn out_of_memory(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.starve(redis)?;
    let expected = dial_the_late(stage, Code::RT1004, redis)?;
    stage.expect(expected.says("redis-server"));
    Ok(())
}

fn crashed(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1 --crash-memcheck-enabled no")?;
    stage.kill(redis, Signal::SEGV)?;
    let expected = dial_the_late(stage, Code::RT1005, redis)?;
    stage.expect(expected.says("redis-server").says("SIGSEGV"));
    Ok(())
}

fn closed(stage: &mut Stage) -> Result<()> {
    let server = stage.actor("listen 127.0.0.1:6379", "listening")?;
    let process = stage.process(server)?;
    process.tell("close")?;
    process.wait_for("closed")?;
    let expected = dial_the_late(stage, Code::RT1006, server)?;
    stage.expect(expected);
    Ok(())
}

fn bound(stage: &mut Stage) -> Result<()> {
    let server = stage.actor("bind 127.0.0.1:6379", "bound")?;
    let expected = dial_the_late(stage, Code::RT1014, server)?;
    stage.expect(expected);
    Ok(())
}

fn killed_before(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis(&format!("--bind 127.0.0.1 --port {LONELY}"))?;
    stage.kill(redis, Signal::KILL)
}

fn after_killed_before(stage: &mut Stage) -> Result<()> {
    let server = (Ipv4Addr::LOCALHOST, LONELY).into();
    let dialled = stage.refused(server)?;
    let expected = stage.refusal(Code::RT1001, &dialled, server);
    stage.expect(expected.with(json!({"server_process": null})));
    Ok(())
}

fn taken_over(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.kill(redis, Signal::KILL)?;
    let successor = stage.actor("listen 127.0.0.1:6379", "listening")?;
    let dialled = stage.dial(1, "127.0.0.1:6379")?;
    anyhow::ensure!(dialled[0].errno == 0, "the new listener did not answer: errno {}", dialled[0].errno);
    stage.all_accepted()?;
    stage.kill(successor, Signal::KILL)?;
    let expected = dial_the_late(stage, Code::RT1003, successor)?;
    stage.expect(expected.says("SIGKILL"));
    Ok(())
}

fn refused_too_early(stage: &mut Stage) -> Result<()> {
    let server = (Ipv4Addr::LOCALHOST, LONELY).into();
    let dialled = stage.refused(server)?;
    let expected = stage.refusal(Code::RT1001, &dialled, server);
    stage.expect(expected);
    Ok(())
}

fn then_started(stage: &mut Stage) -> Result<()> {
    stage.redis(&format!("--bind 127.0.0.1 --port {LONELY}"))?;
    stage.expect(Expected::correction(Code::RT1018, 0));
    Ok(())
}
