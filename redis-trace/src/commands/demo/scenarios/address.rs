//! A listener that is there, and not where it was dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Scenario;
use crate::commands::demo::stage::{REDIS, Stage};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("Redis listens on 127.0.0.1, the host's other address is dialled", Code::RT1007, &[other_address]),
    Scenario::new("Redis listens on 6380, 6379 is dialled", Code::RT1008, &[other_port]),
    Scenario::new(
        "something that is not Redis listens on 6380, 6379 is dialled",
        Code::RT1001,
        &[foreign_on_other_port],
    ),
    Scenario::new("a web server listens on 6380, 6379 is dialled", Code::RT1001, &[web_on_other_port]),
    Scenario::new("Redis listens on ::1, 127.0.0.1 is dialled", Code::RT1009, &[v6_only_loopback]),
    Scenario::new("Redis listens on 0.0.0.0, ::1 is dialled", Code::RT1009, &[v4_only]),
    Scenario::new("Redis listens on :: for IPv6 only, 127.0.0.1 is dialled", Code::RT1009, &[v6_only_any]),
    Scenario::new("Redis listens in another network namespace", Code::RT1010, &[other_netns]),
];

const LOOPBACK4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Starts Redis one way, dials 6379 on this address; the verdict must name the listener and where it listens.
fn listener_elsewhere(stage: &mut Stage, options: &str, ip: IpAddr, code: Code, listens: &str) -> Result<()> {
    let redis = stage.redis(options)?;
    let server = SocketAddr::new(ip, REDIS);
    let dialled = stage.refused(server)?;
    let expected = stage.refusal(code, &dialled, server);
    stage.expect(
        expected.with(json!({"server_process": {"pid": redis, "comm": "redis-server"}})).says(listens).says(&redis),
    );
    Ok(())
}

fn other_address(stage: &mut Stage) -> Result<()> {
    stage.add_address("10.42.0.9/32")?;
    let dialled = Ipv4Addr::new(10, 42, 0, 9).into();
    listener_elsewhere(stage, "--bind 127.0.0.1", dialled, Code::RT1007, "127.0.0.1:6379")
}

fn other_port(stage: &mut Stage) -> Result<()> {
    listener_elsewhere(stage, "--bind 127.0.0.1 --port 6380", LOOPBACK4, Code::RT1008, "6380")
}

fn v6_only_loopback(stage: &mut Stage) -> Result<()> {
    listener_elsewhere(stage, "--bind ::1", LOOPBACK4, Code::RT1009, "[::1]:6379")
}

fn v4_only(stage: &mut Stage) -> Result<()> {
    listener_elsewhere(stage, "--bind 0.0.0.0", LOOPBACK6, Code::RT1009, "0.0.0.0:6379")
}

fn v6_only_any(stage: &mut Stage) -> Result<()> {
    listener_elsewhere(stage, "--bind ::", LOOPBACK4, Code::RT1009, "[::]:6379")
}

fn foreign_on_other_port(stage: &mut Stage) -> Result<()> {
    stage.actor("listen 127.0.0.1:6380", "listening")?;
    dial_6379_in_vain(stage)
}

/// Python's web server, or busybox's, which returns from its start when it listens.
fn web_on_other_port(stage: &mut Stage) -> Result<()> {
    if !stage.foreign("python3 -u -m http.server --bind 127.0.0.1 6380", "Serving HTTP")? {
        stage.run("busybox httpd -p 127.0.0.1:6380").context("there is no web server: install python3 or busybox")?;
    }
    dial_6379_in_vain(stage)
}

fn dial_6379_in_vain(stage: &mut Stage) -> Result<()> {
    let server = SocketAddr::new(LOOPBACK4, REDIS);
    let dialled = stage.refused(server)?;
    let expected = stage.refusal(Code::RT1001, &dialled, server);
    stage.expect(expected.with(json!({"server_process": null})));
    Ok(())
}

fn other_netns(stage: &mut Stage) -> Result<()> {
    let name = format!("redis-trace-demo-{}", std::process::id());
    let other = stage.other_netns("10.77.0.2/24")?;
    other.name(&name)?;
    let number = other.number;
    let redis = stage.redis_elsewhere("--bind 10.77.0.2 --protected-mode no")?;
    let server = SocketAddr::new(LOOPBACK4, REDIS);
    let dialled = stage.refused(server)?;
    let expected = stage.refusal(Code::RT1010, &dialled, server).with(json!({"server_process": {"pid": redis}}));
    stage.expect(expected.says(&redis).says(&number).says(&name));
    Ok(())
}
