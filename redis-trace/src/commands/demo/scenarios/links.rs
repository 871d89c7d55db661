//! A rule of an interface or of a bridge rejects: what it refuses never comes to where addresses are looked at.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::{Needs, Scenario};
use crate::commands::demo::rules::{by_rule, certain};
use crate::commands::demo::stage::{REDIS, Stage, endpoint};
use crate::kernel::{has_drop_receivers, has_kprobes};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("rules of an interface reject", Code::RT3001, &[at_interface]).needing(Needs::RejectionAtInterface),
    Scenario::new("rules of a bridge reject", Code::RT3001, &[at_bridge]).needing(Needs::RejectionAtBridge),
];

/// The server's host.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);
const FAR6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x254);

/// Rejects in both ways, over both families; two rules can have rejected what comes to the last port.
const RULES: &str = "tcp dport 6401 reject with tcp reset comment \"reset\"
tcp dport 6402 reject comment \"port\"
tcp dport 6379 limit rate 1/hour burst 1 packets reject with tcp reset comment \"one\"
tcp dport 6379 reject with tcp reset comment \"other\"";

/// Dials what the rules of a chain at this hook of the other namespace reject.
fn rejected(stage: &mut Stage, family: &str, hook: &str) -> Result<()> {
    for (port, code, remark) in [(6401, Code::RT3001, "reset"), (6402, Code::RT3002, "port")] {
        for server in [SocketAddr::from((FAR, port)), SocketAddr::from((FAR6, port))] {
            expect(stage, server, code, family, (hook, remark, None))?;
        }
    }
    // The first is rejected by the one, the second by the other: where probes can be put where rules are evaluated, the kernel
    // says which it was.
    for (server, hit) in [(SocketAddr::from((FAR, REDIS)), "one"), (SocketAddr::from((FAR6, REDIS)), "other")] {
        let (remark, other) = if has_kprobes() { (hit, None) } else { ("one", Some("other")) };
        expect(stage, server, Code::RT3001, family, (hook, remark, other))?;
    }
    Ok(())
}

/// Dials, and expects the rule with this remark to be named; another may have done it too.
fn expect(
    stage: &mut Stage,
    server: SocketAddr,
    code: Code,
    family: &str,
    (hook, remark, other): (&str, &str, Option<&str>),
) -> Result<()> {
    let dialled = stage.dial_briefly(server)?;
    let told = json!({"outcome": "refused", "errno": "ECONNREFUSED", "flow": {"server": endpoint(server)},
        "firewall": {"family": family}, "client_process": {"pid": dialled.pid, "comm": "client"}});
    let expected = by_rule(code, stage.far()?, hook, remark)?.with(told);
    let expected = match other {
        Some(other) => {
            expected.with(json!({"cause": {"confidence": "likely"}})).says(&stage.far()?.listed(other)?.text)
        }
        None => certain(expected),
    };
    stage.expect(expected);
    Ok(())
}

fn at_interface(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    far.add_address6(&format!("{FAR6}/64"), "wire")?;
    far.nft("netdev", &[("early", "type filter hook ingress device \"wire\" priority 0;", RULES)])?;
    stage.own().add_address6("fd77::1/64", "wire")?;
    rejected(stage, "netdev", "ingress")
}

fn at_bridge(stage: &mut Stage) -> Result<()> {
    let far = stage.other_netns(&format!("{FAR}/24"))?;
    far.ip("link add bridge type bridge")?;
    far.ip(&format!("addr del {FAR}/24 dev wire"))?;
    far.ip("link set wire master bridge")?;
    far.ip("link set bridge up")?;
    far.ip(&format!("addr add {FAR}/24 dev bridge"))?;
    far.add_address6(&format!("{FAR6}/64"), "bridge")?;
    far.is_up("bridge")?;
    let early = "tcp dport 6403 reject with tcp reset comment \"early\"";
    far.nft(
        "bridge",
        &[
            ("in", "type filter hook input priority 0;", RULES),
            ("early", "type filter hook prerouting priority 0;", early),
        ],
    )?;
    stage.own().add_address6("fd77::1/64", "wire")?;
    rejected(stage, "bridge", "input")?;
    // Older kernels give no reason for what they drop there: br_handle_frame().
    if has_drop_receivers() {
        for server in [SocketAddr::from((FAR, 6403)), SocketAddr::from((FAR6, 6403))] {
            expect(stage, server, Code::RT3001, "bridge", ("prerouting", "early", None))?;
        }
    }
    Ok(())
}
