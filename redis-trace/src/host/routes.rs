//! Where the kernel would send a packet, asked in the calling thread's namespace; and when it would not, which route or rule
//! says so.

use std::io;
use std::net::IpAddr;

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{Wanted, talk};
use super::xfrm;
use crate::trace::fact::Way;
use crate::trace::flow::Endpoint;
use crate::trace::text::Text;

/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// errno values, include/uapi/asm-generic/errno*.h.
const EACCES: u32 = 13;
const EINVAL: u32 = 22;
const ENETUNREACH: u32 = 101;
const EHOSTUNREACH: u32 = 113;

/// How packets to a server leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    /// The interface.
    pub interface: Option<Link>,
    /// The address that they come from.
    pub source: Option<IpAddr>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Something is there at its other end.
    pub has_carrier: bool,
    /// It is a bridge, not a port of one.
    pub is_bridge: bool,
}

/// How packets of this user's to a server leave the calling thread's namespace; nothing when none do.
pub fn leaving(to: Endpoint, uid: u32) -> Option<Leaving> {
    let Found { index, source, .. } = look_up(to, uid).ok()?;
    Some(Leaving { interface: index.and_then(link), source })
}

/// The interface of a number.
pub(super) fn link(index: u32) -> Option<Link> {
    let mut request = LinkMessage::default();
    request.header.index = index;
    let mut found = None;
    let asked = talk(NETLINK_ROUTE, Wanted::One, RouteNetlinkMessage::GetLink(request), |answer| {
        if let RouteNetlinkMessage::NewLink(link) = answer {
            let name = link.attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name.clone()),
                _ => None,
            });
            let has_carrier = link.header.flags.contains(LinkFlags::LowerUp);
            let is_bridge = link.attributes.iter().any(|attribute| match attribute {
                LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Bridge)),
                _ => false,
            });
            found = name.map(|name| Link { name, has_carrier, is_bridge });
        }
    });
    asked.ok().and(found)
}

/// A route that the kernel found.
struct Found {
    /// The next hop, the server itself when it is on the link.
    hop: IpAddr,
    /// Number of the interface.
    index: Option<u32>,
    /// The address that packets come from.
    source: Option<IpAddr>,
}

/// The way to a server for a packet of this user's.
pub(crate) fn way(to: Endpoint, uid: u32) -> Result<Way, String> {
    let failed = |error: io::Error| format!("The kernel's routes could not be read: {error}.");
    match look_up(to, uid) {
        Ok(Found { hop, .. }) => match xfrm::blocks(to) {
            Some(by) => Ok(Way::Blocked { by }),
            None => Ok(Way::Sent { hop, hop_failed: is_failed(hop).map_err(failed)? }),
        },
        Err(error) => {
            let errno = error.raw_os_error().and_then(|errno| u32::try_from(errno).ok());
            let errno = errno.ok_or_else(|| failed(error))?;
            Ok(Way::Refused { errno, by: refuser(to.ip, uid, errno).map_err(failed)? })
        }
    }
}

/// The route that the kernel would choose; or the error that a dial gets.
fn look_up(to: Endpoint, uid: u32) -> io::Result<Found> {
    let mut request = RouteMessage::default();
    request.header.address_family = family(to.ip);
    request.header.destination_prefix_length = bits(to.ip);
    request.attributes = vec![
        RouteAttribute::Destination(to.ip.into()),
        RouteAttribute::Uid(uid),
        RouteAttribute::IpProto(TCP),
        RouteAttribute::Dport(to.port.to_be()),
    ];
    let mut found = Found { hop: to.ip, index: None, source: None };
    talk(NETLINK_ROUTE, Wanted::One, RouteNetlinkMessage::GetRoute(request), |answer| {
        if let RouteNetlinkMessage::NewRoute(route) = answer {
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Gateway(address) => found.hop = ip(address).unwrap_or(found.hop),
                    RouteAttribute::Oif(index) => found.index = Some(*index),
                    RouteAttribute::PrefSource(address) => found.source = ip(address),
                    _ => {}
                }
            }
        }
    })?;
    Ok(found)
}

/// Whether a neighbour's hardware address was asked for in vain.
fn is_failed(hop: IpAddr) -> io::Result<bool> {
    let mut request = NeighbourMessage::default();
    request.header.family = family(hop);
    let mut failed = false;
    talk(NETLINK_ROUTE, Wanted::All, RouteNetlinkMessage::GetNeighbour(request), |answer| {
        if let RouteNetlinkMessage::NewNeighbour(neighbour) = answer {
            let is_hop = neighbour.attributes.iter().any(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => hop == *address,
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => hop == *address,
                _ => false,
            });
            failed |= is_hop && neighbour.header.state == NeighbourState::Failed;
        }
    })?;
    Ok(failed)
}

/// A route that refuses.
struct Refusing {
    text: String,
    table: u32,
    prefix: u8,
}

/// The route or rule by which packets to an address are refused with this errno.
fn refuser(to: IpAddr, uid: u32, errno: u32) -> io::Result<Option<Text>> {
    let route = refusing_route(to, errno)?;
    let mut rules = Vec::new();
    let mut request = RuleMessage::default();
    request.header.family = family(to);
    talk(NETLINK_ROUTE, Wanted::All, RouteNetlinkMessage::GetRule(request), |answer| {
        if let RouteNetlinkMessage::NewRule(rule) = answer {
            rules.push(rule);
        }
    })?;
    // The kernel goes through the rules in the order in which it shows them.
    let first = rules.iter().find_map(|rule| match rule.header.action {
        RuleAction::ToTable => {
            let route = route.as_ref().filter(|route| route.table == table_of(rule))?;
            Some(route.text.clone())
        }
        _ if rule_errno(rule.header.action) == Some(errno) && applies(rule, to, uid) => Some(rule_text(rule)),
        _ => None,
    });
    Ok(first.map(|text| Text::from(text.as_str())))
}

/// The route with the longest prefix that refuses packets to this address with this errno.
fn refusing_route(to: IpAddr, errno: u32) -> io::Result<Option<Refusing>> {
    let (kind, word) = match errno {
        EACCES => (RouteType::Prohibit, "prohibit"),
        EHOSTUNREACH => (RouteType::Unreachable, "unreachable"),
        EINVAL => (RouteType::BlackHole, "blackhole"),
        _ => return Ok(None),
    };
    let mut request = RouteMessage::default();
    request.header.address_family = family(to);
    request.header.kind = kind;
    let mut best: Option<Refusing> = None;
    talk(NETLINK_ROUTE, Wanted::Filtered, RouteNetlinkMessage::GetRoute(request), |answer| {
        let RouteNetlinkMessage::NewRoute(route) = answer else { return };
        let prefix = route.header.destination_prefix_length;
        let destination = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => ip(address),
            _ => None,
        });
        // The default route has no destination.
        let is_match = destination.map_or(prefix == 0, |network| contains(network, prefix, to));
        if route.header.kind == kind && is_match && best.as_ref().is_none_or(|best| best.prefix < prefix) {
            let network = destination.map_or_else(|| "default".to_owned(), |network| format!("{network}/{prefix}"));
            best = Some(Refusing { text: format!("route {word} {network}"), table: table(&route), prefix });
        }
    })?;
    Ok(best)
}

/// What a dial gets by a rule.
fn rule_errno(action: RuleAction) -> Option<u32> {
    match action {
        RuleAction::Prohibit => Some(EACCES),
        RuleAction::Unreachable => Some(ENETUNREACH),
        RuleAction::Blackhole => Some(EINVAL),
        _ => None,
    }
}

/// Whether a rule applies to a packet of which the destination and the user are known. One that asks for more, such as a mark,
/// does not apply to what we have asked the kernel about either.
fn applies(rule: &RuleMessage, to: IpAddr, uid: u32) -> bool {
    rule.attributes.iter().all(|attribute| match attribute {
        RuleAttribute::Destination(network) => contains(*network, rule.header.dst_len, to),
        RuleAttribute::UidRange(range) => (range.start..=range.end).contains(&uid),
        RuleAttribute::Source(_)
        | RuleAttribute::FwMark(_)
        | RuleAttribute::Iifname(_)
        | RuleAttribute::Oifname(_)
        | RuleAttribute::SourcePortRange(_) => false,
        _ => true,
    })
}

/// `rule 100: to 10.8.0.0/16 prohibit`, as `ip rule` shows it.
fn rule_text(rule: &RuleMessage) -> String {
    let word = match rule.header.action {
        RuleAction::Prohibit => "prohibit",
        RuleAction::Unreachable => "unreachable",
        _ => "blackhole",
    };
    let (mut priority, mut to) = (0, String::new());
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::Destination(network) => to = format!(" to {network}/{}", rule.header.dst_len),
            _ => {}
        }
    }
    format!("rule {priority}: from all{to} {word}")
}

fn table_of(rule: &RuleMessage) -> u32 {
    let told = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    told.unwrap_or(u32::from(rule.header.table))
}

fn table(route: &RouteMessage) -> u32 {
    let RouteHeader { table, .. } = route.header;
    let told = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    told.unwrap_or(u32::from(table))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// Whether an address is in a network.
pub(crate) fn contains(network: IpAddr, prefix: u8, ip: IpAddr) -> bool {
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            (network.to_bits() ^ ip.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(ip)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            (network.to_bits() ^ ip.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_network_contains_what_its_prefix_says() {
        assert!(contains(address("10.9.0.0"), 16, address("10.9.255.1")));
        assert!(!contains(address("10.9.0.0"), 16, address("10.8.0.1")));
        assert!(contains(address("0.0.0.0"), 0, address("10.8.0.1")));
        assert!(contains(address("fd00::"), 8, address("fd12::1")));
        assert!(!contains(address("fd00::"), 8, address("10.0.0.1")));
    }

    #[test]
    fn loopback_is_a_way() {
        let to = Endpoint { ip: address("127.0.0.1"), port: 6379 };
        assert_eq!(way(to, 0), Ok(Way::Sent { hop: to.ip, hop_failed: false }));
    }
}
