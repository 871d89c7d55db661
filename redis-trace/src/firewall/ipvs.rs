//! Virtual services of IPVS, which refuses a new connection to one that has no server for it: ip_vs_schedule() and
//! ip_vs_leave() of net/netfilter/ipvs/ip_vs_core.c.

use std::net::{IpAddr, Ipv4Addr};

use super::candidate::{Candidate, Effect, Site};
use super::model::{Backend, Family, Hook};
use super::owner::Owner;
use crate::trace::flow::Endpoint;
use crate::trace::text::Text;

/// ICMP_PORT_UNREACH and ICMPV6_PORT_UNREACH.
const PORT_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE6: u8 = 4;

/// A virtual service.
#[derive(Debug, PartialEq, Eq)]
enum Whose {
    /// Of a mark.
    Mark(u32),
    /// Of an address; port 0 stands for all.
    Address(Endpoint),
}

/// A line of the listing that begins with a virtual service.
struct Listed<'a> {
    whose: Whose,
    scheduler: &'a str,
}

/// The virtual service that a TCP packet to this address and with this mark is for, when it has no server that takes a new
/// connection. The listing is `/proc/PID/net/ip_vs`, ip_vs_info_seq_show() of net/netfilter/ipvs/ip_vs_ctl.c.
pub fn without_servers(listing: &str, to: Endpoint, mark: u32, hook: Hook, owner: Option<Owner>) -> Option<Candidate> {
    // As __ip_vs_service_find() and its caller look: by the mark, by the port, by the address alone.
    let of_mark = (mark != 0).then_some(Whose::Mark(mark));
    let of_address = [to.port, 0].map(|port| Whose::Address(Endpoint { port, ..to }));
    let (service, takes) = of_mark.into_iter().chain(of_address).find_map(|whose| find(listing, &whose))?;
    let (family, code) =
        if to.ip.is_ipv6() { (Family::Ip6, PORT_UNREACHABLE6) } else { (Family::Ip, PORT_UNREACHABLE) };
    let site = Site {
        backend: Backend::Ipvs,
        owner,
        family,
        table: Text::from("ip_vs"),
        chain: Text::from("services"),
        handle: None,
        number: None,
        hook,
        rule: Text::from(&*service.saved()),
        service: None,
    };
    (!takes).then_some(Candidate { site, effect: Effect::Icmp(Some(code)), must: true, counter: None })
}

/// The service in the listing, and whether a server of its takes new connections.
fn find<'a>(listing: &'a str, whose: &Whose) -> Option<(Listed<'a>, bool)> {
    let mut lines = listing.lines();
    let service = lines.by_ref().find_map(|line| service(line).filter(|service| service.whose == *whose))?;
    let mut servers = lines.take_while(|line| line.starts_with("  -> "));
    Some((service, servers.any(|line| weight(line).is_none_or(|weight| weight > 0))))
}

/// `TCP  0A4D00FE:18EB rr` or `FWM  00000001 rr`.
fn service(line: &str) -> Option<Listed<'_>> {
    let mut words = line.split_ascii_whitespace();
    let (kind, place, scheduler) = (words.next()?, words.next()?, words.next()?);
    let whose = match kind {
        "TCP" => Whose::Address(address(place)?),
        "FWM" => Whose::Mark(u32::from_str_radix(place, 16).ok()?),
        _ => return None,
    };
    Some(Listed { whose, scheduler })
}

/// `0A4D00FE:18EB` or `[fd77:0000:0000:0000:0000:0000:0000:0254]:18EB`.
fn address(place: &str) -> Option<Endpoint> {
    let (ip, port) = place.rsplit_once(':')?;
    let ip = match ip.strip_prefix('[') {
        Some(ipv6) => IpAddr::V6(ipv6.strip_suffix(']')?.parse().ok()?),
        None => IpAddr::V4(Ipv4Addr::from_bits(u32::from_str_radix(ip, 16).ok()?)),
    };
    Some(Endpoint { ip, port: u16::from_str_radix(port, 16).ok()? })
}

/// The weight of a server: a new connection goes to none that has 0.
fn weight(line: &str) -> Option<i32> {
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

impl Listed<'_> {
    /// As `ipvsadm --save --numeric` prints it.
    fn saved(&self) -> String {
        let scheduler = self.scheduler;
        match self.whose {
            Whose::Mark(mark) => format!("-A -f {mark} -s {scheduler}"),
            Whose::Address(address) => format!("-A -t {address} -s {scheduler}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LISTING: &str = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A4D00FE:18EB rr
TCP  0A4D00FE:18EC wlc persistent 300 FFFFFFFF
  -> 0A4D0002:18EC      Masq    0      0          0
TCP  0A4D00FE:18ED rr
  -> 0A4D0003:18ED      Masq    0      0          0
  -> 0A4D0002:18ED      Masq    1      0          0
UDP  0A4D00FE:18EE rr
TCP  0A4D00FD:0000 rr
TCP  [fd77:0000:0000:0000:0000:0000:0000:0254]:18EB rr
FWM  00000007 sh
";

    fn told(to: &str, mark: u32) -> Option<String> {
        let to: std::net::SocketAddr = to.parse().expect("an address");
        let to = Endpoint { ip: to.ip(), port: to.port() };
        without_servers(LISTING, to, mark, Hook::Input, None).map(|candidate| candidate.site.rule.to_string())
    }

    #[test]
    fn a_service_without_a_server_that_has_weight_refuses() {
        assert_eq!(told("10.77.0.254:6379", 0).as_deref(), Some("-A -t 10.77.0.254:6379 -s rr"));
        assert_eq!(told("10.77.0.254:6380", 0).as_deref(), Some("-A -t 10.77.0.254:6380 -s wlc"));
        assert_eq!(told("[fd77::254]:6379", 0).as_deref(), Some("-A -t [fd77::254]:6379 -s rr"));
    }

    #[test]
    fn a_service_of_all_ports_and_one_of_a_mark_refuse() {
        assert_eq!(told("10.77.0.253:6379", 0).as_deref(), Some("-A -t 10.77.0.253:0 -s rr"));
        assert_eq!(told("10.77.0.254:6381", 7).as_deref(), Some("-A -f 7 -s sh"));
    }

    #[test]
    fn one_with_a_server_and_what_is_no_service_refuse_nothing() {
        assert_eq!(told("10.77.0.254:6381", 0), None);
        assert_eq!(told("10.77.0.254:6382", 0), None, "that one is for UDP");
        assert_eq!(told("10.77.0.2:6379", 9), None);
    }

    proptest! {
        #[test]
        fn no_listing_panics(listing: String, port: u16) {
            let _ = without_servers(&listing, Endpoint { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), port }, 1, Hook::Input, None);
        }
    }
}
