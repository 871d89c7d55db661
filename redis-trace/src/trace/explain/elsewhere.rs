//! What is said when only the dialling end was seen: there was no way, nobody answered, or the answer came from elsewhere.

use std::net::IpAddr;

use crate::trace::dialling::{Dialling, NoWay};
use crate::trace::errno;
use crate::trace::fact::{ConnectFailed, IcmpError, Phase, Sight};
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::report::{Evidence, Fix};

use super::evidence::seen;
use super::fix::advice;
use super::summary::target;
use super::words::span;

/// The dialling end.
fn client(refusal: &Refusal) -> Option<&ConnectFailed> {
    match &refusal.attempt {
        Attempt::Connect(connect) => connect.client.as_ref(),
        _ => None,
    }
}

/// How long the client had waited.
fn waited(refusal: &Refusal) -> u64 {
    client(refusal).map_or(0, |client| refusal.time.saturating_sub(client.dialled))
}

/// ` after 0.38 ms`: the round trip, when the SYN was sent once.
fn round_trip(refusal: &Refusal) -> String {
    let once = client(refusal).is_some_and(|client| client.retransmits == 0);
    let waited = waited(refusal);
    if once && waited < 1_000_000_000 {
        format!("{}.{:02} ms", waited / 1_000_000, waited / 10_000 % 100)
    } else {
        span(waited)
    }
}

pub(super) fn summary(refusal: &Refusal, cause: &Dialling, target: &str) -> String {
    let got = client(refusal).map_or_else(String::new, |client| errno::name(client.errno));
    match cause {
        Dialling::PortsExhausted { ports } => format!(
            "this host has no port left to dial {target} from ({got}): all {} from {} to {} are taken",
            ports.number(),
            ports.first,
            ports.last
        ),
        Dialling::RouteRefused { by: NoWay::Entry(entry) } => {
            format!("the {entry} of this network namespace refuses packets to {target} ({got})")
        }
        Dialling::RouteRefused { by: NoWay::NoRoute } => {
            format!("this network namespace has no route to {target} ({got})")
        }
        Dialling::RouteRefused { by: NoWay::Neighbour(hop) } => format!(
            "{hop}{} does not answer on its link: nobody told its hardware address ({got})",
            if target.contains(&hop.to_string()) { String::new() } else { format!(", the next hop to {target},") }
        ),
        Dialling::IpsecRefused { by } => format!("an IPsec policy blocks packets to {target} ({got}): {by}"),
        Dialling::RemoteIcmp { icmp: Some(icmp) } => {
            format!("{} answered a SYN to {target} with an ICMP error: {} ({got})", who(icmp, refusal), meaning(icmp))
        }
        Dialling::RemoteIcmp { icmp: None } => {
            format!("an ICMP error answered the SYN to {target} ({got}); these hooks do not see who sent it")
        }
        Dialling::NoAnswer => {
            let sent = client(refusal).map_or(1, |client| client.retransmits + 1);
            format!(
                "no answer from {target} for {}, though the SYN was sent {}: it is dropped on the way there, on the way \
                 back, or the host is down",
                span(waited(refusal)),
                if sent == 1 { "once".to_owned() } else { format!("{sent} times") }
            )
        }
        Dialling::MiddleboxReset { ttl, peer } => format!(
            "a reset answered the SYN to {target} after {}, but came from another place: its time to live was {ttl}, that \
             of the peer's own answers is {peer}",
            round_trip(refusal)
        ),
        _ => format!(
            "{target} answered with a reset after {}, and it is no address of this host: run redis-trace there to know why",
            round_trip(refusal)
        ),
    }
}

/// `10.0.0.1, which is not the target,`.
fn who(icmp: &IcmpError, refusal: &Refusal) -> String {
    let server = client(refusal).map(|client| client.flow.server.ip);
    if server == Some(icmp.from) {
        icmp.from.to_string()
    } else {
        format!("{}, a router or firewall on the way,", icmp.from)
    }
}

/// What an ICMP error says: RFC 792, RFC 1122, RFC 1812, RFC 4443.
fn meaning(icmp: &IcmpError) -> String {
    let words = match (icmp.from, icmp.kind, icmp.code) {
        (IpAddr::V4(_), 3, 0) | (IpAddr::V6(_), 1, 0) => "network unreachable",
        (IpAddr::V4(_), 3, 1) | (IpAddr::V6(_), 1, 3) => "host unreachable",
        (IpAddr::V4(_), 3, 2) => "protocol unreachable",
        (IpAddr::V4(_), 3, 3) | (IpAddr::V6(_), 1, 4) => "port unreachable",
        (IpAddr::V4(_), 3, 9) => "network administratively prohibited",
        (IpAddr::V4(_), 3, 10) => "host administratively prohibited",
        (IpAddr::V4(_), 3, 13) | (IpAddr::V6(_), 1, 1) => "communication administratively prohibited",
        (IpAddr::V6(_), 1, 5) => "source address refused by policy",
        (IpAddr::V6(_), 1, 6) => "route rejected",
        (IpAddr::V4(_), 11, _) | (IpAddr::V6(_), 3, _) => "time exceeded",
        _ => "an error",
    };
    format!("{words} (type {}, code {})", icmp.kind, icmp.code)
}

/// What the client got.
pub(super) fn dialled(client: &ConnectFailed) -> Evidence {
    let (to, got) = (client.flow.server, errno::name(client.errno));
    match (client.phase, client.errno) {
        (Phase::AtOnce, _) => seen("connect", format!("connect to {to} got {got} before a SYN was sent")),
        (Phase::Waiting, _) => {
            seen("tcp_retransmit_skb", format!("the SYN to {to} was sent again {} times", client.retransmits))
        }
        (_, 0) => seen("inet_sock_set_state", format!("the client gave up its dial of {to} without an answer")),
        _ => seen("inet_sock_set_state", format!("connect to {to} got {got}")),
    }
}

pub(super) fn evidence(refusal: &Refusal, cause: &Dialling, sight: &Sight) -> Vec<Evidence> {
    match cause {
        Dialling::PortsExhausted { ports } => vec![seen(
            "net.ipv4.ip_local_port_range",
            format!(
                "{} to {}; {} of {} taken towards {}",
                ports.first,
                ports.last,
                ports.taken,
                ports.number(),
                ports.to
            ),
        )],
        Dialling::RouteRefused { by } => vec![match by {
            NoWay::Entry(entry) => seen("routes", entry.as_str()),
            NoWay::NoRoute => seen("routes", "the kernel's look-up finds no route"),
            NoWay::Neighbour(hop) => seen("neighbours", format!("{hop} FAILED")),
        }],
        Dialling::IpsecRefused { by } => vec![seen("xfrm policy", by.as_str())],
        Dialling::RemoteIcmp { icmp } => {
            icmp.iter().map(|icmp| seen("icmp", format!("from {}: {}", icmp.from, meaning(icmp)))).collect()
        }
        Dialling::NoAnswer => {
            let blind = "SYNs that this host drops are not seen: its own firewall may be what is silent";
            let own = seen("addresses", "the address is on no interface of this namespace");
            [own].into_iter().chain((!sight.drops).then(|| seen("hooks", blind))).collect()
        }
        _ => {
            let mut evidence = vec![seen("addresses", "the address is on no interface of this namespace")];
            evidence.push(seen("round trip", round_trip(refusal)));
            evidence.extend(client(refusal).and_then(distance));
            evidence
        }
    }
}

/// How far the reset came.
fn distance(client: &ConnectFailed) -> Option<Evidence> {
    let ttl = client.ttl?;
    let text = match client.peer_ttl {
        Some(peer) => format!("the reset came with a time to live of {ttl}, the peer's last answer with {peer}"),
        None => format!("the reset came with a time to live of {ttl}; no other packet of this peer is known"),
    };
    Some(seen("time to live", text))
}

pub(super) fn fix(refusal: &Refusal, cause: &Dialling) -> Vec<Fix> {
    let target = target(&refusal.attempt);
    match cause {
        Dialling::PortsExhausted { .. } => vec![
            advice("let the client keep its connections, by a pool, instead of making one for each request"),
            Fix {
                command: Some("sysctl -w net.ipv4.ip_local_port_range='1024 65535'".to_owned()),
                risk: Some("ports below 32768 may be wanted by servers of this host".to_owned()),
                ..advice("or give it more ports")
            },
        ],
        Dialling::RouteRefused { by: NoWay::Neighbour(hop) } => vec![Fix {
            command: Some(format!("ip neighbour show {hop}")),
            ..advice(&format!("find out whether {hop} is up and on this link"))
        }],
        Dialling::RouteRefused { by } => {
            let ip = client(refusal).map_or_else(String::new, |client| client.flow.server.ip.to_string());
            let (text, command) = match by {
                NoWay::Entry(entry) if entry.as_str().starts_with("rule") => {
                    ("change or delete the rule", "ip rule".to_owned())
                }
                NoWay::Entry(_) => ("change or delete the route", format!("ip route show match {ip} table all")),
                NoWay::NoRoute | NoWay::Neighbour(_) => ("add a route", format!("ip route get {ip}")),
            };
            vec![Fix { command: Some(command), ..advice(text) }]
        }
        Dialling::IpsecRefused { .. } => vec![Fix {
            command: Some("ip xfrm policy".to_owned()),
            ..advice("change or delete the policy, where your IPsec daemon keeps it")
        }],
        Dialling::RemoteIcmp { icmp: Some(icmp) } => {
            vec![advice(&format!("look at the routes and the firewall of {}", icmp.from))]
        }
        Dialling::RemoteIcmp { icmp: None } => vec![Fix {
            command: Some("tcpdump -ni any icmp or icmp6".to_owned()),
            ..advice("see who sends the error, then look at its routes and firewall")
        }],
        Dialling::NoAnswer => vec![
            advice(&format!("run redis-trace on the host that has {target}: it tells whether the SYNs arrive there")),
            advice("look at the firewalls and, in a cloud, the security groups on the way: most drop in silence"),
        ],
        Dialling::MiddleboxReset { .. } => vec![advice(&format!(
            "look for a firewall, proxy or intrusion prevention system between here and {target}"
        ))],
        _ => vec![Fix {
            command: Some("redis-trace watch".to_owned()),
            ..advice(&format!("run redis-trace on the host that has {target}"))
        }],
    }
}

/// How a dial ended that had been told as waiting: the sentence of an update.
pub fn ended(time: u64, client: &ConnectFailed) -> String {
    let after = span(time.saturating_sub(client.dialled));
    match (client.phase, client.errno) {
        (Phase::Answered, _) => format!("it was answered after all, after {after}"),
        (_, 0) => format!("the client gave up after {after}"),
        (_, errno) => format!("it ended with {} after {after}", errno::name(errno)),
    }
}
