//! Rules of nftables refuse in every way that they can, at every hook where they can, over both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::Scenario;
use crate::commands::demo::netns::Netns;
use crate::commands::demo::rules::{by_rule, by_site, certain};
use crate::commands::demo::stage::{End, Stage, endpoint};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("rules of input refuse in every way", Code::RT3002, &[input]),
    Scenario::new("rules of output refuse in every way", Code::RT3002, &[output]),
    Scenario::new("rules of forward refuse in every way", Code::RT3002, &[forward]),
    Scenario::new("rules of prerouting refuse in every way", Code::RT3002, &[prerouting]),
    Scenario::new("policies of output, forward and prerouting drop", Code::RT3003, &[policies]),
];

/// Both addresses of this host.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Both addresses of a host behind the router.
const BEYOND: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 78, 0, 2)), IpAddr::V6(Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 2))];

/// What asks for neighbours of IPv6: a chain that drops all else lets it pass.
const NEIGHBOURS: &str = "meta l4proto ipv6-icmp accept";

/// A way to refuse: the rule, by the port that it is for, and what a client gets by IPv4 and by IPv6.
struct Way {
    port: u16,
    code: Code,
    rule: &'static str,
    outcome: &'static str,
    errnos: [Option<&'static str>; 2],
}

const WAYS: [Way; 4] = [
    Way {
        port: 6401,
        code: Code::RT3001,
        rule: "reject with tcp reset",
        outcome: "refused",
        errnos: [Some("ECONNREFUSED"); 2],
    },
    Way { port: 6402, code: Code::RT3002, rule: "reject", outcome: "refused", errnos: [Some("ECONNREFUSED"); 2] },
    Way {
        port: 6403,
        code: Code::RT3002,
        rule: "reject with icmpx type admin-prohibited",
        outcome: "denied",
        errnos: [Some("EHOSTUNREACH"), Some("EACCES")],
    },
    Way { port: 6404, code: Code::RT3003, rule: "drop", outcome: "timeout", errnos: [None; 2] },
];

/// Gives a namespace a chain that refuses in every way at a hook.
fn refuse(netns: &Netns, hook: &str) -> Result<()> {
    let rules: Vec<String> =
        WAYS.iter().map(|Way { port, rule, .. }| format!("tcp dport {port} {rule} comment \"{port}\"")).collect();
    netns.nft("inet", &[("refusing", &format!("type filter hook {hook} priority 0;"), &rules.join("\n"))])
}

/// Dials each port over both families; the rule that is for it must be named.
fn refused(stage: &mut Stage, hook: &str, servers: [IpAddr; 2], whose: End) -> Result<()> {
    for Way { port, code, outcome, errnos, .. } in WAYS {
        for (ip, errno) in servers.into_iter().zip(errnos) {
            let server = SocketAddr::new(ip, port);
            let dialled = stage.dial_briefly(server)?;
            let told = json!({"outcome": outcome, "flow": {"server": endpoint(server)},
                "firewall": {"backend": "nftables", "family": "inet", "chain": "refusing", "owner": null},
                "client_process": {"pid": dialled.pid, "comm": "client"}});
            let expected = certain(by_rule(code, stage.at(whose)?, hook, &port.to_string())?).with(told);
            stage.expect(match errno {
                Some(errno) => expected.with(json!({"errno": errno})),
                None => expected,
            });
        }
    }
    Ok(())
}

fn input(stage: &mut Stage) -> Result<()> {
    refuse(stage.own(), "input")?;
    refused(stage, "input", LOOPBACK, End::Own)
}

fn output(stage: &mut Stage) -> Result<()> {
    refuse(stage.own(), "output")?;
    refused(stage, "output", LOOPBACK, End::Own)
}

/// Makes the other namespace a router, behind which there are hosts.
fn router(stage: &mut Stage) -> Result<()> {
    let router = stage.other_netns("10.77.0.254/24")?;
    router.add_address6("fd77::254/64", "wire")?;
    router.ip("link add beyond type veth peer name farther")?;
    router.ip("addr add 10.78.0.254/24 dev beyond")?;
    router.ip("link set farther up")?;
    router.ip("link set beyond up")?;
    router.is_up("beyond")?;
    router.add_address6("fd78::254/64", "beyond")?;
    router.run("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
    stage.own().add_address6("fd77::1/64", "wire")?;
    stage.ip("route add 10.78.0.0/24 via 10.77.0.254")?;
    stage.ip("route add fd78::/64 via fd77::254")
}

fn forward(stage: &mut Stage) -> Result<()> {
    router(stage)?;
    refuse(stage.far()?, "forward")?;
    refused(stage, "forward", BEYOND, End::Far)
}

fn prerouting(stage: &mut Stage) -> Result<()> {
    router(stage)?;
    refuse(stage.far()?, "prerouting")?;
    refused(stage, "prerouting", BEYOND, End::Far)
}

fn policies(stage: &mut Stage) -> Result<()> {
    router(stage)?;
    let chain = |hook: &str| format!("type filter hook {hook} priority 0; policy drop;");
    // Port 1 is the last refusal of each scenario, and its answer.
    let ours = format!("{NEIGHBOURS}\ntcp dport {{ 1, 6405, 6406 }} accept\ntcp sport 1 accept");
    stage.own().nft("inet", &[("leaving", &chain("output"), &ours)])?;
    let early = format!("{NEIGHBOURS}\ntcp dport 6405 accept");
    let chains = [("passing", &*chain("forward"), NEIGHBOURS), ("coming", &*chain("prerouting"), &*early)];
    stage.far()?.nft("inet", &chains)?;
    for (port, name, hook, whose) in [
        (6404, "leaving", "output", End::Own),
        (6405, "passing", "forward", End::Far),
        (6406, "coming", "prerouting", End::Far),
    ] {
        for ip in BEYOND {
            let server = SocketAddr::new(ip, port);
            stage.dial_briefly(server)?;
            let site = json!({"chain": name, "handle": null, "rule": "policy drop", "hook": hook});
            let expected = certain(by_site(Code::RT3003, stage.at(whose)?, &site));
            stage.expect(expected.with(json!({"outcome": "timeout", "flow": {"server": endpoint(server)}})));
        }
    }
    Ok(())
}
