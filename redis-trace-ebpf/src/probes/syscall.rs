//! System calls on sockets, where functions cannot be hooked: what was asked at the entry, what came of it at the exit.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::TracePointContext;
use redis_trace_common::hook::TASK_PT_REGS;
use redis_trace_common::member::{
    ABSENT, FDT_FD, FDT_MAX, FILE_PRIVATE, FILES_FDT, REGS_FIRST, REGS_SECOND, REGS_THIRD, SOCKET_FILE, SOCKET_SK,
    TASK_FILES,
};

use crate::denial::{has_filter, is_denial};
use crate::kernel::{arguments, current, peek, read};
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

/// A call on a socket that is being left.
#[derive(Clone, Copy)]
pub(crate) struct Left {
    /// What was asked.
    pub(crate) call: Call,
    /// Of which sock.
    pub(crate) sk: u64,
    /// What came of it.
    pub(crate) result: i32,
    /// It was entered: no seccomp filter kept it out.
    pub(crate) is_entered: bool,
}

/// Recalls the call that returns, its sock, and its result. Nothing for what is not a socket.
#[inline(always)]
pub(crate) fn exit(ctx: &TracePointContext) -> Option<Left> {
    let (call, result, is_entered) = leave(ctx)?;
    let sk = sock(call.fd);
    if sk == 0 { None } else { Some(Left { call, sk, result, is_entered }) }
}

/// Recalls the call that returns and its result; whether it was entered. One that was not remembered is told by the registers
/// if it failed as a denial does, or by a filter.
#[inline(always)]
pub(crate) fn leave(ctx: &TracePointContext) -> Option<(Call, i32, bool)> {
    let thread = bpf_get_current_pid_tgid();
    let result = argument(ctx, 0) as i32;
    if let Some(call) = unsafe { CALLS.get(&thread).copied() } {
        let _ = CALLS.remove(&thread);
        return Some((call, result, true));
    }
    if result >= 0 {
        return None;
    }
    let is_filtered = has_filter(current());
    // What a thread with a filter enters is remembered, see `denied::dials`.
    if is_filtered || is_denial(result.unsigned_abs()) || leads_nowhere(result.unsigned_abs()) {
        return by_registers().map(|call| (call, result, !is_filtered));
    }
    None
}

/// Whether a call may have failed because there is no way to a server, or no port to start from.
#[inline(always)]
pub(super) fn leads_nowhere(errno: u32) -> bool {
    // EINVAL, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, EHOSTUNREACH: include/uapi/asm-generic/errno*.h.
    matches!(errno, 22 | 99 | 100 | 101 | 113)
}

/// The call that the current task made, by its registers as they were when it made it.
#[inline(always)]
fn by_registers() -> Option<Call> {
    if arguments(TASK_PT_REGS) == ABSENT {
        return None;
    }
    let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as u64;
    Some(Call {
        fd: read(registers, REGS_FIRST),
        address: read(registers, REGS_SECOND),
        length: read(registers, REGS_THIRD),
    })
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
