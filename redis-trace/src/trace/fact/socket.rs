//! TCP sockets that listen, listened, or are to.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Process, Task};
use crate::trace::flow::{Endpoint, Netns};

/// A TCP socket, by what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Where.
    pub netns: Netns,
    /// Local address and port.
    pub local: Endpoint,
    /// Its family is `AF_INET6` (so `::` takes IPv4 too unless `v6only`).
    pub ipv6: bool,
    /// `IPV6_V6ONLY`.
    pub v6only: bool,
    /// Interface or VRF it is bound to; 0 for any.
    pub ifindex: u32,
    /// Inode of its file; 0 when not known.
    pub inode: u64,
}

/// A socket that `sock_diag` or `/proc` showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundSocket {
    /// The socket.
    #[serde(flatten)]
    pub socket: Socket,
    /// True for LISTEN, false for a socket that is bound and does nothing.
    pub listening: bool,
    /// Connections that wait to be accepted, when it listens.
    pub queued: Option<u32>,
    /// The accept queue's limit, where the source tells it.
    pub backlog: Option<u32>,
    /// Who holds it, as far as `/proc` shows.
    pub owner: Option<Arc<Process>>,
}

/// bind(2) or listen(2) that returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    /// The socket, with the address and port asked for.
    pub socket: Socket,
    /// Who called.
    pub task: Task,
    /// 0, or the errno.
    pub errno: u32,
    /// It was listen(2).
    pub listen: bool,
    /// The caller had CAP_NET_BIND_SERVICE.
    pub net_bind_service: bool,
    /// The first port of the namespace that needs no capability.
    #[serde(default = "unprivileged")]
    pub unprivileged: u32,
}

/// Where ports begin that need no capability, unless the namespace is set otherwise: net.ipv4.ip_unprivileged_port_start.
fn unprivileged() -> u32 {
    1024
}

/// How sockets were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `sock_diag` netlink in that namespace: all there is.
    SockDiag,
    /// `/proc/PID/net/tcp` and `tcp6`: listeners only, no limit.
    ProcNet,
}
