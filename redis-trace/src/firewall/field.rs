//! What a rule can look at in a packet.

/// A property of a packet or of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// The protocol family, as NFPROTO numbers it: 2 or 10.
    Family,
    /// The protocol above IP.
    Transport,
    /// The protocol that an IPv4 header tells.
    Ipv4Protocol,
    /// The source address in a header of this IP version.
    Source(Ip),
    /// The destination address in a header of this IP version.
    Destination(Ip),
    /// The source port in a header of this protocol, or of any that has one.
    SourcePort(Option<u8>),
    /// The destination port in a header of this protocol, or of any that has one.
    DestinationPort(Option<u8>),
    /// The flags of a TCP header.
    TcpFlags,
    /// The interface it came in by.
    Input,
    /// The interface it goes out by.
    Output,
    /// The state of its connection, as a bit: include/uapi/linux/netfilter/nf_conntrack_common.h.
    State,
    /// The status of its connection, a set of bits of the same header.
    Status,
    /// Which way it goes in its connection: 0 is the way of the first packet.
    Direction,
    /// The destination address before any translation.
    FirstDestination(Ip),
    /// The destination port before any translation.
    FirstDestinationPort,
    /// The packet's mark.
    Mark,
    /// What the destination is to the routing table, as RTN numbers it.
    DestinationKind,
    /// The user of the socket.
    User,
    /// The group of the socket.
    Group,
    /// Something of which nothing is ever known here.
    Other,
}

/// The version of an IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Ip {
    /// How many bits an address has.
    pub(super) fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// A field, and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Which field.
    pub(super) field: Field,
    /// Which of its bits; all of them mostly.
    pub(super) mask: u128,
}

impl From<Field> for Key {
    fn from(field: Field) -> Self {
        Self { field, mask: u128::MAX }
    }
}

/// Bits of [`Field::Status`].
pub(super) const STATUS: [(&str, u128); 7] =
    [("expected", 1), ("seen-reply", 2), ("assured", 4), ("confirmed", 8), ("snat", 16), ("dnat", 32), ("dying", 512)];

/// The bit of [`Field::Status`] that tells a translated destination.
pub(super) const TRANSLATED: u128 = 32;

/// Bits of [`Field::TcpFlags`].
pub(super) const TCP_FLAGS: [(&str, u128); 8] =
    [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ecn", 64), ("cwr", 128)];

/// Values of [`Field::DestinationKind`], as in include/uapi/linux/rtnetlink.h.
const KINDS: [(&str, u128); 8] = [
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];

/// Names of protocols above IP, as nft and iptables print them.
const TRANSPORTS: [(&str, u128); 13] = [
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("icmp6", 58),
    ("sctp", 132),
    ("udplite", 136),
];

/// The number behind a name that nft or iptables prints for a value of a field, in either case of letters.
pub(super) fn named(field: Field, name: &str) -> Option<u128> {
    let of = |table: &[(&str, u128)]| {
        table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
    };
    match field {
        Field::Family => of(&[("ipv4", 2), ("ipv6", 10)]),
        Field::Transport | Field::Ipv4Protocol => of(&TRANSPORTS),
        Field::State => of(&super::packet::State::NAMES.map(|(name, state)| (name, u128::from(state.0)))),
        Field::Status => of(&STATUS),
        Field::Direction => of(&[("original", 0), ("reply", 1)]),
        Field::TcpFlags => of(&TCP_FLAGS),
        Field::DestinationKind => of(&KINDS),
        Field::Source(ip) | Field::Destination(ip) | Field::FirstDestination(ip) => address(ip, name),
        _ => None,
    }
    .or_else(|| number(name))
}

/// An address as a number.
fn address(ip: Ip, text: &str) -> Option<u128> {
    match ip {
        Ip::V4 => text.parse::<std::net::Ipv4Addr>().ok().map(|address| u128::from(address.to_bits())),
        Ip::V6 => text.parse::<std::net::Ipv6Addr>().ok().map(std::net::Ipv6Addr::to_bits),
    }
}

/// Digits, or hexadecimal ones behind `0x`.
pub(super) fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(hex) => u128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
