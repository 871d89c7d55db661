//! Whether a route leads somewhere: what the kernel says to a datagram socket that is pointed there. Nothing is sent.

use std::net::SocketAddr;

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use crate::trace::flow::Endpoint;

/// 0, or the errno that a dial gets from inside this thread's namespace for want of a route.
pub(super) fn to(there: Endpoint) -> Option<u32> {
    let family = if there.ip.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    match connect(&socket, &SocketAddr::new(there.ip, there.port)) {
        Ok(()) => Some(0),
        Err(errno) => u32::try_from(errno.raw_os_error()).ok(),
    }
}
