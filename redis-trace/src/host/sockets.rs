//! TCP sockets that listen or are bound, as `sock_diag` shows them in the calling thread's namespace, or as
//! `/proc/PID/net` does where no namespace may be entered.

use std::net::IpAddr;

use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, IPPROTO_TCP, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT,
};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer};
use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::Process;

use super::netlink;
use crate::trace::fact::{BoundSocket, Socket};
use crate::trace::flow::{Endpoint, Netns};

/// Bound, neither connected nor listening: TCP_BOUND_INACTIVE of include/net/tcp_states.h. Since Linux 6.8; older kernels
/// ignore the bit.
const BOUND_INACTIVE: u8 = 13;

/// Sockets of the calling thread's namespace: all that listen, or all that are bound to one port.
pub(crate) fn bound(netns: Netns, port: Option<u16>) -> Result<Vec<BoundSocket>, String> {
    let mut sockets = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let id = SocketId { source_port: port.unwrap_or_default(), ..any };
        // Sockets that only hold a port are many and dull, so they are asked for by port alone.
        let idle = if port.is_some() { 1 << BOUND_INACTIVE } else { 0 };
        netlink::dump(request(family, id, 1 << TCP_LISTEN | idle), |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer
                && port.is_none_or(|port| port == answer.header.socket_id.source_port)
            {
                sockets.extend(from_diag(netns, &answer));
            }
        })?;
    }
    Ok(sockets)
}

/// A connection that nobody has accepted yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Its end here.
    pub(crate) local: Endpoint,
    /// How long it has stood, nanoseconds.
    pub(crate) age: u64,
}

/// Connections to a port that nobody has accepted: they have no file. Nothing was sent on them, so the time since then is
/// their age: tcp_create_openreq_child(), net/ipv4/tcp_minisocks.c.
pub(crate) fn waiting(port: u16) -> Result<Vec<Waiting>, String> {
    let mut waiting = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let id = SocketId { source_port: port, ..any };
        let mut asked = request(family, id, 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT);
        if let SockDiagMessage::InetRequest(asked) = &mut asked {
            asked.extensions = ExtensionFlags::INFO;
        }
        netlink::dump(asked, |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer
                && answer.header.inode == 0
                && answer.header.socket_id.source_port == port
            {
                let id = &answer.header.socket_id;
                let sent = answer.nlas.iter().find_map(|nla| match nla {
                    Nla::TcpInfo(info) => last_data_sent(info),
                    _ => None,
                });
                let local = Endpoint { ip: id.source_address.to_canonical(), port };
                waiting.extend(sent.map(|sent| Waiting { local, age: u64::from(sent) * 1_000_000 }));
            }
        })?;
    }
    Ok(waiting)
}

/// How many connections to a port somebody has accepted and not closed.
pub(crate) fn accepted(port: u16) -> Result<u64, String> {
    let mut number = 0;
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        let id = SocketId { source_port: port, ..any };
        netlink::dump(request(family, id, 1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT), |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer
                && answer.header.inode != 0
                && answer.header.socket_id.source_port == port
            {
                number += 1;
            }
        })?;
    }
    Ok(number)
}

/// Ends here of connections whose handshake is not over.
pub(crate) fn half_open() -> Result<Vec<Endpoint>, String> {
    let mut ends = Vec::new();
    for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
        netlink::dump(request(family, any, 1 << TCP_SYN_RECV), |answer| {
            if let SockDiagMessage::InetResponse(answer) = answer {
                let id = &answer.header.socket_id;
                ends.push(Endpoint { ip: id.source_address.to_canonical(), port: id.source_port });
            }
        })?;
    }
    Ok(ends)
}

/// How often the first packet of a dial from this address, which nobody has answered yet, was sent again.
pub(crate) fn sent_again(local: Endpoint) -> Result<Option<u32>, String> {
    let (family, any) = if local.ip.is_ipv6() { (AF_INET6, SocketId::new_v6()) } else { (AF_INET, SocketId::new_v4()) };
    let mut again = None;
    let id = SocketId { source_port: local.port, ..any };
    netlink::dump(request(family, id, 1 << TCP_SYN_SENT), |answer| {
        if let SockDiagMessage::InetResponse(answer) = answer
            && answer.header.socket_id.source_port == local.port
            && answer.header.socket_id.source_address.to_canonical() == local.ip
        {
            again = match answer.header.timer {
                Some(Timer::Retransmit(_, times)) => Some(u32::from(times)),
                _ => again,
            };
        }
    })?;
    Ok(again)
}

/// Any socket at these addresses, whatever number the kernel keeps of it: INET_DIAG_NOCOOKIE, include/uapi/linux/inet_diag.h.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// The inode of the socket that dialled from here to there and has no answer yet.
pub(crate) fn dialling(from: Endpoint, to: Endpoint) -> Option<u64> {
    let id = SocketId {
        source_port: from.port,
        destination_port: to.port,
        source_address: from.ip,
        destination_address: to.ip,
        interface_id: 0,
        cookie: NO_COOKIE,
    };
    let family = if from.ip.is_ipv6() { AF_INET6 } else { AF_INET };
    let mut inode = None;
    let asked = netlink::find(request(family, id, 1 << TCP_SYN_SENT), |answer| {
        if let SockDiagMessage::InetResponse(answer) = answer
            && answer.header.state == TCP_SYN_SENT
        {
            inode = Some(u64::from(answer.header.inode)).filter(|inode| *inode != 0);
        }
    });
    asked.ok().and(inode)
}

/// Milliseconds since something was sent last: `tcpi_last_data_sent` of `struct tcp_info`, include/uapi/linux/tcp.h.
fn last_data_sent(info: &[u8]) -> Option<u32> {
    let bytes = info.get(44..48)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// What is asked of one family.
fn request(family: u8, socket_id: SocketId, states: u32) -> SockDiagMessage {
    let (extensions, states) = (ExtensionFlags::empty(), StateFlags::from_bits_retain(states));
    SockDiagMessage::InetRequest(InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id })
}

/// One answer; a socket in any other state is none of ours.
fn from_diag(netns: Netns, answer: &InetResponse) -> Option<BoundSocket> {
    let header = &answer.header;
    let listening = match header.state {
        TCP_LISTEN => true,
        TCP_CLOSE | BOUND_INACTIVE => false,
        _ => return None,
    };
    let local = Endpoint { ip: header.socket_id.source_address.to_canonical(), port: header.socket_id.source_port };
    let v6only = answer.nlas.iter().any(|nla| matches!(nla, Nla::SkV6Only(true)));
    Some(BoundSocket {
        socket: Socket {
            netns,
            local,
            ipv6: header.family == AF_INET6,
            v6only,
            ifindex: header.socket_id.interface_id,
            inode: u64::from(header.inode),
        },
        listening,
        queued: listening.then_some(header.recv_queue),
        backlog: listening.then_some(header.send_queue),
        owner: None,
    })
}

/// Listeners of the namespace that a process lives in, from `/proc/PID/net/tcp` and `tcp6`.
pub(crate) fn bound_by_proc(netns: Netns, pid: u32, port: Option<u16>) -> Result<Vec<BoundSocket>, String> {
    let failed = |error| format!("/proc/{pid}/net/tcp could not be read: {error}.");
    let pid = i32::try_from(pid).map_err(|_| format!("{pid} is no process id."))?;
    let process = Process::new(pid).map_err(failed)?;
    let ipv4 = process.tcp().map_err(failed)?;
    // A kernel without IPv6 has no such file.
    let ipv6 = process.tcp6().unwrap_or_default();
    let listeners = ipv4.iter().chain(&ipv6).filter(|entry| entry.state == TcpState::Listen);
    let wanted = listeners.filter(|entry| port.is_none_or(|port| port == entry.local_address.port()));
    Ok(wanted.map(|entry| from_proc(netns, entry)).collect())
}

/// One line of the table: it tells neither the limit of the queue nor whether IPv4 is taken too.
fn from_proc(netns: Netns, entry: &TcpNetEntry) -> BoundSocket {
    let ip: IpAddr = entry.local_address.ip();
    BoundSocket {
        socket: Socket {
            netns,
            local: Endpoint { ip: ip.to_canonical(), port: entry.local_address.port() },
            ipv6: ip.is_ipv6(),
            v6only: false,
            ifindex: 0,
            inode: entry.inode,
        },
        listening: true,
        queued: Some(entry.rx_queue),
        backlog: None,
        owner: None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::net::{AddressFamily, SocketType, sockopt};

    use super::super::netns;
    use super::*;

    /// The inode of an open socket.
    fn inode(socket: &impl AsRawFd) -> u64 {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("it is open").ino()
    }

    /// Sockets on a port of the namespace the test runs in.
    fn on(port: u16) -> Vec<BoundSocket> {
        bound(netns::current().expect("a namespace"), Some(port)).expect("a dump")
    }

    #[test]
    fn a_listener_is_seen_with_its_queue_and_its_limit() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let _waiting = TcpStream::connect(address).expect("somebody listens");
        let seen = on(address.port());
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].socket.local, Endpoint { ip: address.ip(), port: address.port() });
        assert_eq!((seen[0].socket.inode, seen[0].socket.ipv6), (inode(&listener), false));
        assert_eq!((seen[0].listening, seen[0].queued), (true, Some(1)));
        assert!(seen[0].backlog.is_some_and(|limit| limit >= 128));
        let all = bound(netns::current().expect("a namespace"), None).expect("a dump");
        assert!(all.iter().any(|socket| socket.socket.inode == inode(&listener)) && all.iter().all(|s| s.listening));
    }

    #[test]
    fn an_ipv6_listener_says_whether_it_takes_ipv4() {
        for only in [false, true] {
            let socket = rustix::net::socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
            sockopt::set_ipv6_v6only(&socket, only).expect("an option");
            rustix::net::bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("a free port");
            rustix::net::listen(&socket, 7).expect("it listens");
            let port = TcpListener::from(socket.as_fd().try_clone_to_owned().expect("a copy"))
                .local_addr()
                .expect("an address")
                .port();
            let seen = on(port);
            assert_eq!(seen.len(), 1);
            assert_eq!((seen[0].socket.ipv6, seen[0].socket.v6only, seen[0].backlog), (true, only, Some(7)));
        }
    }

    #[test]
    fn a_socket_that_is_bound_and_does_not_listen_is_seen() {
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let port = TcpListener::from(socket.as_fd().try_clone_to_owned().expect("a copy"))
            .local_addr()
            .expect("an address")
            .port();
        let seen = on(port);
        assert_eq!(seen.len(), 1, "this kernel is 6.8 or newer");
        assert_eq!((seen[0].listening, seen[0].socket.inode, seen[0].queued), (false, inode(&socket), None));
    }

    #[test]
    fn the_other_way_sees_the_same_listeners() {
        let ipv4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a free port");
        for listener in [&ipv4, &ipv6] {
            let address = listener.local_addr().expect("an address");
            let seen = bound_by_proc(Netns(1), std::process::id(), Some(address.port())).expect("it can be read");
            assert_eq!(seen.len(), 1);
            assert_eq!(seen[0].socket.local, Endpoint { ip: address.ip(), port: address.port() });
            assert_eq!((seen[0].socket.inode, seen[0].listening), (inode(listener), true));
        }
        assert!(bound_by_proc(Netns(1), u32::MAX, None).is_err_and(|error| error.ends_with('.')));
    }
}
