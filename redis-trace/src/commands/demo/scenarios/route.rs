//! There was no way to the server, or no port to start from.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, ensure};
use serde_json::json;

use super::Scenario;
use crate::commands::demo::stage::{REDIS, Stage};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("all of the two ports that may be dialled from are taken", Code::RT2007, &[ports]),
    Scenario::new("routes prohibit, reject and swallow what is sent, or are missing", Code::RT3030, &[routes]),
    Scenario::new("a routing rule prohibits what is sent", Code::RT3030, &[rule]),
    Scenario::new("an IPsec policy blocks what is sent", Code::RT3031, &[ipsec]),
    Scenario::new("the next hop does not answer on its link", Code::RT3030, &[neighbour]),
];

/// errno values.
const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const EADDRNOTAVAIL: i32 = 99;
const ENETUNREACH: i32 = 101;
const EHOSTUNREACH: i32 = 113;

fn ports(stage: &mut Stage) -> Result<()> {
    let server = SocketAddr::from(([127, 0, 0, 1], REDIS));
    stage.actor(&format!("listen {server}"), "listening")?;
    stage.sysctl("ipv4/ip_local_port_range", "40000 40001")?;
    let dialled = stage.dials(&format!("exhaust {server}"))?;
    ensure!(dialled.len() == 3 && dialled[2].errno == EADDRNOTAVAIL, "with two ports it dialled {dialled:?}");
    let expected = stage.failure(Code::RT2007, &dialled[2], server, "denied");
    stage.expect(
        expected
            .with(json!({"errno": "EADDRNOTAVAIL", "cause": {"class": "client", "confidence": "certain"}}))
            .says("40000 to 40001; 2 of 2 taken"),
    );
    Ok(())
}

fn routes(stage: &mut Stage) -> Result<()> {
    let ways = [
        ("10.88.1.1", "prohibit 10.88.0.0/16", EACCES, "EACCES"),
        ("10.89.1.1", "unreachable 10.89.0.0/16", EHOSTUNREACH, "EHOSTUNREACH"),
        ("10.90.1.1", "blackhole 10.90.0.0/16", EINVAL, "EINVAL"),
        ("fd88::1", "prohibit fd88::/16", EACCES, "EACCES"),
    ];
    for (server, route, errno, name) in ways {
        stage.ip(&format!("route add {route}"))?;
        expect_no_way(stage, server.parse()?, errno, name, route)?;
    }
    expect_no_way(stage, "10.91.1.1".parse()?, ENETUNREACH, "ENETUNREACH", "no route")
}

fn rule(stage: &mut Stage) -> Result<()> {
    stage.ip("rule add priority 100 to 10.88.0.0/16 prohibit")?;
    expect_no_way(stage, "10.88.1.1".parse()?, EACCES, "EACCES", "rule 100: from all to 10.88.0.0/16 prohibit")
}

fn expect_no_way(stage: &mut Stage, server: IpAddr, errno: i32, name: &str, why: &str) -> Result<()> {
    let server = SocketAddr::new(server, REDIS);
    let dialled = stage.fails(server, errno)?;
    let expected = stage.failure(Code::RT3030, &dialled, server, "denied");
    let certain = json!({"errno": name, "cause": {"class": "policy", "confidence": "certain"}});
    stage.expect(expected.with(certain).says(why));
    Ok(())
}

fn ipsec(stage: &mut Stage) -> Result<()> {
    stage.other_netns("10.77.0.254/24")?;
    stage.ip("xfrm policy add dst 10.77.0.2/32 dir out action block")?;
    let server = SocketAddr::from(([10, 77, 0, 2], REDIS));
    let dialled = stage.fails(server, EPERM)?;
    let expected = stage.failure(Code::RT3031, &dialled, server, "denied");
    stage.expect(
        expected.with(json!({"errno": "EPERM", "cause": {"class": "policy"}})).says("dst 10.77.0.2/32 dir out"),
    );
    Ok(())
}

fn neighbour(stage: &mut Stage) -> Result<()> {
    let server = SocketAddr::from(([10, 77, 0, 2], REDIS));
    stage.other_netns("10.77.0.254/24")?;
    stage.sysctl("ipv4/neigh/wire/mcast_solicit", 1)?;
    stage.sysctl("ipv4/neigh/wire/retrans_time_ms", 100)?;
    let dialled = stage.fails(server, EHOSTUNREACH)?;
    let expected = stage.failure(Code::RT3030, &dialled, server, "denied");
    stage.expect(expected.with(json!({"errno": "EHOSTUNREACH"})).says("10.77.0.2 FAILED"));
    Ok(())
}
