//! The ports that the kernel may choose from when it dials a server, and how many of them are taken; of the calling thread's
//! namespace.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};

use super::netlink;
use crate::trace::fact::Ports;
use crate::trace::flow::{Endpoint, Netns};

/// Counts them.
pub(crate) fn towards(netns: Netns, to: Endpoint) -> Result<Ports, String> {
    let range = read("/proc/sys/net/ipv4/ip_local_port_range")?;
    let (first, last) = pair(&range).ok_or_else(|| format!("ip_local_port_range has no two ports: {range}."))?;
    let mut taken = reserved(&read("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default(), &(first..=last));
    for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let (extensions, states) = (ExtensionFlags::empty(), StateFlags::from_bits_retain(u32::MAX));
        let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id };
        netlink::dump(SockDiagMessage::InetRequest(request), |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer {
                let id = &answer.header.socket_id;
                // A port is free for this server while it is used towards others only.
                let is_same = id.destination_address.to_canonical() == to.ip && id.destination_port == to.port;
                if (first..=last).contains(&id.source_port) && (is_same || id.destination_port == 0) {
                    taken.insert(id.source_port);
                }
            }
        })?;
    }
    Ok(Ports { netns, to, first, last, taken: u32::try_from(taken.len()).unwrap_or(u32::MAX) })
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path} could not be read: {error}."))
}

/// Two words, such as `32768 60999`.
fn pair(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Of a list like `8080,9148-9150`, what is in the range.
fn reserved(text: &str, range: &RangeInclusive<u16>) -> BTreeSet<u16> {
    let parts = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    parts.flatten().filter(|port| range.contains(port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_single_or_spans() {
        let in_range = reserved("8080,9148-9150,1\n", &(9149..=9200));
        assert_eq!(in_range, BTreeSet::from([9149, 9150]));
        assert!(reserved("\n", &(1..=9)).is_empty());
    }

    #[test]
    fn the_range_of_this_namespace_is_counted() {
        let to = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port: 1 };
        let ports = towards(Netns(7), to).expect("it can be read");
        assert!(ports.first < ports.last && ports.taken < ports.number(), "{ports:?}");
    }
}
