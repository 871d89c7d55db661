//! System calls on sockets, where functions cannot be hooked: what was asked, and what came of it, at the exit alone. To hear of
//! the entry as well would cost every system call of the host half as much again.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use aya_ebpf::programs::TracePointContext;
use redis_trace_common::hook::TASK_PT_REGS;
use redis_trace_common::member::{
    ABSENT, FDT_FD, FDT_MAX, FILE_PRIVATE, FILES_FDT, FILTER_ALLOWED, REGS_FIRST, REGS_RESULT, REGS_SECOND, REGS_THIRD,
    SOCKET_FILE, SOCKET_SK, TASK_FILES, TASK_FILTER, TASK_STACK, TASK_STATUS,
};

use crate::denial::{has_filter, is_denial};
use crate::kernel::{arguments, current, has, load, peek, place, read};

// arch/x86/entry/syscalls/syscall_64.tbl
pub(super) const NR_SOCKET: u32 = 41;
pub(super) const NR_CONNECT: u32 = 42;
pub(super) const NR_BIND: u32 = 49;
pub(super) const NR_LISTEN: u32 = 50;

/// Where a call's result is in `struct syscall_trace_exit`, kernel/trace/trace.h: behind a trace entry of 8 bytes and the
/// call's number.
const RESULT: usize = 16;
/// Bytes of a kernel stack and of the registers at its top, on x86-64 before Linux 5.15.
const THREAD_SIZE: u64 = 16 << 10;
const SIZE_OF_REGISTERS: u64 = 168;
/// `MAX_ERRNO`, include/linux/err.h; `ENOSYS`; `TS_COMPAT`, arch/x86/include/asm/thread_info.h.
const MAX_ERRNO: i64 = 4095;
const ENOSYS: i64 = 38;
const TS_COMPAT: u32 = 2;

/// A system call on a socket.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// The socket.
    pub(crate) fd: u64,
    /// Where in the caller's memory the address is.
    pub(crate) address: u64,
    /// How long it is.
    pub(crate) length: u64,
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
    /// No seccomp filter can have kept it out.
    pub(crate) is_entered: bool,
}

/// The call that returns, by its number, its sock, and its result. Nothing for what is not a socket.
#[inline(always)]
pub(crate) fn exit(ctx: &TracePointContext, number: u32) -> Option<Left> {
    let (call, result) = (asked(), result(ctx));
    let sk = sock(call.fd);
    let is_entered = is_entered(errno(ctx), number);
    if sk == 0 { None } else { Some(Left { call, sk, result, is_entered }) }
}

/// Whether filters give such an errno: what a denial gives, or that there is no such call, which the kernel says of none of
/// these.
#[inline(always)]
pub(super) fn is_of_filter(errno: u32) -> bool {
    is_denial(errno) || errno == ENOSYS as u32
}

/// Whether no seccomp filter can have kept out a call that returns so.
#[inline(always)]
pub(super) fn is_entered(errno: u32, number: u32) -> bool {
    !(is_of_filter(errno) && may_be_kept_out(number))
}

/// Whether a seccomp filter may keep the current task from entering such a call: not when the kernel has found that its filters
/// let every one of them pass, seccomp_cache_prepare() in kernel/seccomp.c.
#[inline(always)]
pub(super) fn may_be_kept_out(number: u32) -> bool {
    if !has_filter() {
        return false;
    }
    let bits = place(read(current(), TASK_FILTER), FILTER_ALLOWED) + u64::from(number / 64 * 8);
    !has(FILTER_ALLOWED) || peek::<u64>(bits) >> (number % 64) & 1 == 0
}

/// The errno with which the call returns, 0 when it did not fail.
#[inline(always)]
pub(super) fn errno(ctx: &TracePointContext) -> u32 {
    result(ctx).min(0).unsigned_abs()
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

/// What the call returns.
#[inline(always)]
pub(crate) fn result(ctx: &TracePointContext) -> i32 {
    unsafe { ctx.as_ptr().cast::<u8>().add(RESULT).cast::<u64>().read_volatile() as i32 }
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
