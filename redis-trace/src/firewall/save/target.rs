//! What an iptables rule does with a packet.

use super::super::field::number;
use super::super::statement::{MarkChange, Reject, Statement, Target, Verdict, icmp_code, icmp6_code};
use super::rule::Clause;

/// Targets after which the packet comes to the next rule, as it was.
const HARMLESS: [&str; 21] = [
    "LOG",
    "NFLOG",
    "ULOG",
    "AUDIT",
    "TRACE",
    "CLASSIFY",
    "DSCP",
    "TOS",
    "TTL",
    "HL",
    "ECN",
    "CHECKSUM",
    "SET",
    "TCPMSS",
    "TCPOPTSTRIP",
    "SECMARK",
    "CONNSECMARK",
    "RATEEST",
    "IDLETIMER",
    "LED",
    "TEE",
];

/// What a target does; nothing when the packet goes on as it was.
pub(super) fn read(target: &str, options: &[Clause<'_>]) -> Option<Statement> {
    let option = |name: &str| options.iter().find(|option| option.name == name).map(Clause::value);
    let verdict = match target {
        "ACCEPT" | "SNAT" | "MASQUERADE" => Verdict::Accept,
        "DROP" => Verdict::Drop,
        "RETURN" => Verdict::Return,
        "REJECT" => Verdict::Reject(reject(option("--reject-with"))),
        "DNAT" => Verdict::Translate(destination(option("--to-destination"), options)),
        "REDIRECT" => Verdict::Translate(redirect(option("--to-ports"))),
        "MARK" => return Some(Statement::Mark(option("--set-xmark").and_then(mark))),
        "CONNMARK" => return option("--restore-mark").map(|_| Statement::Mark(None)),
        "NOTRACK" => return Some(Statement::Untrack),
        "CT" => return option("--notrack").map(|_| Statement::Untrack),
        _ if HARMLESS.contains(&target) => return None,
        _ => Verdict::Elsewhere,
    };
    Some(Statement::Decide(verdict))
}

/// `--reject-with tcp-reset`; what is not known is an error of either family without its code.
fn reject(with: Option<&str>) -> Reject {
    match with {
        Some("tcp-reset") => Reject::Reset,
        Some(name) if name.starts_with("icmp-") => Reject::Icmp(icmp_code(name)),
        Some(name) if name.starts_with("icmp6-") => Reject::Icmp6(icmp6_code(name)),
        _ => Reject::Either(None),
    }
}

/// `10.0.0.9:6379`, `[fd00::9]:6379`, `:6379`; a range is one of several.
fn destination(to: Option<&str>, options: &[Clause<'_>]) -> Target {
    let vague = Target { vague: true, ..Target::default() };
    let Some(to) = to.filter(|_| options.iter().filter(|option| option.name == "--to-destination").count() == 1) else {
        return vague;
    };
    let (address, port) = match to.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, port)) => (address, port.strip_prefix(':')),
        // An IPv6 address has more than one colon.
        None if to.matches(':').count() > 1 => (to, None),
        None => to.split_once(':').map_or((to, None), |(address, port)| (address, Some(port))),
    };
    let (one_address, one_port) = (address.parse().ok(), port.and_then(|port| port.parse().ok()));
    let unclear = (!address.is_empty() && one_address.is_none()) || (port.is_some() && one_port.is_none());
    Target { address: one_address, port: one_port, redirect: false, vague: unclear }
}

/// `--to-ports 1`, or none for the port it went to.
fn redirect(ports: Option<&str>) -> Target {
    let port = ports.and_then(|port| port.parse().ok());
    Target { address: None, port, redirect: true, vague: ports.is_some() && port.is_none() }
}

/// `0x4/0x4`: the bits of the mask are cleared, the value is turned over.
fn mark(text: &str) -> Option<MarkChange> {
    let small = |text: &str| number(text).and_then(|number| u32::try_from(number).ok());
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    Some(MarkChange { keep: !small(mask)?, flip: small(value)? })
}
