//! Processes that serve: how they are started, and how they end.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use redis_trace_common::member::{
    MM_ARG_END, MM_ARG_START, SIGNAL_LIVE, TASK_COMM, TASK_MM, TASK_PARENT, TASK_SIGNAL, TASK_TGID,
};
use redis_trace_common::record::{ARGV_LEN, COMM_LEN, Exec, Exit};

use super::who;
use crate::emit::reserve;
use crate::kernel::{Memory, at_most, exit_code, fill_task, place, read};
use crate::maps::{INTRODUCED, SERVERS, WATCHED};

/// `sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, include/trace/events/sched.h.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn exec(ctx: RawTracePointContext) -> i32 {
    let task = ctx.arg(0);
    // What was said of the process before is no longer true.
    let _ = INTRODUCED.remove(&read(task, TASK_TGID));
    if unsafe { SERVERS.get(&name(task)) }.is_none() {
        return 0;
    }
    who::watch(task);
    tell_exec(task);
    0
}

/// A task's name with nothing behind its NUL, where kernels before 5.17 leave what was there: __set_task_comm(), fs/exec.c.
#[inline(always)]
pub(super) fn name(task: u64) -> [u8; COMM_LEN] {
    let mut name = [0; COMM_LEN];
    let comm = place(task, TASK_COMM);
    unsafe { bpf_probe_read_kernel_str((&raw mut name).cast::<c_void>(), COMM_LEN as u32, comm as *const c_void) };
    name
}

/// Tells of a server that is started.
#[inline(always)]
fn tell_exec(task: u64) {
    let mm = read(task, TASK_MM);
    let (start, end) = (read(mm, MM_ARG_START), read(mm, MM_ARG_END));
    let Some(mut slot) = reserve::<Exec>() else { return };
    let record = slot.record();
    unsafe {
        fill_task(&raw mut (*record).task, task);
        (&raw mut (*record).parent).write(read(read(task, TASK_PARENT), TASK_TGID));
        // More than 4 GiB of arguments cannot be: bprm_stack_limits(), fs/exec.c.
        let length = at_most(ARGV_LEN, end.wrapping_sub(start) as u32);
        (&raw mut (*record).length).write(length);
        Memory::User.copy_bytes((&raw mut (*record).argv).cast::<c_void>(), length, start);
    }
    slot.submit();
}

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: a server's daemon is a child of what was
/// executed.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn fork(ctx: RawTracePointContext) -> i32 {
    let (parent, child) = (read(ctx.arg(0), TASK_TGID), read(ctx.arg(1), TASK_TGID));
    if parent != child
        && let Some(watched) = unsafe { WATCHED.get(&parent) }
    {
        let watched = *watched;
        let _ = WATCHED.insert(&child, &watched, 0);
    }
    0
}

/// `sched_process_exit(struct task_struct *p[, bool group_dead])`, the flag since Linux 6.16: a thread exits, do_exit().
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn exit(ctx: RawTracePointContext) -> i32 {
    let task = ctx.arg(0);
    let process = read(task, TASK_TGID);
    if unsafe { WATCHED.get(&process) }.is_none() || read(read(task, TASK_SIGNAL), SIGNAL_LIVE) != 0 {
        return 0;
    }
    // The last two threads may both find none alive: the one that strikes the process off the list tells.
    if WATCHED.remove(&process).is_ok() {
        let Some(mut slot) = reserve::<Exit>() else { return 0 };
        let record = slot.record();
        unsafe {
            fill_task(&raw mut (*record).task, task);
            (&raw mut (*record).exit_code).write(exit_code(task));
            (&raw mut (*record).reserved).write(0);
        }
        slot.submit();
    }
    0
}
