//! System calls on sockets, where functions cannot be hooked: what was asked at the entry, what came of it at the exit.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::programs::TracePointContext;
use redis_trace_common::member::{FDT_FD, FDT_MAX, FILE_PRIVATE, FILES_FDT, SOCKET_FILE, SOCKET_SK, TASK_FILES};

use crate::kernel::{current, peek, read};
use crate::maps::{CALLS, Call};

// `struct syscall_trace_enter` and `struct syscall_trace_exit`, kernel/trace/trace.h: a trace entry of 8 bytes, the number
// of the call, and from byte 16 on its arguments, or its result.
/// Where a call's first argument is, and its result.
const ARGUMENTS: usize = 16;

/// Keeps a call until it returns.
#[inline(always)]
pub(crate) fn remember(call: &Call) {
    let _ = CALLS.insert(&bpf_get_current_pid_tgid(), call, 0);
}

/// Recalls the call that returns, its sock, and its result. Nothing for what is not a socket.
#[inline(always)]
pub(crate) fn exit(ctx: &TracePointContext) -> Option<(Call, u64, i32)> {
    let thread = bpf_get_current_pid_tgid();
    let call = unsafe { CALLS.get(&thread).copied() }?;
    let _ = CALLS.remove(&thread);
    let sk = sock(call.fd);
    if sk == 0 { None } else { Some((call, sk, argument(ctx, 0) as i32)) }
}

/// A call's argument by its place, which the call must have; at the exit the result is the first.
#[inline(always)]
pub(crate) fn argument(ctx: &TracePointContext, which: usize) -> u64 {
    unsafe { ctx.as_ptr().cast::<u8>().add(ARGUMENTS + 8 * which).cast::<u64>().read_volatile() }
}

/// The sock behind a descriptor of the current process, 0 when it is no socket's: files_lookup_fd_raw(),
/// include/linux/fdtable.h, and sock_from_file(), net/socket.c.
#[inline(always)]
fn sock(fd: u64) -> u64 {
    let table = read(read(current(), TASK_FILES), FILES_FDT);
    if fd >= u64::from(read(table, FDT_MAX)) {
        return 0;
    }
    let file = peek(read(table, FDT_FD) + 8 * fd);
    let socket = read(file, FILE_PRIVATE);
    // Only a socket points back to the file that points to it.
    if socket == 0 || read(socket, SOCKET_FILE) != file { 0 } else { read(socket, SOCKET_SK) }
}
