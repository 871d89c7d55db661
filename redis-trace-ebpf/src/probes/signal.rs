//! What ends servers from outside: signals, and the OOM killer.

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use redis_trace_common::hook::MARK_VICTIM;
use redis_trace_common::member::{SIGINFO_CODE, TASK_TGID};
use redis_trace_common::record::{OomVictim, Signal};

use crate::emit::reserve;
use crate::kernel::{arguments, current, fill_task, read};
use crate::maps::WATCHED;

/// `SEND_SIG_PRIV`, include/linux/sched/signal.h: the kernel itself sends it. `SEND_SIG_NOINFO` is 0.
const SEND_SIG_PRIV: u64 = 1;
/// `SI_KERNEL`, include/uapi/asm-generic/siginfo.h. `SI_USER` is 0.
const SI_KERNEL: i32 = 0x80;
/// `TRACE_SIGNAL_DELIVERED`, include/trace/events/signal.h.
const DELIVERED: u32 = 0;

/// `signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result)`,
/// include/trace/events/signal.h.
#[raw_tracepoint(tracepoint = "signal_generate")]
pub(crate) fn signal(ctx: RawTracePointContext) -> i32 {
    let (number, info) = (ctx.arg::<u32>(0), ctx.arg::<u64>(1));
    let target = read(ctx.arg(2), TASK_TGID);
    if harmless(number) || ctx.arg::<u32>(4) != DELIVERED || unsafe { WATCHED.get(&target) }.is_none() {
        return 0;
    }
    let code = match info {
        0 => 0,
        SEND_SIG_PRIV => SI_KERNEL,
        info => read(info, SIGINFO_CODE),
    };
    let Some(mut slot) = reserve::<Signal>() else { return 0 };
    let record = slot.record();
    unsafe {
        fill_task(&raw mut (*record).sender, current());
        (&raw mut (*record).target).write(target);
        (&raw mut (*record).signal).write(number);
        (&raw mut (*record).code).write(code);
        (&raw mut (*record).reserved).write(0);
    }
    slot.submit();
    0
}

/// `mark_victim(int pid)`; since Linux 6.8 `mark_victim(struct task_struct *task, uid_t uid)`: include/trace/events/oom.h.
#[raw_tracepoint(tracepoint = "mark_victim")]
pub(crate) fn oom_victim(ctx: RawTracePointContext) -> i32 {
    let victim = ctx.arg::<u64>(0);
    let pid = if arguments(MARK_VICTIM) == 1 { victim as u32 } else { read(victim, TASK_TGID) };
    let Some(mut slot) = reserve::<OomVictim>() else { return 0 };
    let record = slot.record();
    unsafe {
        (&raw mut (*record).pid).write(pid);
        (&raw mut (*record).reserved).write(0);
    }
    slot.submit();
    0
}

/// Signals that come often and end nothing: SIGCHLD, SIGCONT, SIGURG, SIGPROF, SIGWINCH.
#[inline(always)]
fn harmless(number: u32) -> bool {
    matches!(number, 17 | 18 | 23 | 27 | 28)
}
