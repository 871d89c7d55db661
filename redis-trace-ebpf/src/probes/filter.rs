//! System calls on sockets that a seccomp filter keeps from being entered, where functions can be hooked.

use aya_ebpf::macros::fexit;
use aya_ebpf::programs::FExitContext;
use redis_trace_common::denial::{Asked, Said};

use super::bind::{Asked as Address, syscall_address, tell_bind, tell_listen};
use super::denied::{tell_dial, tell_socket};
use super::syscall;
use crate::denial::{forget, saw};
use crate::maps::Call;

// arch/x86/entry/syscalls/syscall_64.tbl
const SOCKET: u32 = 41;
const CONNECT: u32 = 42;
const BIND: u32 = 49;
const LISTEN: u32 = 50;

/// `__seccomp_filter(int this_syscall, …)`, kernel/seccomp.c: only tasks with a filter pass it, with every call. What it returns
/// has changed, so the caller's registers tell.
#[fexit(function = "__seccomp_filter")]
pub(crate) fn filtered(ctx: FExitContext) -> u32 {
    let number = ctx.arg(0);
    if matches!(number, SOCKET | CONNECT | BIND | LISTEN)
        && let Some((call, result)) = syscall::filtered()
    {
        saw(Said::Filter, Asked::Unseen, 0, 0);
        if number == SOCKET {
            tell_socket(&call, result.unsigned_abs(), false);
        } else {
            on_socket(number, &call, result);
        }
        forget();
    }
    0
}

/// A call on a socket that there is.
#[inline(always)]
fn on_socket(number: u32, call: &Call, result: i32) {
    let sk = syscall::sock(call.fd);
    let mut asked = Address::default();
    if number != LISTEN {
        syscall_address(&raw mut asked, call.address);
    }
    match number {
        LISTEN => tell_listen(sk, result, false),
        BIND => tell_bind(sk, &asked, result, false),
        _ => tell_dial(sk, &asked, result.unsigned_abs(), false),
    }
}
