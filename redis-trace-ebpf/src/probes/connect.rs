//! The client end: who dialled, and what became of it.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use redis_trace_common::member::{NET_INUM, SK_ERR, SK_NET, TASK_LEADER, TASK_START, TCP_SND_UNA};
use redis_trace_common::record::{ConnectFailed, Connected, Flow};
use redis_trace_common::tally::{End, Key};

use super::who;
use crate::emit::{now, reserve};
use crate::kernel::{current, fill_caller, fill_flow, load, read};
use crate::maps::{DIALS, Dial, REFUSED};
use crate::tally;

/// `ECONNREFUSED`, include/uapi/asm-generic/errno.h.
const ECONNREFUSED: u32 = 111;
/// How long after a refusal a success of the same thread is worth telling: `localhost` tried on `::1` and then 127.0.0.1.
const SECOND_TRY: u64 = 2_000_000_000;

/// connect(2) sends its SYN: remembers who called, for the answer comes in a softirq. tcp_v4_connect(), tcp_v6_connect().
#[inline(always)]
pub(crate) fn dialled(sk: u64) {
    let leader = read(current(), TASK_LEADER);
    let thread = bpf_get_current_pid_tgid();
    let (pid, tid) = ((thread >> 32) as u32, thread as u32);
    let dial = Dial { leader, start: read(leader, TASK_START), time: now(), pid, tid };
    let _ = DIALS.insert(&sk, &dial, 0);
}

/// The dial was answered: forgotten, unless the same thread was refused a moment ago.
#[inline(always)]
pub(crate) fn connected(sk: u64) {
    if let Some(dial) = unsafe { DIALS.get(&sk) } {
        let refused = unsafe { REFUSED.get(&dial.tid) };
        if refused.is_some_and(|refused| now() - *refused < SECOND_TRY) {
            tell_connected(sk, dial);
        }
    }
    let _ = DIALS.remove(&sk);
}

/// The dial came to nothing. `sk_err` is set first: tcp_reset() (tcp_done_with_error() since Linux 6.10), tcp_v4_err().
#[inline(always)]
pub(crate) fn failed(sk: u64) {
    let error = unsafe { load(sk, SK_ERR) };
    // A dial that its own caller gave up has none.
    if error != 0 {
        tally::saw_failure(unsafe { load(load(sk, SK_NET), NET_INUM) });
    }
    if error == ECONNREFUSED {
        if let Some(dial) = unsafe { DIALS.get(&sk) } {
            refused(sk, dial);
        }
    }
    let _ = DIALS.remove(&sk);
}

/// A refusal that was counted when its reset was sent is told as was decided then; another is counted here.
#[inline(always)]
fn refused(sk: u64, dial: &Dial) {
    let (now, isn) = (now(), read(sk, TCP_SND_UNA));
    remember_refusal(dial.tid, now);
    match tally::decided(isn) {
        Some(true) => {
            tell_refused(sk, isn, dial);
        }
        Some(false) => {}
        None => {
            let key = key(sk);
            if tally::is_sample(End::Client, &key, now) && !tell_refused(sk, isn, dial) {
                tally::lost(End::Client, &key);
            }
        }
    }
}

/// What refusals of which only this end is seen are counted by.
#[inline(always)]
fn key(sk: u64) -> Key {
    let mut flow = Flow {
        netns: 0,
        family: 0,
        protocol: 0,
        client: [0; 16],
        server: [0; 16],
        client_port: 0,
        server_port: 0,
        ifindex: 0,
        netns_mix: 0,
        reserved: 0,
    };
    fill_flow(&raw mut flow, sk);
    Key {
        end: End::Client as u32,
        netns: flow.netns,
        netns_mix: flow.netns_mix,
        port: u32::from(flow.server_port),
        client: flow.client,
        server: flow.server,
    }
}

/// When the thread was last refused. Written in place where it can be, which is three times as quick.
#[inline(always)]
fn remember_refusal(tid: u32, now: u64) {
    match REFUSED.get_ptr_mut(&tid) {
        Some(refused) => unsafe { *refused = now },
        None => {
            let _ = REFUSED.insert(&tid, &now, 0);
        }
    }
}

#[inline(always)]
fn tell_connected(sk: u64, dial: &Dial) {
    let Some(mut slot) = reserve::<Connected>() else { return };
    let record = slot.record();
    unsafe {
        fill_flow(&raw mut (*record).flow, sk);
        fill_caller(&raw mut (*record).task, dial);
    }
    slot.submit();
}

/// Whether there was room to tell it.
#[inline(always)]
fn tell_refused(sk: u64, isn: u32, dial: &Dial) -> bool {
    who::introduce(dial.leader, dial.pid, dial.start);
    let Some(mut slot) = reserve::<ConnectFailed>() else { return false };
    let record = slot.record();
    unsafe {
        fill_flow(&raw mut (*record).flow, sk);
        fill_caller(&raw mut (*record).task, dial);
        (&raw mut (*record).dialled).write(dial.time);
        (&raw mut (*record).errno).write(ECONNREFUSED);
        (&raw mut (*record).isn).write(isn);
    }
    slot.submit();
    true
}
