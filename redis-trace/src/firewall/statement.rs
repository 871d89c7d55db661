//! What a rule does, statement by statement.

use std::net::IpAddr;

use super::candidate::Effect;
use super::changed::Destination;
use super::condition::Condition;
use super::elements::Elements;
use super::field::Key;
use super::packet::{Packet, TCP};
use crate::trace::flow::Endpoint;

/// One thing that a rule does.
#[derive(Clone, Debug)]
pub(super) enum Statement {
    /// Goes on only with a packet that meets a condition.
    If(Condition),
    /// Goes on only with some packets, and nobody here can say with which.
    Maybe,
    /// Changes the packet's mark; `None` when it is not known to what.
    Mark(Option<MarkChange>),
    /// Keeps the packet from conntrack.
    Untrack,
    /// Decides.
    Decide(Verdict),
    /// Decides by what a map has for some fields.
    Choose(Vec<Key>, Choice),
}

/// A new mark: some bits of the old one, others turned over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkChange {
    /// The bits that stay.
    pub(super) keep: u32,
    /// The bits that are then turned over.
    pub(super) flip: u32,
}

impl MarkChange {
    /// The mark after it, when the bits that stay are known or none do.
    pub(super) fn of(self, mark: Option<u32>) -> Option<u32> {
        match (self.keep, mark) {
            (0, _) => Some(self.flip),
            (keep, mark) => mark.map(|mark| mark & keep ^ self.flip),
        }
    }
}

/// A map from fields to verdicts.
#[derive(Clone, Debug)]
pub(super) enum Choice {
    /// Written in the rule.
    Here(Elements<Branch>),
    /// A named one of the table.
    Map(Box<str>),
}

/// What a map has for an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Branch {
    /// The verdict.
    pub(super) verdict: Verdict,
    /// The element's remark: kube-proxy writes the service there.
    pub(super) comment: Option<Box<str>>,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This base chain lets it pass; the next one may not.
    Accept,
    /// The next rule.
    Continue,
    /// Back to the rule after the jump, or to the policy.
    Return,
    /// It is gone, and nobody is told.
    Drop,
    /// It is gone, and the sender is told.
    Reject(Reject),
    /// Through another chain, and back.
    Jump(Box<str>),
    /// Through another chain, and not back.
    Goto(Box<str>),
    /// It gets another destination and passes.
    Translate(Target),
    /// Something outside the ruleset decides: a program, a proxy, a target that is not known here.
    Elsewhere,
}

/// How a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reject {
    /// By a TCP reset.
    Reset,
    /// By an ICMP error with this code, when it is known.
    Icmp(Option<u8>),
    /// By an ICMPv6 error with this code, when it is known.
    Icmp6(Option<u8>),
    /// By either, with these codes for IPv4 and IPv6.
    Either(Option<(u8, u8)>),
}

/// The new destination of a packet; what is `None` stays as it is, or is not known when `vague`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// The address.
    pub(super) address: Option<IpAddr>,
    /// The port.
    pub(super) port: Option<u16>,
    /// To an address of this host.
    pub(super) redirect: bool,
    /// One of several, by chance or by a map.
    pub(super) vague: bool,
}

/// The code of an ICMP destination-unreachable error by the name nft or iptables gives it: include/uapi/linux/icmp.h.
pub(super) fn icmp_code(name: &str) -> Option<u8> {
    Some(match name.strip_prefix("icmp-").unwrap_or(name) {
        "net-unreachable" => 0,
        "host-unreachable" => 1,
        "prot-unreachable" | "proto-unreachable" => 2,
        "port-unreachable" => 3,
        "net-prohibited" => 9,
        "host-prohibited" => 10,
        "admin-prohibited" => 13,
        _ => return None,
    })
}

/// The code of an ICMPv6 destination-unreachable error by its name: include/uapi/linux/icmpv6.h.
pub(super) fn icmp6_code(name: &str) -> Option<u8> {
    Some(match name.strip_prefix("icmp6-").unwrap_or(name) {
        "no-route" => 0,
        "admin-prohibited" | "adm-prohibited" => 1,
        "addr-unreachable" => 3,
        "port-unreachable" => 4,
        "policy-fail" => 5,
        "reject-route" => 6,
        _ => return None,
    })
}

/// The codes for both of an `icmpx` name: nft_reject_icmp_code of net/netfilter/nft_reject.c.
pub(super) fn icmpx_codes(name: &str) -> Option<(u8, u8)> {
    Some(match name {
        "no-route" => (0, 0),
        "port-unreachable" => (3, 4),
        "host-unreachable" => (1, 3),
        "admin-prohibited" => (13, 1),
        _ => return None,
    })
}

impl Reject {
    /// What it does to a packet: nothing to one that it is not meant for.
    pub(super) fn effect(self, packet: &Packet) -> Option<Effect> {
        match self {
            Self::Reset => packet.transport.is_none_or(|transport| transport == TCP).then_some(Effect::Reset),
            Self::Icmp(code) => (!packet.ipv6).then_some(Effect::Icmp(code)),
            Self::Icmp6(code) => packet.ipv6.then_some(Effect::Icmp(code)),
            Self::Either(codes) => Some(Effect::Icmp(codes.map(|(ipv4, ipv6)| if packet.ipv6 { ipv6 } else { ipv4 }))),
        }
    }
}

impl Target {
    /// What it does to a packet.
    pub(super) fn effect(&self) -> Effect {
        Effect::Translate { address: self.address, port: self.port, redirect: self.redirect }
    }

    /// Where a packet goes then, when it is known.
    pub(super) fn destination(&self, before: Option<Endpoint>) -> Destination {
        let ip = self.address.or_else(|| before.filter(|_| !self.redirect && !self.vague).map(|end| end.ip));
        let port = self.port.or_else(|| before.filter(|_| !self.vague).map(|end| end.port));
        ip.zip(port).map_or(Destination::Unknown, |(ip, port)| Destination::Translated(Endpoint { ip, port }))
    }
}
