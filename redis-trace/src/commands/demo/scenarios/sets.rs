//! A rule of nftables finds what it rejects in a named set, or a map leads to the rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use serde_json::json;

use super::Scenario;
use crate::commands::demo::rules::{by_rule, certain};
use crate::commands::demo::stage::{Stage, endpoint};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario::new("rules with named sets, intervals, pairs and maps of verdicts", Code::RT3001, &[named])];

/// Each set and map is for ports of its own, and beside what is dialled it has what must not be mistaken for it.
const RULES: &str = "table inet f {
set ports {
type inet_service; flags interval;
elements = { 6400-6404, 6406, 6408-6410 }
}
set networks {
type ipv4_addr; flags interval;
elements = { 10.0.0.0/8, 127.0.0.0/8 }
}
set networks6 {
type ipv6_addr; flags interval;
elements = { fd00::/8, ::1 }
}
set pairs {
type ipv4_addr . inet_service; flags interval;
elements = { 127.0.0.0/8 . 6441-6443, 10.0.0.0/8 . 6440 }
}
map ways {
type inet_service : verdict; flags interval;
elements = { 6450-6452 : accept, 6453-6459 : jump deeper }
}
chain deeper {
tcp dport 6454 accept
meta l4proto tcp reject with tcp reset comment \"deeper\"
}
chain known {
tcp dport 6460 reject with tcp reset comment \"another state\"
}
chain fresh {
tcp dport 6460 reject with tcp reset comment \"state\"
}
chain in {
type filter hook input priority 0;
tcp dport @ports tcp dport != 6406 reject with tcp reset comment \"interval\"
tcp dport 6420 ip saddr != @networks reject with tcp reset comment \"another network\"
tcp dport 6420 ip saddr @networks reject with tcp reset comment \"network\"
tcp dport 6430 ip6 saddr @networks6 reject with tcp reset comment \"network of IPv6\"
ip saddr . tcp dport @pairs reject with tcp reset comment \"pair\"
tcp dport vmap @ways
ct state vmap { established : jump known, new : jump fresh }
}
}
";

fn named(stage: &mut Stage) -> Result<()> {
    stage.own().run("nft", &[RULES])?;
    let (ipv4, ipv6) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST));
    let dials = [
        (ipv4, 6409, "interval"),
        (ipv6, 6404, "interval"),
        (ipv4, 6420, "network"),
        (ipv6, 6430, "network of IPv6"),
        (ipv4, 6442, "pair"),
        (ipv4, 6455, "deeper"),
        (ipv4, 6460, "state"),
    ];
    for (ip, port, remark) in dials {
        let server = SocketAddr::new(ip, port);
        let dialled = stage.refused(server)?;
        let expected = certain(by_rule(Code::RT3001, stage.own(), "input", remark)?);
        let refused = json!({"outcome": "refused", "errno": "ECONNREFUSED", "flow": {"server": endpoint(server)}});
        stage.expect(expected.with(refused).with(json!({"client_process": {"pid": dialled.pid, "comm": "client"}})));
    }
    Ok(())
}
