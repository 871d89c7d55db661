//! accept(2) on TCP sockets that failed for want of a file, or was denied: the connection stays in the queue, and its client
//! believes that it is served.

use aya_ebpf::macros::{fexit, tracepoint};
use aya_ebpf::programs::{FExitContext, TracePointContext};
use redis_trace_common::denial::LISTEN;
use redis_trace_common::member::{SIGNAL_RLIM, SK_ACK_BACKLOG, SK_MAX_ACK_BACKLOG, SK_STATE, TASK_SIGNAL};
use redis_trace_common::record::AcceptFailed;
use redis_trace_common::tally::End;

use super::{bind, queue, syscall};
use crate::denial;
use crate::emit::reserve;
use crate::kernel::{current, fill_local, fill_socket, fill_task, local_port, peek, place, read};
use crate::tally;

/// `ENFILE` and `EMFILE`, include/uapi/asm-generic/errno-base.h.
const NO_FILE: [i32; 2] = [-23, -24];

/// `RLIMIT_NOFILE`, include/uapi/asm-generic/resource.h.
const NOFILE: u64 = 7;
/// `struct rlimit`: what is allowed, and what may be allowed; include/uapi/linux/resource.h.
const SIZE_OF_LIMIT: u64 = 16;

/// `long __x64_sys_accept4(const struct pt_regs *regs)`, net/socket.c: what it calls is compiled into it on Linux 5.10.
#[fexit(function = "__x64_sys_accept4")]
pub(crate) fn accepted4(ctx: FExitContext) -> u32 {
    left(ctx.arg(1));
    0
}

/// `long __x64_sys_accept(const struct pt_regs *regs)`, net/socket.c.
#[fexit(function = "__x64_sys_accept")]
pub(crate) fn accepted(ctx: FExitContext) -> u32 {
    left(ctx.arg(1));
    0
}

/// Leaves accept4(2).
#[tracepoint(category = "syscalls", name = "sys_exit_accept4")]
pub(crate) fn exit_accept4(ctx: TracePointContext) -> u32 {
    left(syscall::result(&ctx));
    0
}

/// Leaves accept(2).
#[tracepoint(category = "syscalls", name = "sys_exit_accept")]
pub(crate) fn exit_accept(ctx: TracePointContext) -> u32 {
    left(syscall::result(&ctx));
    0
}

/// The call was not remembered, which would cost every accept: its registers still have what was asked. Of those, Linux 5.10
/// does not let a probe read what the function's argument points to.
#[inline(always)]
fn left(result: i32) {
    over(result, || syscall::sock(syscall::asked().fd));
}

/// An accept is over, of a listener that is looked for only when it failed in a way that matters.
#[inline(always)]
pub(super) fn over(result: i32, listener: impl FnOnce() -> u64) {
    // What is not negative is a file, whatever its number.
    let is_denied = result < 0 && denial::is_denial(result.unsigned_abs());
    if is_denied || NO_FILE.contains(&result) {
        tell_accept(listener(), result);
    }
}

/// Counts an accept that failed, and tells of it if it is a sample: a server in a loop fails thousands of times a second.
#[inline(always)]
fn tell_accept(sk: u64, result: i32) {
    if sk == 0 || !bind::is_tcp(sk) || read(sk, SK_STATE) != queue::LISTEN {
        return;
    }
    let (task, errno) = (current(), result.unsigned_abs());
    let is_told = denial::is_told(task, &bind::key(sk, task, local_port(sk), result), LISTEN, errno, true);
    denial::forget();
    if !is_told {
        return;
    }
    let Some(mut slot) = reserve::<AcceptFailed>() else { return tally::lost(End::Listen) };
    let record = slot.record();
    unsafe {
        fill_socket(&raw mut (*record).socket, sk);
        fill_local(&raw mut (*record).socket, sk);
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).errno).write(errno);
        (&raw mut (*record).queued).write(read(sk, SK_ACK_BACKLOG));
        (&raw mut (*record).backlog).write(read(sk, SK_MAX_ACK_BACKLOG));
        (&raw mut (*record).reserved).write(0);
        let limits = place(read(task, TASK_SIGNAL), SIGNAL_RLIM) + NOFILE * SIZE_OF_LIMIT;
        (&raw mut (*record).limit).write(peek(limits));
        (&raw mut (*record).hard).write(peek(limits + 8));
    }
    slot.submit();
}
