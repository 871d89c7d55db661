//! connect(2) and socket(2) for TCP that this host itself refused: before anything was sent.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use redis_trace_common::denial::{CONNECT, CREATE};
use redis_trace_common::member::{NET_INUM, NET_MIX, NSPROXY_NET, SOCKET_SK, TASK_NSPROXY, TASK_TGID, TCP_WRITE_SEQ};
use redis_trace_common::record::{ConnectFailed, Flow, Phase, SocketDenied};
use redis_trace_common::tally::{End, Key};

use super::bind::{Asked, SOCK_STREAM, is_tcp, is_tcp_protocol, syscall_address};
use super::connect;
use super::syscall::{self, Call, NR_SOCKET};
use crate::denial::{self, is_denial};
use crate::emit::{now, reserve};
use crate::kernel::{AF_INET, AF_INET6, copy, current, fill_flow, fill_task, mapped, read};
use crate::tally;

/// Kinds of sockets without their flags: `SOCK_TYPE_MASK`, include/linux/net.h.
const SOCK_TYPE_MASK: u64 = 0xf;
/// `EAFNOSUPPORT`, include/uapi/asm-generic/errno.h: what systemd's filters of address families give.
const EAFNOSUPPORT: u32 = 97;

/// Whether a connect that fails so may have been denied, or have found no way.
#[inline(always)]
pub(super) fn matters(errno: u32) -> bool {
    is_denial(errno) || syscall::leads_nowhere(errno)
}

/// Leaves connect(2) with an errno.
#[inline(always)]
pub(super) fn dialled(sk: u64, call: &Call, errno: u32, is_entered: bool) {
    if !is_denial(errno) && is_entered && !has_no_way(sk, errno) {
        return;
    }
    let mut asked = Asked::default();
    syscall_address(&raw mut asked, call.address);
    tell_dial(sk, &asked, errno, is_entered);
}

/// Tells of a connect that failed before a SYN was sent.
#[inline(always)]
pub(super) fn tell_dial(sk: u64, asked: &Asked, errno: u32, is_entered: bool) {
    if !asked.is_inet() || !is_tcp(sk) {
        return;
    }
    let (task, flow) = (current(), flow(sk, asked));
    let point = CONNECT + usize::from(asked.family == AF_INET6);
    if denial::is_told(task, &dial_key(&flow), point, errno, is_entered) {
        submit_dial(task, &flow, errno);
    }
}

/// Where a dial was to go.
#[inline(always)]
pub(super) fn flow(sk: u64, asked: &Asked) -> Flow {
    let mut flow = Flow {
        netns: 0,
        family: 0,
        protocol: 0,
        client: [0; 16],
        server: [0; 16],
        client_port: 0,
        server_port: 0,
        ifindex: 0,
        netns_mix: 0,
        reserved: 0,
    };
    fill_flow(&raw mut flow, sk);
    flow.family = asked.family;
    flow.server_port = u16::from_be(asked.port);
    if asked.family == AF_INET6 {
        flow.server = asked.v6;
    } else {
        mapped(&raw mut flow.server, asked.v4);
    }
    flow
}

/// What such dials are counted by.
#[inline(always)]
pub(super) fn dial_key(flow: &Flow) -> Key {
    Key {
        end: End::Client as u32,
        netns: flow.netns,
        netns_mix: flow.netns_mix,
        port: u32::from(flow.server_port),
        client: flow.client,
        server: flow.server,
    }
}

/// Sends the record of a connect that failed before a SYN was sent.
#[inline(always)]
pub(super) fn submit_dial(task: u64, flow: &Flow, errno: u32) {
    connect::remember_refusal(bpf_get_current_pid_tgid() as u32, flow.server_port);
    let Some(mut slot) = reserve::<ConnectFailed>() else { return tally::lost(End::Client) };
    let record = slot.record();
    unsafe {
        (&raw mut (*record).flow).write(*flow);
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).dialled).write(now());
        (&raw mut (*record).errno).write(errno);
        (&raw mut (*record).isn).write(0);
        (&raw mut (*record).phase).write(Phase::AtOnce as u32);
        (&raw mut (*record).retransmits).write(0);
        (&raw mut (*record).icmp_from).write([0; 16]);
        (&raw mut (*record).icmp_type).write(u32::MAX);
        (&raw mut (*record).icmp_code).write(0);
        (&raw mut (*record).ttl).write(0);
        (&raw mut (*record).peer_ttl).write(0);
    }
    slot.submit();
}

/// `int inet_stream_connect(struct socket *sock, struct sockaddr *uaddr, int addr_len, int flags)`, net/ipv4/af_inet.c.
#[fexit(function = "inet_stream_connect")]
pub(crate) fn stream_connected(ctx: FExitContext) -> u32 {
    called(&ctx, ctx.arg(4));
    0
}

/// `int security_socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, security/security.c.
#[fexit(function = "security_socket_connect")]
pub(crate) fn denied_connect(ctx: FExitContext) -> u32 {
    called(&ctx, ctx.arg(3));
    0
}

/// A connect that came to a function whose first arguments are a socket and an address.
#[inline(always)]
fn called(ctx: &FExitContext, result: i32) {
    let errno = result.unsigned_abs();
    // Most that fail were refused by another host: they cost no more than this.
    if result >= 0 || !matters(errno) {
        return;
    }
    let sk = read(ctx.arg(0), SOCKET_SK);
    if is_denial(errno) || has_no_way(sk, errno) {
        let mut asked = Asked::default();
        copy(&raw mut asked, ctx.arg(1));
        tell_dial(sk, &asked, errno, true);
        denial::forget();
    }
}

/// Whether the kernel found no way to a server, or no port to start from: not what came back later, for a sequence number is
/// chosen right before the SYN is sent.
#[inline(always)]
fn has_no_way(sk: u64, errno: u32) -> bool {
    syscall::leads_nowhere(errno) && is_tcp(sk) && read(sk, TCP_WRITE_SEQ) == 0
}

/// `int __sys_socket(int family, int type, int protocol)`, net/socket.c.
#[fexit(function = "__sys_socket")]
pub(crate) fn socket_made(ctx: FExitContext) -> u32 {
    let call = Call { fd: ctx.arg(0), address: ctx.arg(1), length: ctx.arg(2) };
    socket_over(&call, ctx.arg(3));
    0
}

/// A socket was made, or denied.
#[inline(always)]
pub(super) fn socket_over(call: &Call, result: i32) {
    if result < 0 && is_denial(result.unsigned_abs()) {
        tell_socket(call, result.unsigned_abs(), true);
        denial::forget();
    }
}

/// Leaves socket(2).
#[tracepoint(category = "syscalls", name = "sys_exit_socket")]
pub(crate) fn exit_socket(ctx: TracePointContext) -> u32 {
    let errno = syscall::errno(&ctx);
    if syscall::is_of_filter(errno) || errno == EAFNOSUPPORT {
        let call = syscall::asked();
        // A kernel may be without IPv6, and is never without IPv4.
        let is_entered = (errno == EAFNOSUPPORT && call.fd as u16 != AF_INET) || !syscall::may_be_kept_out(NR_SOCKET);
        if is_denial(errno) || !is_entered {
            tell_socket(&call, errno, is_entered);
            denial::forget();
        }
    }
    0
}

/// Tells of a socket that could not be made.
#[inline(always)]
fn tell_socket(call: &Call, errno: u32, is_entered: bool) {
    let task = current();
    if is_for_tcp(call) && denial::is_told(task, &socket_key(task, errno), CREATE, errno, is_entered) {
        submit_socket(task, call, errno);
    }
}

/// Whether a call of socket(2) is for one of TCP.
#[inline(always)]
pub(super) fn is_for_tcp(call: &Call) -> bool {
    let (family, kind, protocol) = (call.fd as u16, call.address & SOCK_TYPE_MASK, call.length as u16);
    let is_stream = kind == u64::from(SOCK_STREAM) && (protocol == 0 || is_tcp_protocol(protocol));
    is_stream && (family == AF_INET || family == AF_INET6)
}

/// What sockets that could not be made are counted by.
#[inline(always)]
pub(super) fn socket_key(task: u64, errno: u32) -> Key {
    let net = read(read(task, TASK_NSPROXY), NSPROXY_NET);
    let mut key = Key {
        end: End::Listen as u32,
        netns: read(net, NET_INUM),
        netns_mix: read(net, NET_MIX),
        port: 0,
        client: [0; 16],
        server: [0; 16],
    };
    let words = (&raw mut key.client).cast::<u32>();
    unsafe {
        words.write(read(task, TASK_TGID));
        words.add(1).write(errno);
    }
    key
}

/// Sends the record of a socket that could not be made.
#[inline(always)]
pub(super) fn submit_socket(task: u64, call: &Call, errno: u32) {
    let Some(mut slot) = reserve::<SocketDenied>() else { return tally::lost(End::Listen) };
    let record = slot.record();
    unsafe {
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).family).write(u32::from(call.fd as u16));
        (&raw mut (*record).errno).write(errno);
    }
    slot.submit();
}
