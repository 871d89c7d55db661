//! System calls on sockets that a seccomp filter keeps from being entered, where functions can be hooked.

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use redis_trace_common::denial::Asked as Capability;
use redis_trace_common::denial::{BIND, CONNECT, CREATE, LISTEN, Said};

use super::bind::{self, Asked, is_tcp, submit_bind, submit_listen, syscall_address};
use super::denied::{dial_key, flow, is_for_tcp, socket_key, submit_dial, submit_socket};
use super::syscall::{self, Call, NR_BIND, NR_CONNECT, NR_LISTEN, NR_SOCKET};
use crate::denial::{forget, is_told, saw};
use crate::kernel::{AF_INET6, current, local_port};

/// `__seccomp_filter(int this_syscall, …)`, kernel/seccomp.c: only tasks with a filter pass it, with every call. What it returns
/// has changed, so the caller's registers tell.
#[fexit(function = "__seccomp_filter")]
pub(crate) fn filtered(ctx: FExitContext) -> u32 {
    let number = ctx.arg(0);
    if matches!(number, NR_SOCKET | NR_CONNECT | NR_BIND | NR_LISTEN)
        && let Some((call, result)) = syscall::filtered()
    {
        saw(Said::Filter, Capability::Unseen, 0, 0);
        kept_out(number, &call, result);
        forget();
    }
    0
}

/// What the kernel would have been asked. What is told before each is one and the same code, or the verifier had to go through
/// it once for each.
#[inline(always)]
fn kept_out(number: u32, call: &Call, result: i32) {
    let (task, errno) = (current(), result.unsigned_abs());
    let sk = if number == NR_SOCKET { 0 } else { syscall::sock(call.fd) };
    let mut asked = Asked::default();
    if number == NR_BIND || number == NR_CONNECT {
        syscall_address(&raw mut asked, call.address);
    }
    let is_for_tcp = match number {
        NR_SOCKET => is_for_tcp(call),
        NR_LISTEN => is_tcp(sk),
        _ => asked.is_inet() && is_tcp(sk),
    };
    if !is_for_tcp {
        return;
    }
    let flow = flow(sk, &asked);
    let is_v6 = usize::from(asked.family == AF_INET6);
    let (key, point) = match number {
        NR_SOCKET => (socket_key(task, errno), CREATE),
        NR_LISTEN => (bind::key(sk, task, local_port(sk), result), LISTEN),
        NR_BIND => (bind::key(sk, task, u16::from_be(asked.port), result), BIND + is_v6),
        _ => (dial_key(&flow), CONNECT + is_v6),
    };
    if is_told(task, &key, point, errno, false) {
        match number {
            NR_SOCKET => submit_socket(task, call, errno),
            NR_LISTEN => submit_listen(task, sk, result),
            NR_BIND => submit_bind(task, sk, &asked, result),
            _ => submit_dial(task, &flow, errno),
        }
    }
}
