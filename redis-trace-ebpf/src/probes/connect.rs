//! The client end: who dialled, and what became of it.

use redis_trace_common::member::{SK_ERR, TCP_SND_UNA};
use redis_trace_common::record::{ConnectFailed, Connected, Task};

use super::who;
use crate::emit::{now, reserve};
use crate::kernel::{current, fill_flow, fill_task, read};
use crate::maps::{DIALS, Dial, REFUSED};

/// `ECONNREFUSED`, include/uapi/asm-generic/errno.h.
const ECONNREFUSED: u32 = 111;
/// How long after a refusal a success of the same thread is worth telling: `localhost` tried on `::1` and then 127.0.0.1.
const SECOND_TRY: u64 = 2_000_000_000;

/// connect(2) sends its SYN: remembers who called, for the answer comes in a softirq. tcp_v4_connect(), tcp_v6_connect().
#[inline(always)]
pub(crate) fn dialled(sk: u64) {
    let pointer = current();
    let task = Task { pid: 0, tid: 0, uid: 0, netns: 0, start: 0, cgroup: 0, comm: [0; 16], netns_mix: 0, family: 0 };
    let mut dial = Dial { task, time: now(), pointer };
    fill_task(&raw mut dial.task, pointer);
    let _ = DIALS.insert(&sk, &dial, 0);
}

/// The dial was answered: forgotten, unless the same thread was refused a moment ago.
#[inline(always)]
pub(crate) fn connected(sk: u64) {
    if let Some(dial) = unsafe { DIALS.get(&sk) } {
        let refused = unsafe { REFUSED.get(&dial.task.tid) };
        if refused.is_some_and(|refused| now() - *refused < SECOND_TRY) {
            tell_connected(sk, dial);
        }
    }
    let _ = DIALS.remove(&sk);
}

/// The dial came to nothing. `sk_err` is set first: tcp_reset() (tcp_done_with_error() since Linux 6.10), tcp_v4_err().
#[inline(always)]
pub(crate) fn failed(sk: u64) {
    if read(sk, SK_ERR) == ECONNREFUSED {
        if let Some(dial) = unsafe { DIALS.get(&sk) } {
            who::introduce(dial.pointer, dial.task.pid, dial.task.start);
            tell_refused(sk, dial);
            let _ = REFUSED.insert(&dial.task.tid, &now(), 0);
        }
    }
    let _ = DIALS.remove(&sk);
}

#[inline(always)]
fn tell_connected(sk: u64, dial: &Dial) {
    let Some(mut slot) = reserve::<Connected>() else { return };
    let record = slot.record();
    unsafe {
        fill_flow(&raw mut (*record).flow, sk);
        (&raw mut (*record).task).write(dial.task);
    }
    slot.submit();
}

#[inline(always)]
fn tell_refused(sk: u64, dial: &Dial) {
    let Some(mut slot) = reserve::<ConnectFailed>() else { return };
    let record = slot.record();
    unsafe {
        fill_flow(&raw mut (*record).flow, sk);
        (&raw mut (*record).task).write(dial.task);
        (&raw mut (*record).dialled).write(dial.time);
        (&raw mut (*record).errno).write(ECONNREFUSED);
        (&raw mut (*record).isn).write(read(sk, TCP_SND_UNA));
    }
    slot.submit();
}
