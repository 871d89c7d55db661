//! The client end: who dialled, and what became of it.

use redis_trace_common::member::{NET_INUM, SK_ERR, SK_NET, TCP_SND_UNA};
use redis_trace_common::record::{ConnectFailed, Connected, Flow};
use redis_trace_common::tally::{End, Key, Watched};

use super::who;
use crate::dials::Dial;
use crate::emit::{reserve, tick};
use crate::kernel::{caller, fill_caller, fill_flow, load, read};
use crate::maps::{REFUSED, REFUSED_PLACES};
use crate::tally;
use redis_trace_common::decision::STAMP_SHIFT;

/// `ECONNREFUSED`, include/uapi/asm-generic/errno.h.
const ECONNREFUSED: u32 = 111;
/// How long after a refusal a success of the same thread is worth telling: `localhost` tried on `::1` and then 127.0.0.1.
/// In units of 2^20 nanoseconds, about a millisecond.
const SECOND_TRY: u32 = 2_000;

/// The dial was answered: of interest if the same thread was refused a moment ago.
#[inline(always)]
pub(crate) fn connected(sk: u64, dial: Option<Dial>) {
    let Some(dial) = dial else { return };
    if was_refused(dial.tid) {
        tell_connected(sk, &dial);
    }
}

/// The dial came to nothing. `sk_err` is set first: tcp_reset() (tcp_done_with_error() since Linux 6.10), tcp_v4_err().
#[inline(always)]
pub(crate) fn failed(sk: u64, dial: Option<Dial>) {
    let error = unsafe { load(sk, SK_ERR) };
    // A dial that its own caller gave up has none.
    if error == 0 {
        return;
    }
    tally::saw(unsafe { load(load(sk, SK_NET), NET_INUM) }, Watched::FAILURE);
    if let (ECONNREFUSED, Some(dial)) = (error, dial) {
        refused(sk, &dial);
    }
}

/// A refusal that was counted when its reset was sent is told as was decided then; another is counted here.
#[inline(always)]
fn refused(sk: u64, dial: &Dial) {
    let isn = read(sk, TCP_SND_UNA);
    remember_refusal(dial.tid);
    match tally::decided(isn) {
        Some(true) => {
            tell_refused(sk, isn, dial);
        }
        Some(false) => {}
        None => {
            let key = key(sk);
            if tally::is_sample(End::Client, &key) && !tell_refused(sk, isn, dial) {
                tally::lost(End::Client);
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

/// When a thread was last refused: its id, and the time in units of 2^20 nanoseconds. A later one may take its place.
#[inline(always)]
fn remember_refusal(tid: u32) {
    if let Some(refused) = REFUSED.get_ptr_mut(tid % REFUSED_PLACES) {
        unsafe { refused.write_volatile(u64::from(tid) << 32 | u64::from((tick() >> STAMP_SHIFT) as u32)) };
    }
}

/// Whether a thread was refused a moment ago.
#[inline(always)]
fn was_refused(tid: u32) -> bool {
    let Some(refused) = REFUSED.get(tid % REFUSED_PLACES).copied() else { return false };
    (refused >> 32) as u32 == tid && ((tick() >> STAMP_SHIFT) as u32).wrapping_sub(refused as u32) < SECOND_TRY
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
    who::introduce(caller(dial));
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
