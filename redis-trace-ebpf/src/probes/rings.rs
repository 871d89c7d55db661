//! Calls on sockets that are made through io_uring: they come past no tracepoint of system calls, and the functions that they
//! come past otherwise do not tell of a socket or a connection that could not be had.

use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};
use redis_trace_common::hook::IO_URING_COMPLETE;
use redis_trace_common::member::{
    CQE_RESULT, IO_ADDRESS, IO_ASYNC, IO_CONNECT_LENGTH, IO_CONNECT_TO, IO_FILE, IO_OPCODE, IO_RESULT,
    IO_SOCKET_FAMILY, IO_SOCKET_PROTOCOL, IO_SOCKET_TYPE,
};

use super::bind::{self, Asked};
use super::syscall::{self, Call};
use super::{accept, denied, unix};
use crate::kernel::{arguments, copy, load, peek, place, read};

// `enum io_uring_op`, include/uapi/linux/io_uring.h.
const ACCEPT: u8 = 13;
const CONNECT: u8 = 16;
const SOCKET: u8 = 45;
const BIND: u8 = 56;
const LISTEN: u8 = 57;

/// `IOU_STOP_MULTISHOT`, io_uring/io_uring.h: an accept that would have gone on, and has failed.
const STOPPED: i32 = -125;

/// `int io_accept(struct io_kiocb *req, unsigned int issue_flags)`, io_uring/net.c.
#[fexit(function = "io_accept")]
pub(crate) fn ring_accepted(ctx: FExitContext) -> u32 {
    let request = ctx.arg(0);
    accepted(request, result(request, ctx.arg(2)));
    0
}

/// `int io_socket(struct io_kiocb *req, unsigned int issue_flags)`, io_uring/net.c.
#[fexit(function = "io_socket")]
pub(crate) fn ring_socket_made(ctx: FExitContext) -> u32 {
    let request = ctx.arg(0);
    socket_made(request, result(request, ctx.arg(2)));
    0
}

/// `io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)`, include/trace/events/io_uring.h, or with
/// what is in the latter.
#[btf_tracepoint(function = "io_uring_complete")]
pub(crate) fn ring_completed(ctx: BtfTracePointContext) -> i32 {
    let result =
        if arguments(IO_URING_COMPLETE) == 3 { unsafe { load(ctx.arg(2), CQE_RESULT) } } else { ctx.arg::<i32>(3) };
    // Most are reads and writes that succeed: they cost no more than this.
    if result < 0 {
        failed(ctx.arg(1), result);
    }
    0
}

/// A request has failed; one that has no structure of its own was none of these.
#[inline(always)]
fn failed(request: u64, result: i32) {
    match read(request, IO_OPCODE) {
        ACCEPT => accepted(request, result),
        CONNECT => connected(request, result),
        SOCKET => socket_made(request, result),
        BIND => bound(request, result),
        LISTEN => bind::tell_listen(sock(request), result, true),
        _ => {}
    }
}

/// What came of a request, by what the function that issues it has returned: an error of its own, that it is to be tried again,
/// or that the result is left with the request.
#[inline(always)]
fn result(request: u64, returned: i32) -> i32 {
    if returned == 0 || returned == STOPPED { read(request, IO_RESULT) } else { returned }
}

/// The sock of the file that a request is for.
#[inline(always)]
fn sock(request: u64) -> u64 {
    syscall::sock_of(read(request, IO_FILE))
}

#[inline(always)]
fn accepted(request: u64, result: i32) {
    accept::over(result, || sock(request));
}

#[inline(always)]
fn connected(request: u64, result: i32) {
    let sk = sock(request);
    if sk != 0 {
        let length = u64::from(read(request, IO_CONNECT_LENGTH));
        unix::dialled(sk, &Call { fd: 0, address: read(request, IO_CONNECT_TO), length }, result, true);
    }
}

#[inline(always)]
fn socket_made(request: u64, result: i32) {
    let part = |member| u64::from(read::<u32>(request, member));
    let call = Call { fd: part(IO_SOCKET_FAMILY), address: part(IO_SOCKET_TYPE), length: part(IO_SOCKET_PROTOCOL) };
    denied::socket_over(&call, result);
}

#[inline(always)]
fn bound(request: u64, result: i32) {
    let kept = read(request, IO_ASYNC);
    let places = [kept, place(kept, IO_ADDRESS)];
    let [alone, within] = places.map(|at| bind::is_inet(peek(at)));
    let mut asked = Asked::default();
    // Newer kernels keep an address alone; others within what they keep of a message, which may begin with anything: what
    // looks like an address in both places is not told.
    if alone != within {
        copy(&raw mut asked, if alone { places[0] } else { places[1] });
    }
    bind::tell_bind(sock(request), &asked, result, true);
}
