//! Listening sockets: found by the snapshot at the start, then followed live.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::trace::fact::{Process, Socket};
use crate::trace::flow::{Endpoint, Flow, Netns};

use super::is_redis_like;

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The socket.
    pub socket: Socket,
    /// The accept queue's limit.
    pub backlog: Option<u32>,
    /// Who listens.
    /// One process may hold thousands.
    pub owner: Option<Arc<Process>>,
    /// When it began, boottime nanoseconds; absent when it did before observation began.
    pub since: Option<u64>,
}

/// Whether a socket would take a connection to where this flow goes.
pub fn accepts(socket: &Socket, flow: &Flow) -> bool {
    socket.netns == flow.netns
        && socket.local.port == flow.server.port
        && accepts_address(socket, flow.server.ip)
        && (socket.ifindex == 0 || socket.ifindex == flow.ifindex)
}

/// Whether a socket's address covers another: `::` covers IPv4 too unless `IPV6_V6ONLY` is set.
fn accepts_address(socket: &Socket, dialled: IpAddr) -> bool {
    match (socket.local.ip, dialled) {
        (own, other) if own == other => true,
        (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
        (IpAddr::V6(own), IpAddr::V6(_)) => own.is_unspecified(),
        (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && !socket.v6only,
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}

/// All listening sockets of the host, by port and namespace.
#[derive(Debug, Default)]
pub struct Listeners {
    by_port: BTreeMap<(u16, Netns), Vec<Listener>>,
    redis_like: HashMap<Netns, BTreeSet<u16>>,
}

impl Listeners {
    /// A socket listens.
    pub fn up(&mut self, socket: &Socket, backlog: Option<u32>, owner: Option<Arc<Process>>, since: Option<u64>) {
        if owner.as_deref().is_some_and(is_redis_like) {
            self.redis_like.entry(socket.netns).or_default().insert(socket.local.port);
        }
        // Most ports have one listener, and there may be many ports: room for one each.
        let there = self.by_port.entry((socket.local.port, socket.netns)).or_insert_with(|| Vec::with_capacity(1));
        if let Some(same) = there.iter_mut().find(|listener| is_same(&listener.socket, socket)) {
            same.since = since.or(same.since);
            same.backlog = backlog.or(same.backlog);
            same.owner = owner.or_else(|| same.owner.take());
        } else {
            there.push(Listener { socket: socket.clone(), backlog, owner, since });
        }
    }

    /// A socket listens no more; it is handed back when it was known.
    pub fn down(&mut self, socket: &Socket) -> Option<Listener> {
        let key = (socket.local.port, socket.netns);
        let there = self.by_port.get_mut(&key)?;
        let at = there.iter().position(|listener| is_same(&listener.socket, socket))?;
        let gone = there.swap_remove(at);
        if !there.iter().any(|listener| listener.owner.as_deref().is_some_and(is_redis_like))
            && let Some(ports) = self.redis_like.get_mut(&socket.netns)
        {
            ports.remove(&socket.local.port);
        }
        if there.is_empty() {
            self.by_port.remove(&key);
        }
        Some(gone)
    }

    /// Forgets those of one namespace.
    pub fn forget(&mut self, netns: Netns) {
        self.by_port.retain(|(_, other), _| *other != netns);
        self.redis_like.remove(&netns);
    }

    /// Those on one port of one namespace.
    pub fn on(&self, netns: Netns, port: u16) -> &[Listener] {
        self.by_port.get(&(port, netns)).map_or(&[], Vec::as_slice)
    }

    /// Who listens on this socket, as far as that is known.
    pub fn owner(&self, socket: &Socket) -> Option<&Process> {
        let there = self.on(socket.netns, socket.local.port).iter();
        there.filter(|listener| is_same(&listener.socket, socket)).find_map(|listener| listener.owner.as_deref())
    }

    /// Namespaces that have any.
    pub fn namespaces(&self) -> BTreeSet<Netns> {
        self.by_port.keys().map(|(_, netns)| *netns).collect()
    }

    /// Those on the same port in other namespaces.
    pub fn elsewhere(&self, netns: Netns, port: u16) -> impl Iterator<Item = &Listener> {
        self.by_port
            .range((port, Netns(0))..=(port, Netns(u32::MAX)))
            .filter(move |((_, other), _)| *other != netns)
            .flat_map(|(_, listeners)| listeners)
    }

    /// Those of Redis-like servers in a namespace, by port.
    pub fn redis_like(&self, netns: Netns) -> impl Iterator<Item = &Listener> {
        self.redis_like
            .get(&netns)
            .into_iter()
            .flatten()
            .flat_map(move |port| self.on(netns, *port))
            .filter(|listener| listener.owner.as_deref().is_some_and(is_redis_like))
    }

    /// Those of one process in a namespace.
    pub fn of_process(&self, netns: Netns, pid: u32) -> impl Iterator<Item = &Listener> {
        self.redis_like(netns).filter(move |listener| listener.owner.as_ref().is_some_and(|owner| owner.pid == pid))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_port.values().map(Vec::len).sum()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.by_port.is_empty()
    }
}

/// The same socket: by its file where both are known, else by where it is.
fn is_same(a: &Socket, b: &Socket) -> bool {
    let place = |socket: &Socket| (socket.netns, socket.local, socket.ipv6, socket.ifindex);
    if a.inode != 0 && b.inode != 0 { a.inode == b.inode } else { place(a) == place(b) }
}

/// A listener on the dialled port that cannot take the flow, and how it misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// Same family, another address.
    Address,
    /// The address would do, but it is bound to another interface or VRF.
    Device,
    /// The other address family.
    Family,
}

impl Listener {
    /// How this listener, on the same port and in the same namespace, misses the flow.
    pub fn misses(&self, flow: &Flow) -> Miss {
        if accepts_address(&self.socket, flow.server.ip) {
            Miss::Device
        } else if self.socket.local.ip.is_ipv4() == flow.server.ip.is_ipv4() {
            Miss::Address
        } else {
            Miss::Family
        }
    }

    /// Where it listens.
    pub fn local(&self) -> Endpoint {
        self.socket.local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(local: &str, v6only: bool, ifindex: u32) -> Socket {
        let local: std::net::SocketAddr = local.parse().expect("an address");
        Socket {
            netns: Netns(1),
            local: Endpoint { ip: local.ip(), port: local.port() },
            ipv6: local.is_ipv6(),
            v6only,
            ifindex,
            inode: 0,
        }
    }

    fn dialled(server: &str) -> Flow {
        let server: std::net::SocketAddr = server.parse().expect("an address");
        let server = Endpoint { ip: server.ip(), port: server.port() };
        Flow { netns: Netns(1), client: server, server, ifindex: 1 }
    }

    #[test]
    fn a_listener_takes_what_the_kernel_would_give_it() {
        assert!(accepts(&socket("0.0.0.0:1", false, 0), &dialled("10.0.0.1:1")));
        assert!(accepts(&socket("[::]:1", false, 0), &dialled("10.0.0.1:1")));
        assert!(accepts(&socket("[::]:1", false, 0), &dialled("[::1]:1")));
        assert!(!accepts(&socket("[::]:1", true, 0), &dialled("10.0.0.1:1")));
        assert!(!accepts(&socket("0.0.0.0:1", false, 0), &dialled("[::1]:1")));
        assert!(!accepts(&socket("127.0.0.1:1", false, 0), &dialled("10.0.0.1:1")));
        assert!(!accepts(&socket("0.0.0.0:1", false, 7), &dialled("10.0.0.1:1")));
        assert!(!accepts(&socket("0.0.0.0:2", false, 0), &dialled("10.0.0.1:1")));
    }

    #[test]
    fn a_miss_is_by_address_device_or_family() {
        let miss = |local: &str, v6only, ifindex, server: &str| {
            Listener { socket: socket(local, v6only, ifindex), backlog: None, owner: None, since: None }
                .misses(&dialled(server))
        };
        assert_eq!(miss("127.0.0.1:1", false, 0, "10.0.0.1:1"), Miss::Address);
        assert_eq!(miss("0.0.0.0:1", false, 7, "10.0.0.1:1"), Miss::Device);
        assert_eq!(miss("0.0.0.0:1", false, 0, "[::1]:1"), Miss::Family);
        assert_eq!(miss("[::]:1", true, 0, "127.0.0.1:1"), Miss::Family);
    }
}
