//! Servers that could not start, or not everywhere.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::Scenario;
use crate::commands::demo::expect::Expected;
use crate::commands::demo::stage::{REDIS, Stage};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("a second redis-server finds its port taken", Code::RT1011, &[port_taken]),
    Scenario::new("a daemonized redis-server finds its port taken, and its launcher says 0", Code::RT1011, &[daemon]),
    Scenario::new(
        "redis-server asks for an address that no interface has",
        Code::RT1012,
        &[no_address, dial_after_no_address],
    ),
    Scenario::new("redis-server asks for port 79 as nobody", Code::RT1013, &[privileged, dial_after_privileged]),
    Scenario::new("redis-server finds a bad directive on line 2", Code::RT1020, &[bad_directive]),
    Scenario::new("redis-server runs without an optional address that was missing", Code::RT1021, &[optional_address]),
    Scenario::new("redis-server listens on a unix socket only", Code::RT1021, &[unix_only]),
];

/// An address that no interface has at first.
const ABSENT: Ipv4Addr = Ipv4Addr::new(10, 99, 99, 99);

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn absent() -> SocketAddr {
    (ABSENT, REDIS).into()
}

/// A bind that failed with this errno.
fn failed_bind(stage: &Stage, code: Code, pid: u32, asked: SocketAddr, errno: &str) -> Expected {
    let expected = stage.listen_failure(code, pid, Some(asked));
    expected.with(json!({"errno": errno, "cause": {"confidence": "certain"}})).says(&asked.ip())
}

fn port_taken(stage: &mut Stage) -> Result<()> {
    let holder = stage.redis("--bind 127.0.0.1")?;
    let late = stage.failing_redis("--bind 127.0.0.1", 1, false)?;
    stage.expect(failed_bind(stage, Code::RT1011, late, loopback(REDIS), "EADDRINUSE").says(&holder));
    Ok(())
}

fn daemon(stage: &mut Stage) -> Result<()> {
    let holder = stage.redis("--bind 127.0.0.1")?;
    let launcher = stage.failing_redis("--bind 127.0.0.1 --daemonize yes", 0, false)?;
    let mut expected = failed_bind(stage, Code::RT1011, launcher, loopback(REDIS), "EADDRINUSE").says(&holder);
    // Who failed is the launcher's child, whose id nobody tells us.
    expected.is["server_process"] = json!({"comm": "redis-server"});
    stage.expect(expected);
    Ok(())
}

fn no_address(stage: &mut Stage) -> Result<()> {
    let redis = stage.failing_redis("--bind 10.99.99.99", 1, false)?;
    stage.expect(failed_bind(stage, Code::RT1012, redis, absent(), "EADDRNOTAVAIL"));
    Ok(())
}

/// The address comes after the server gave up, as it may at boot.
fn dial_after_no_address(stage: &mut Stage) -> Result<()> {
    stage.add_address("10.99.99.99/32")?;
    let dialled = stage.refused(absent())?;
    let expected = stage.refusal(Code::RT1012, &dialled, absent());
    stage.expect(expected.says(&"EADDRNOTAVAIL"));
    Ok(())
}

fn privileged(stage: &mut Stage) -> Result<()> {
    let redis = stage.failing_redis("--bind 127.0.0.1 --port 79", 1, true)?;
    stage.expect(failed_bind(stage, Code::RT1013, redis, loopback(79), "EACCES"));
    Ok(())
}

fn dial_after_privileged(stage: &mut Stage) -> Result<()> {
    let dialled = stage.refused(loopback(79))?;
    let expected = stage.refusal(Code::RT1013, &dialled, loopback(79));
    stage.expect(expected.says("EACCES"));
    Ok(())
}

fn bad_directive(stage: &mut Stage) -> Result<()> {
    let redis = stage.failing_redis_with_file("redis.conf", "port 6379\nmaxclient 100\n")?;
    let place = format!("{}:2", stage.path("redis.conf"));
    let expected = stage.listen_failure(Code::RT1020, redis, None);
    stage.expect(expected.says(&place).says("Bad directive or wrong number of arguments"));
    Ok(())
}

/// Redis says that it is ready, though one bind failed: that failure is told, and explains the dial.
fn optional_address(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1+-10.99.99.99")?;
    stage.expect(failed_bind(stage, Code::RT1012, redis, absent(), "EADDRNOTAVAIL"));
    stage.add_address("10.99.99.99/32")?;
    let dialled = stage.refused(absent())?;
    let expected = stage.refusal(Code::RT1021, &dialled, absent()).with(json!({"server_process": {"pid": redis}}));
    stage.expect(expected.says(&ABSENT).says(&redis));
    Ok(())
}

fn unix_only(stage: &mut Stage) -> Result<()> {
    let socket = stage.path("redis.sock");
    let redis = stage.redis(&format!("--port 0 --unixsocket {socket}"))?;
    let dialled = stage.refused(loopback(REDIS))?;
    let expected =
        stage.refusal(Code::RT1021, &dialled, loopback(REDIS)).with(json!({"server_process": {"pid": redis}}));
    stage.expect(expected.says(&socket));
    Ok(())
}
