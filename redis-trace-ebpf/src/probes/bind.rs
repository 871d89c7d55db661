//! bind(2) and listen(2) on TCP sockets: the failures, and the ports that were taken.

use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use redis_trace_common::denial::{BIND, LISTEN};
use redis_trace_common::member::{
    CRED_CAPABILITIES, NET_INUM, NET_MIX, NET_UNPRIVILEGED, SK_NET, SK_PROTOCOL, SK_TYPE, SOCKET_SK, TASK_CRED,
    TASK_TGID,
};
use redis_trace_common::record::Bind;
use redis_trace_common::tally::{End, Key};

use super::syscall::{self, NR_BIND, NR_LISTEN};
use super::unix;
use crate::denial;
use crate::emit::reserve;
use crate::kernel::{
    AF_INET, AF_INET6, IPPROTO_TCP, Memory, copy, current, fill_local, fill_socket, fill_task, local_port, mapped,
    read, read_into,
};
use crate::tally;

/// `IPPROTO_MPTCP`, include/uapi/linux/in.h.
const IPPROTO_MPTCP: u16 = 262;
/// `SOCK_STREAM`, include/linux/net.h.
pub(super) const SOCK_STREAM: u16 = 1;

/// `struct sockaddr_in` and the beginning of `struct sockaddr_in6`, include/uapi/linux/in.h, in6.h.
#[repr(C, align(8))]
#[derive(Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) family: u16,
    pub(super) port: u16,
    pub(super) v4: [u8; 4],
    pub(super) v6: [u8; 16],
}

impl Asked {
    /// Whether it is an IPv4 or IPv6 address.
    #[inline(always)]
    pub(super) fn is_inet(&self) -> bool {
        is_inet(self.family)
    }
}

/// Whether a family is IPv4 or IPv6.
#[inline(always)]
pub(super) fn is_inet(family: u16) -> bool {
    family == AF_INET || family == AF_INET6
}

/// `int inet_bind(struct socket *sock, struct sockaddr *uaddr, int addr_len)`, net/ipv4/af_inet.c.
#[fexit(function = "inet_bind")]
pub(crate) fn bound_v4(ctx: FExitContext) -> u32 {
    bound(&ctx);
    0
}

/// `int inet6_bind(struct socket *sock, struct sockaddr *uaddr, int addr_len)`, net/ipv6/af_inet6.c.
#[fexit(function = "inet6_bind")]
pub(crate) fn bound_v6(ctx: FExitContext) -> u32 {
    bound(&ctx);
    0
}

/// `int security_socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`, security/security.c: what it denies
/// never comes to the protocol family.
#[fexit(function = "security_socket_bind")]
pub(crate) fn denied_bind(ctx: FExitContext) -> u32 {
    if ctx.arg::<i32>(3) != 0 {
        bound(&ctx);
    }
    0
}

/// `int security_socket_listen(struct socket *sock, int backlog)`, security/security.c.
#[fexit(function = "security_socket_listen")]
pub(crate) fn denied_listen(ctx: FExitContext) -> u32 {
    tell_listen(read(ctx.arg(0), SOCKET_SK), ctx.arg(2), true);
    0
}

/// `int inet_listen(struct socket *sock, int backlog)`, net/ipv4/af_inet.c.
#[fexit(function = "inet_listen")]
pub(crate) fn listened(ctx: FExitContext) -> u32 {
    // The return value stands behind the arguments; bpf_get_func_ret() is only there since Linux 5.17.
    tell_listen(read(ctx.arg(0), SOCKET_SK), ctx.arg(2), true);
    0
}

/// Leaves bind(2).
#[tracepoint(category = "syscalls", name = "sys_exit_bind")]
pub(crate) fn exit_bind(ctx: TracePointContext) -> u32 {
    if let Some(left) = syscall::exit(&ctx, NR_BIND) {
        let mut asked = Asked::default();
        syscall_address(&raw mut asked, left.call.address);
        tell_bind(left.sk, &asked, left.result, left.is_entered);
    }
    0
}

/// Leaves listen(2).
#[tracepoint(category = "syscalls", name = "sys_exit_listen")]
pub(crate) fn exit_listen(ctx: TracePointContext) -> u32 {
    if let Some(left) = syscall::exit(&ctx, NR_LISTEN) {
        tell_listen(left.sk, left.result, left.is_entered);
        unix::tell_listen(left.sk, left.result);
    }
    0
}

/// A bind(2) that came to the protocol family.
#[inline(always)]
fn bound(ctx: &FExitContext) {
    let mut asked = Asked::default();
    copy(&raw mut asked, ctx.arg(1));
    tell_bind(read(ctx.arg(0), SOCKET_SK), &asked, ctx.arg(3), true);
}

/// Reads an address from the caller's memory, which the call itself has just read.
#[inline(always)]
pub(super) fn syscall_address(into: *mut Asked, address: u64) {
    unsafe {
        // An IPv4 address ends where its memory may: it is read no further.
        Memory::User.copy(into.cast::<u64>(), address);
        if (*into).family == AF_INET6 {
            Memory::User.copy(&raw mut (*into).v6, address + 8);
        }
    }
}

/// Whether a sock is of TCP, or of MPTCP, which falls back to it.
#[inline(always)]
pub(super) fn is_tcp(sk: u64) -> bool {
    read(sk, SK_TYPE) == SOCK_STREAM && is_tcp_protocol(read(sk, SK_PROTOCOL))
}

/// Whether a protocol is TCP or MPTCP.
#[inline(always)]
pub(super) fn is_tcp_protocol(protocol: u16) -> bool {
    protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP
}

/// What the caller was allowed: a privileged port wants `CAP_NET_BIND_SERVICE`.
#[inline(always)]
unsafe fn fill_capabilities(record: *mut Bind, task: u64, sk: u64) {
    unsafe {
        (&raw mut (*record).capabilities).write(read(read(task, TASK_CRED), CRED_CAPABILITIES) as u32);
        read_into(&raw mut (*record).unprivileged, read(sk, SK_NET), NET_UNPRIVILEGED);
    }
}

/// What failures to listen, and to accept, are counted by: which process, and what it got.
#[inline(always)]
pub(super) fn key(sk: u64, task: u64, port: u16, result: i32) -> Key {
    let net = read(sk, SK_NET);
    let mut key = Key {
        end: End::Listen as u32,
        netns: read(net, NET_INUM),
        netns_mix: read(net, NET_MIX),
        port: u32::from(port),
        client: [0; 16],
        server: [0; 16],
    };
    let words = (&raw mut key.client).cast::<u32>();
    unsafe {
        words.write(read(task, TASK_TGID));
        words.add(1).write(result.unsigned_abs());
    }
    key
}

/// A bind is over: tells of one that failed, or took a port that was asked for.
#[inline(always)]
pub(super) fn tell_bind(sk: u64, asked: &Asked, result: i32, is_entered: bool) {
    if asked.is_inet() && is_tcp(sk) && (result != 0 || asked.port != 0) {
        tell_tcp_bind(sk, asked, result, is_entered);
    }
    denial::forget();
}

#[inline(always)]
fn tell_tcp_bind(sk: u64, asked: &Asked, result: i32, is_entered: bool) {
    let task = current();
    let key = key(sk, task, u16::from_be(asked.port), result);
    let point = BIND + usize::from(asked.family == AF_INET6);
    if result == 0 || denial::is_told(task, &key, point, result.unsigned_abs(), is_entered) {
        submit_bind(task, sk, asked, result);
    }
}

/// Sends the record of a bind.
#[inline(always)]
pub(super) fn submit_bind(task: u64, sk: u64, asked: &Asked, result: i32) {
    let Some(mut slot) = reserve::<Bind>() else {
        if result != 0 {
            tally::lost(End::Listen);
        }
        return;
    };
    let record = slot.record();
    unsafe {
        let socket = &raw mut (*record).socket;
        fill_socket(socket, sk);
        (&raw mut (*socket).port).write(u16::from_be(asked.port));
        if asked.family == AF_INET6 {
            (&raw mut (*socket).address).write(asked.v6);
        } else {
            mapped(&raw mut (*socket).address, asked.v4);
        }
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).errno).write(result.unsigned_abs());
        (&raw mut (*record).listen).write(0);
        fill_capabilities(record, task, sk);
    }
    slot.submit();
}

/// Tells of a listen that failed; one that did not is told where the socket's state changes.
#[inline(always)]
pub(super) fn tell_listen(sk: u64, result: i32, is_entered: bool) {
    if result != 0 && is_tcp(sk) {
        tell_tcp_listen(sk, result, is_entered);
        denial::forget();
    }
}

#[inline(always)]
fn tell_tcp_listen(sk: u64, result: i32, is_entered: bool) {
    let task = current();
    let key = key(sk, task, local_port(sk), result);
    if denial::is_told(task, &key, LISTEN, result.unsigned_abs(), is_entered) {
        submit_listen(task, sk, result);
    }
}

/// Sends the record of a listen that failed.
#[inline(always)]
pub(super) fn submit_listen(task: u64, sk: u64, result: i32) {
    let Some(mut slot) = reserve::<Bind>() else { return tally::lost(End::Listen) };
    let record = slot.record();
    unsafe {
        fill_socket(&raw mut (*record).socket, sk);
        fill_local(&raw mut (*record).socket, sk);
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).errno).write(result.unsigned_abs());
        (&raw mut (*record).listen).write(1);
        fill_capabilities(record, task, sk);
    }
    slot.submit();
}
