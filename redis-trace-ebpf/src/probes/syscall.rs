//! System calls on sockets, where functions cannot be hooked: what was asked at the entry, what came of it at the exit. And
//! what a filter keeps from being entered.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::TracePointContext;
use redis_trace_common::hook::TASK_PT_REGS;
use redis_trace_common::member::{
    ABSENT, FDT_FD, FDT_MAX, FILE_PRIVATE, FILES_FDT, REGS_FIRST, REGS_RESULT, REGS_SECOND, REGS_THIRD, SOCKET_FILE,
    SOCKET_SK, TASK_FILES, TASK_STACK, TASK_STATUS,
};

use crate::denial::{has_filter, is_denial};
use crate::kernel::{arguments, current, load, peek, read};
use crate::maps::{CALLS, Call};

// `struct syscall_trace_enter` and `struct syscall_trace_exit`, kernel/trace/trace.h: a trace entry of 8 bytes, the number
// of the call, and from byte 16 on its arguments, or its result.
/// Where a call's first argument is, and its result.
const ARGUMENTS: usize = 16;
/// Bytes of a kernel stack and of the registers at its top, on x86-64 before Linux 5.15.
const THREAD_SIZE: u64 = 16 << 10;
const SIZE_OF_REGISTERS: u64 = 168;
/// `MAX_ERRNO`, include/linux/err.h; `ENOSYS`; `TS_COMPAT`, arch/x86/include/asm/thread_info.h.
const MAX_ERRNO: i64 = 4095;
const ENOSYS: i64 = 38;
const TS_COMPAT: u32 = 2;

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
fn leave(ctx: &TracePointContext) -> Option<(Call, i32, bool)> {
    let result = argument(ctx, 0) as i32;
    if let Some(call) = recall() {
        return Some((call, result, true));
    }
    if result >= 0 {
        return None;
    }
    let is_filtered = has_filter();
    if is_filtered || is_denial(result.unsigned_abs()) {
        return Some((asked(), result, !is_filtered));
    }
    None
}

/// Keeps a call whose entry means something only where a filter may keep it out: its registers tell the rest.
#[inline(always)]
pub(super) fn enter(ctx: &TracePointContext) {
    if has_filter() {
        let [fd, address, length] = [0, 1, 2].map(|which| argument(ctx, which));
        remember(&Call { fd, address, length });
    }
}

/// The call that returns, if [`enter`] was on its way and it failed with an errno that matters; whether it was entered. Most
/// calls come past here with nothing looked up.
#[inline(always)]
pub(super) fn failed(ctx: &TracePointContext, matters: impl Fn(u32) -> bool) -> Option<(Call, i32, bool)> {
    let result = argument(ctx, 0) as i32;
    let is_entered = !has_filter() || recall().is_some();
    let is_of_use = result < 0 && (!is_entered || matters(result.unsigned_abs()));
    is_of_use.then(|| (asked(), result, is_entered))
}

/// What was remembered of the current thread's call, which is then forgotten.
#[inline(always)]
fn recall() -> Option<Call> {
    let thread = bpf_get_current_pid_tgid();
    let call = unsafe { CALLS.get(&thread) }.copied()?;
    let _ = CALLS.remove(&thread);
    Some(call)
}

/// Whether a call may have failed because there is no way to a server, or no port to start from.
#[inline(always)]
pub(super) fn leads_nowhere(errno: u32) -> bool {
    // EINVAL, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, EHOSTUNREACH: include/uapi/asm-generic/errno*.h.
    matches!(errno, 22 | 99 | 100 | 101 | 113)
}

/// The call that the current task made, by its registers as they were when it made it.
#[inline(always)]
fn by_registers(registers: u64) -> Call {
    Call { fd: read(registers, REGS_FIRST), address: read(registers, REGS_SECOND), length: read(registers, REGS_THIRD) }
}

/// The call that the current task made, by its registers.
#[inline(always)]
pub(super) fn asked() -> Call {
    if arguments(TASK_PT_REGS) == ABSENT {
        return by_registers(registers());
    }
    // What the verifier knows the type of is read without a call.
    let registers = registers();
    let [fd, address, length] = [REGS_FIRST, REGS_SECOND, REGS_THIRD].map(|place| unsafe { load(registers, place) });
    Call { fd, address, length }
}

/// Where the current task's registers lie: before Linux 5.15 no helper says so, task_pt_regs() in
/// arch/x86/include/asm/processor.h does.
#[inline(always)]
fn registers() -> u64 {
    if arguments(TASK_PT_REGS) == ABSENT {
        return read(current(), TASK_STACK) + THREAD_SIZE - SIZE_OF_REGISTERS;
    }
    unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
}

/// The call that the current task is kept from entering by a filter, and what it gets instead. A filter that lets it pass leaves
/// the result as it was, ENOSYS: do_syscall_64(), arch/x86/entry/common.c. Nothing for the calls of 32-bit programs, which
/// have other numbers.
#[inline(always)]
pub(super) fn filtered() -> Option<(Call, i32)> {
    let registers = registers();
    let result = read(registers, REGS_RESULT) as i64;
    if !(-MAX_ERRNO..0).contains(&result) || result == -ENOSYS || read(current(), TASK_STATUS) & TS_COMPAT != 0 {
        return None;
    }
    Some((by_registers(registers), result as i32))
}

/// A call's argument by its place, which the call must have; at the exit the result is the first.
#[inline(always)]
pub(crate) fn argument(ctx: &TracePointContext, which: usize) -> u64 {
    unsafe { ctx.as_ptr().cast::<u8>().add(ARGUMENTS + 8 * which).cast::<u64>().read_volatile() }
}

/// The sock behind a descriptor of the current process, 0 when it is no socket's: files_lookup_fd_raw(),
/// include/linux/fdtable.h.
#[inline(always)]
pub(super) fn sock(fd: u64) -> u64 {
    let table = read(read(current(), TASK_FILES), FILES_FDT);
    if fd >= u64::from(read(table, FDT_MAX)) {
        return 0;
    }
    sock_of(peek(read(table, FDT_FD) + 8 * fd))
}

/// The sock behind a file, 0 when it is no socket's: sock_from_file(), net/socket.c.
#[inline(always)]
pub(super) fn sock_of(file: u64) -> u64 {
    let socket = read(file, FILE_PRIVATE);
    // Only a socket points back to the file that points to it.
    if socket == 0 || read(socket, SOCKET_FILE) != file { 0 } else { read(socket, SOCKET_SK) }
}
