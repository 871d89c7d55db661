//! What several records hold: a connection's ends, a task, a socket, and the words for how a dial or a connection ended.

use super::COMM_LEN;
use crate::layout::layout;

/// How far a dial was when it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    /// connect(2) itself failed: no SYN was sent.
    AtOnce = 0,
    /// It is over.
    Over = 1,
    /// It has had no answer for seconds, and still waits.
    Waiting = 2,
    /// It is over, after it was told as waiting.
    OverAtLast = 3,
    /// It was answered after all, after it was told as waiting.
    Answered = 4,
}

/// How a connection ended early, and which end tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Parting {
    /// The server closed it.
    Closed = 0,
    /// The server closed it with data unread, and so reset it.
    Reset = 1,
    /// The client closed it first.
    Left = 2,
    /// The server closed it though the client had asked nothing for a while.
    Waited = 3,
    /// The client's end: the server closed or reset it.
    LeftByServer = 4,
    /// The client's end: it sent a TLS ClientHello, had no answer, and closed.
    HelloUnanswered = 5,
    /// The client's end: it sent a TLS alert, and closed.
    Alerted = 6,
}

layout! {
    /// The two ends of a connection in one network namespace.
    Flow {
        /// Inode of the network namespace.
        netns: u32,
        /// `AF_INET` or `AF_INET6`.
        family: u16,
        /// `IPPROTO_TCP` or `IPPROTO_MPTCP`.
        protocol: u16,
        /// Address of the end that dialled.
        client: [u8; 16],
        /// Address that was dialled.
        server: [u8; 16],
        /// Port of the end that dialled, host byte order.
        client_port: u16,
        /// Port that was dialled, host byte order.
        server_port: u16,
        /// Interface the packet came in by, or the socket is bound to; 0 when neither.
        ifindex: u32,
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// Zero.
        reserved: u32,
    }
}

layout! {
    /// The task that made a system call, caught in its own context, never in a softirq.
    Task {
        /// Process id in the initial pid namespace.
        pid: u32,
        /// Thread id in the initial pid namespace.
        tid: u32,
        /// Real user id in the initial user namespace.
        uid: u32,
        /// Inode of the task's network namespace.
        netns: u32,
        /// When the process started, boottime nanoseconds: tells a recycled pid.
        start: u64,
        /// Id of its cgroup in the unified hierarchy.
        cgroup: u64,
        /// The process's name (its first thread's, which `ps` shows), NUL padded.
        comm: [u8; COMM_LEN],
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// 1 when it descends from the command that the program runs.
        family: u32,
    }
}

layout! {
    /// A TCP socket that listens, listened, or is to listen.
    Socket {
        /// Kernel address of the socket: an identity while it lives, never printed.
        cookie: u64,
        /// Inode of its file, 0 when it has none.
        inode: u64,
        /// Inode of its network namespace.
        netns: u32,
        /// `AF_INET` or `AF_INET6`.
        family: u16,
        /// Local port, host byte order.
        port: u16,
        /// Local address.
        address: [u8; 16],
        /// Interface or VRF it is bound to, 0 for any.
        ifindex: u32,
        /// 1 when `IPV6_V6ONLY` is set.
        v6only: u32,
        /// Random for each namespace: tells one from the next that gets the same inode.
        netns_mix: u32,
        /// Zero.
        reserved: u32,
    }
}
