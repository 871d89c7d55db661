//! The packet that was refused, as far as it is known.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::changed::{Changed, Tracking};
use super::field::{Field, Ip, TRANSLATED};
use super::model::Hook;
use crate::trace::flow::Endpoint;

/// TCP among the protocols above IP.
pub(super) const TCP: u8 = 6;

/// What is known of a packet. A field that is not known is `None`; no rule is ruled out by it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Whether it is IPv6.
    pub ipv6: bool,
    /// Whether it is on its way through a bridge.
    pub bridged: bool,
    /// The protocol above IP; 6 is TCP.
    pub transport: Option<u8>,
    /// Where it came from.
    pub source: Option<Endpoint>,
    /// Where it goes, as it stands in the header at that hook: after a translation, the new one.
    pub destination: Option<Endpoint>,
    /// Where it went before any translation: the same, when it is known that there was none.
    pub first_destination: Option<Endpoint>,
    /// The flags of its TCP header; 2 is a SYN.
    pub tcp_flags: Option<u8>,
    /// The interface it came in by.
    pub input: Interface,
    /// The interface it goes out by.
    pub output: Interface,
    /// What its connection's state can be.
    pub states: State,
    /// Its mark when it comes to the hook.
    pub mark: Option<u32>,
    /// Whether the destination is an address of this namespace.
    pub local: Option<bool>,
    /// The user of the socket that sent it.
    pub user: Option<u32>,
    /// The group of the socket that sent it.
    pub group: Option<u32>,
}

/// An interface, when there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interface {
    /// Not known.
    #[default]
    Unknown,
    /// There is none: nothing comes in before output, nothing goes out before forward.
    None,
    /// The one of this name.
    Named(String),
}

impl Interface {
    /// Whether it is one of some, when it is known which those are.
    pub(super) fn is_among(&self, some: Option<&[Box<str>]>) -> Answer {
        match (self, some) {
            (Self::None, _) => Answer::No,
            (Self::Named(name), Some(some)) => some.iter().any(|one| **one == **name).into(),
            (Self::Named(_) | Self::Unknown, _) => Answer::Maybe,
        }
    }

    /// Its name; nft and iptables compare an empty one where there is none.
    fn seen(&self, none: bool) -> Seen<'_> {
        match self {
            Self::Unknown if !none => Seen::Unknown,
            Self::Named(name) if !none => Seen::Name(name),
            Self::Unknown | Self::None | Self::Named(_) => Seen::Name(""),
        }
    }
}

/// A set of states that a connection may be in, for `ct state` and `--ctstate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State(pub(super) u8);

impl State {
    /// Conntrack could make nothing of it.
    pub const INVALID: Self = Self(1);
    /// Packets went both ways.
    pub const ESTABLISHED: Self = Self(2);
    /// It belongs to another connection.
    pub const RELATED: Self = Self(4);
    /// Its first packet: what a SYN mostly is.
    pub const NEW: Self = Self(8);
    /// Kept from conntrack.
    pub const UNTRACKED: Self = Self(64);
    /// Every one of them.
    pub(super) const NAMES: [(&str, Self); 5] = [
        ("invalid", Self::INVALID),
        ("established", Self::ESTABLISHED),
        ("related", Self::RELATED),
        ("new", Self::NEW),
        ("untracked", Self::UNTRACKED),
    ];

    /// One of either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is one of these.
    pub(super) fn within(self, these: Self) -> Answer {
        match (self.0 & these.0, self.0 & !these.0) {
            (0, _) => Answer::No,
            (_, 0) => Answer::Yes,
            (_, _) => Answer::Maybe,
        }
    }

    /// Each state that is possible, as its bit.
    fn bits(self) -> impl Iterator<Item = u128> {
        Self::NAMES.into_iter().filter(move |(_, state)| self.0 & state.0 != 0).map(|(_, state)| u128::from(state.0))
    }
}

impl Default for State {
    /// Any.
    fn default() -> Self {
        Self::NAMES.into_iter().fold(Self(0), |all, (_, state)| all.or(state))
    }
}

/// What a rule sees when it looks at a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// The packet has no such field: a rule that looks at it does not match, not even when it negates.
    Absent,
    /// Not known.
    Unknown,
    /// This number.
    Number(u128),
    /// One of these numbers.
    OneOf(Vec<u128>),
    /// This name.
    Name(&'a str),
}

impl From<Option<u128>> for Seen<'_> {
    fn from(number: Option<u128>) -> Self {
        number.map_or(Self::Unknown, Self::Number)
    }
}

/// A packet at a hook, changed by the rules it met there.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// As it came to the hook.
    pub(super) packet: &'a Packet,
    /// Where it is.
    pub(super) hook: Hook,
    /// What rules did to it.
    pub(super) changed: Changed,
}

impl<'a> View<'a> {
    /// What a rule sees there.
    pub(super) fn look(&self, field: Field, mask: u128) -> Seen<'a> {
        let packet = self.packet;
        let seen: Seen<'a> = match field {
            Field::Family => Seen::Number(if packet.ipv6 { 10 } else { 2 }),
            Field::Ipv4Protocol if packet.ipv6 => Seen::Absent,
            Field::Transport | Field::Ipv4Protocol => packet.transport.map(u128::from).into(),
            Field::Source(ip) => self.address(ip, packet.source),
            Field::Destination(ip) => self.address(ip, self.changed.destination(packet)),
            Field::SourcePort(of) => self.port(of, packet.source),
            Field::DestinationPort(of) => self.port(of, self.changed.destination(packet)),
            Field::TcpFlags if packet.transport.is_some_and(|transport| transport != TCP) => Seen::Absent,
            Field::TcpFlags => packet.tcp_flags.map(u128::from).into(),
            Field::Input => packet.input.seen(matches!(self.hook, Hook::Output)),
            Field::Output => {
                let none = matches!(self.hook, Hook::Ingress | Hook::Prerouting | Hook::Input);
                packet.output.seen(none)
            }
            Field::State
            | Field::Status
            | Field::Direction
            | Field::FirstDestination(_)
            | Field::FirstDestinationPort => self.connection(field, mask),
            Field::Mark => self.changed.mark.map(u128::from).into(),
            Field::DestinationKind => self.kind(),
            Field::User | Field::Group if !matches!(self.hook, Hook::Output | Hook::Postrouting) => Seen::Unknown,
            Field::User => packet.user.map(u128::from).into(),
            Field::Group => packet.group.map(u128::from).into(),
            Field::Other => Seen::Unknown,
        };
        masked(seen, mask)
    }

    /// An address, when the packet is of that IP version.
    fn address(&self, ip: Ip, end: Option<Endpoint>) -> Seen<'a> {
        match (ip, end.map(|end| end.ip)) {
            (Ip::V4, _) if self.packet.ipv6 => Seen::Absent,
            (Ip::V6, _) if !self.packet.ipv6 => Seen::Absent,
            (Ip::V4, Some(IpAddr::V4(address))) => Seen::Number(u128::from(address.to_bits())),
            (Ip::V6, Some(IpAddr::V6(address))) => Seen::Number(address.to_bits()),
            (_, _) => Seen::Unknown,
        }
    }

    /// A port, when the packet is of that protocol.
    fn port(&self, of: Option<u8>, end: Option<Endpoint>) -> Seen<'a> {
        match (of, self.packet.transport) {
            (Some(wanted), Some(is)) if wanted != is => Seen::Absent,
            (Some(_), None) => Seen::Unknown,
            (_, _) => end.map(|end| u128::from(end.port)).into(),
        }
    }

    /// What conntrack knows of its connection.
    fn connection(&self, field: Field, mask: u128) -> Seen<'a> {
        match (self.changed.tracking, field) {
            (Tracking::Unknown, _) => Seen::Unknown,
            // NF_CT_STATE_INVALID_BIT is what a rule sees then.
            (Tracking::NotYet, Field::State) => Seen::Number(u128::from(State::INVALID.0)),
            (Tracking::NotYet, _) => Seen::Absent,
            (Tracking::Told, field) => self.told(field, mask),
        }
    }

    /// What is told of its connection.
    fn told(&self, field: Field, mask: u128) -> Seen<'a> {
        let states = self.packet.states;
        let tracked = State::NEW.or(State::ESTABLISHED).or(State::RELATED);
        // Without an entry of conntrack there is nothing to compare, and with a possible lack of one nothing is sure.
        match field {
            Field::State => Seen::OneOf(states.bits().collect()),
            _ if states.within(tracked) == Answer::No => Seen::Absent,
            _ if states.within(tracked) == Answer::Maybe => Seen::Unknown,
            Field::Status if mask == TRANSLATED => self.translated(),
            Field::Direction if states == State::NEW => Seen::Number(0),
            Field::FirstDestination(ip) => self.address(ip, self.packet.first_destination),
            Field::FirstDestinationPort => self.packet.first_destination.map(|end| u128::from(end.port)).into(),
            _ => Seen::Unknown,
        }
    }

    /// Whether the destination was translated before this rule.
    fn translated(&self) -> Seen<'a> {
        let before = self.packet.first_destination.zip(self.changed.destination(self.packet));
        before.map(|(first, now)| if first == now { 0 } else { TRANSLATED }).into()
    }

    /// What the destination is to the routing table. No TCP packet comes to input but for an address of the host, and
    /// none is forwarded but to a neighbour.
    fn kind(&self) -> Seen<'a> {
        let tcp = self.packet.transport == Some(TCP);
        let local = self.packet.local.or(match self.hook {
            Hook::Input if tcp => Some(true),
            Hook::Forward if tcp => Some(false),
            _ => None,
        });
        match local {
            Some(true) => Seen::Number(2),
            Some(false) if tcp => Seen::Number(1),
            _ => Seen::Unknown,
        }
    }
}

/// Only the bits that count.
fn masked(seen: Seen<'_>, mask: u128) -> Seen<'_> {
    match seen {
        Seen::Number(number) => Seen::Number(number & mask),
        Seen::OneOf(numbers) => match numbers[..] {
            [only] => Seen::Number(only & mask),
            _ => Seen::OneOf(numbers.into_iter().map(|number| number & mask).collect()),
        },
        other => other,
    }
}
