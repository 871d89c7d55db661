//! Counting refusals where they happen, and deciding which of them are told one by one.

use core::mem::MaybeUninit;
use core::ptr::read_volatile;

use redis_trace_common::tally::{
    BUDGET, Count, EVERY, End, Key, NEAR_PLACES, Near, Total, WHOLE_BUDGET, WIDE_BUDGET, WIDE_CLIENT, WIDE_SERVER,
    WINDOW_SHIFT, Watched, place,
};

use crate::claim::{claim, release};
use crate::emit::{tick, ticks};
use crate::maps::{AT_HAND, COUNTS, DECIDED, DECIDED_TOO, DROPPED, SEEN, TOTAL, UNDERWAY, WHOLE};
use crate::packet::{IpHeader, TcpHeader};
use redis_trace_common::decision::Decision;

/// Samples of one key that each processor sends in a window, from the program.
#[unsafe(no_mangle)]
static SAMPLES: u32 = BUDGET;

/// Ticks for which a namespace stays at hand though nothing is seen in it.
const AT_HAND_FOR: u64 = 64;

/// `BPF_NOEXIST`, include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;

/// What refusals of packets have in common.
#[inline(always)]
pub(crate) fn key(end: End, [netns, netns_mix]: [u32; 2], ip: &IpHeader, tcp: &TcpHeader) -> Key {
    let mut key = MaybeUninit::<Key>::uninit();
    let at = key.as_mut_ptr();
    unsafe {
        (&raw mut (*at).end).write(end as u32);
        (&raw mut (*at).netns).write(netns);
        (&raw mut (*at).netns_mix).write(netns_mix);
        (&raw mut (*at).port).write(u32::from(u16::from_be(tcp.dest)));
        ip.fill_addresses(&raw mut (*at).client, &raw mut (*at).server);
        key.assume_init()
    }
}

/// Counts a refusal; whether it is to be told by a record.
#[inline(always)]
pub(crate) fn is_sample(end: End, key: &Key) -> bool {
    is_sample_of(end as u32, key)
}

/// The same at an end that may be none: then nothing is counted that is told to anybody.
#[inline(always)]
pub(crate) fn is_sample_of(end: u32, key: &Key) -> bool {
    add(end, Total::Seen);
    let samples = unsafe { read_volatile(&raw const SAMPLES) };
    if samples == EVERY || is_within_budgets(key, samples, (tick() >> WINDOW_SHIFT) as u32) {
        add(end, Total::Told);
        return true;
    }
    false
}

/// Whether one more of this key may be told in this window; if not it is counted under its key.
#[inline(always)]
fn is_within_budgets(key: &Key, samples: u32, window: u32) -> bool {
    let Some(count) = COUNTS.get_ptr_mut(key) else {
        // Where there is no place for it, the total still has it.
        let is_told = is_within_wide_budgets(key, window);
        first(key, u64::from(!is_told), window);
        return is_told;
    };
    let is_told = take_from(count, samples, window) && is_within_wide_budgets(key, window);
    if !is_told {
        unsafe { (*count).folded += 1 };
    }
    is_told
}

/// A refusal that was to be told found no room.
#[inline(always)]
pub(crate) fn lost(end: End) {
    lost_of(end as u32);
}

/// The same at an end that may be none.
#[inline(always)]
pub(crate) fn lost_of(end: u32) {
    add(end, Total::Lost);
}

/// A flood over many keys is held back by the client it comes from and the server it goes to, so that others are still heard.
#[inline(always)]
fn is_within_wide_budgets(key: &Key, window: u32) -> bool {
    let mut wide = *key;
    wide.end = WIDE_SERVER;
    wide.client = [0; 16];
    if !take(&wide, WIDE_BUDGET, window) {
        return false;
    }
    wide = *key;
    wide.end = WIDE_CLIENT;
    wide.server = [0; 16];
    wide.port = 0;
    if !take(&wide, WIDE_BUDGET, window) {
        return false;
    }
    let Some(whole) = WHOLE.get_ptr_mut(0) else { return false };
    let [of, used] = unsafe { *whole };
    let used = if of == window { used } else { 0 };
    unsafe { *whole = [window, used + 1] };
    used < WHOLE_BUDGET
}

/// Takes one from the budget of a server or a client.
#[inline(always)]
fn take(key: &Key, budget: u32, window: u32) -> bool {
    if let Some(count) = COUNTS.get_ptr_mut(key) {
        return take_from(count, budget, window);
    }
    first(key, 0, window);
    true
}

/// Begins a key's count, with one taken from its budget.
#[inline(always)]
fn first(key: &Key, folded: u64, window: u32) {
    let _ = COUNTS.insert(key, &Count { folded, window, used: 1 }, BPF_NOEXIST);
}

/// Takes one from a budget; false when there is none left in this window.
#[inline(always)]
fn take_from(count: *mut Count, budget: u32, window: u32) -> bool {
    unsafe {
        if (*count).window != window {
            (*count).window = window;
            (*count).used = 0;
        }
        if (*count).used >= budget {
            return false;
        }
        (*count).used += 1;
    }
    true
}

/// Adds one to a total.
#[inline(always)]
fn add(end: u32, total: Total) {
    if let Some(total) = TOTAL.get_ptr_mut(place(end, total)) {
        unsafe { *total += 1 };
    }
}

/// What is held against the kernel's own counters.
#[derive(Clone, Copy)]
pub(crate) enum Sight {
    /// A reset that was sent, for a refusal or not.
    Reset,
    /// A dial that ended in an error.
    Failure,
    /// A packet that found an accept queue full.
    Overflow,
}

/// Adds what was seen to a network namespace: at hand, unless another is there that something was seen in a moment ago.
#[inline(always)]
pub(crate) fn saw(namespace: [u32; 2], what: Sight) {
    let Some(near) = AT_HAND.get_ptr_mut(namespace[1] % NEAR_PLACES) else { return };
    let now = ticks();
    unsafe {
        if [(*near).netns, (*near).netns_mix] != namespace {
            if now - (*near).used < AT_HAND_FOR {
                return put_away(namespace, &what.one());
            }
            make_room(near, namespace);
        }
        (*near).used = now;
        match what {
            Sight::Reset => (*near).resets += 1,
            Sight::Failure => (*near).failures += 1,
            Sight::Overflow => (*near).overflows += 1,
        }
    }
}

/// Puts away what was seen in the namespace that was at hand, for the next.
#[inline(always)]
unsafe fn make_room(near: *mut Near, [netns, netns_mix]: [u32; 2]) {
    let Near { netns: before, netns_mix: mix_before, resets, failures, overflows, used } = unsafe { near.read() };
    let next = Near { netns, netns_mix, resets: 0, failures: 0, overflows: 0, used };
    unsafe { near.write(next) };
    put_away([before, mix_before], &Watched { resets, failures, overflows });
}

/// Adds to what was seen in a network namespace before.
#[inline(always)]
fn put_away(namespace: [u32; 2], more: &Watched) {
    if let Some(seen) = SEEN.get_ptr_mut(&namespace) {
        unsafe {
            (*seen).resets += more.resets;
            (*seen).failures += more.failures;
            (*seen).overflows += more.overflows;
        }
        return;
    }
    let _ = SEEN.insert(&namespace, more, BPF_NOEXIST);
}

impl Sight {
    /// One of it.
    #[inline(always)]
    fn one(self) -> Watched {
        let one = |is_it: bool| u64::from(is_it);
        Watched {
            resets: one(matches!(self, Self::Reset)),
            failures: one(matches!(self, Self::Failure)),
            overflows: one(matches!(self, Self::Overflow)),
        }
    }
}

/// Remembers, when a reset is counted, whether it is told: its client, when that is on this host, is then not counted again,
/// and told with it or not at all. The sequence number of the SYN is what both ends have in common, whatever lies between.
#[inline(always)]
pub(crate) fn decide(isn: u32, is_sample: bool) {
    let decision = Decision::new(isn, is_sample, tick());
    let Some(place) = DECIDED.get_ptr_mut(isn % UNDERWAY) else { return };
    if claim(place) {
        let merged = Decision(unsafe { read_volatile(&raw const (*place).entry) }).with(decision);
        if let Some(merged) = merged {
            unsafe { (&raw mut (*place).entry).write_volatile(merged.0) };
        }
        release(place);
        if merged.is_some() {
            return;
        }
    }
    let _ = DECIDED_TOO.insert(&isn, &decision.0, 0);
}

/// What was decided when the refusal that a client now sees was counted; nothing when another host refused it.
#[inline(always)]
pub(crate) fn decided(isn: u32) -> Option<bool> {
    reset_decided(isn).or_else(|| drop_decided(isn))
}

/// What was decided when a SYN was first dropped.
#[inline(always)]
fn drop_decided(isn: u32) -> Option<bool> {
    unsafe { DROPPED.get(&isn) }.map(|[_, is_told]| *is_told != 0)
}

/// Whether it is a SYN that was dropped before, or the answer to one. Scans and floods may use one number for all of theirs, each
/// from a port or to a port of its own.
#[inline(always)]
pub(crate) fn is_dropped_again(isn: u32, ports: [u32; 2]) -> bool {
    unsafe { DROPPED.get(&isn) }.is_some_and(|[last, _]| *last == both(ports))
}

/// Remembers, when a SYN is first dropped, whether that is told: nor its being sent again nor its client is counted again.
#[inline(always)]
pub(crate) fn decide_drop(isn: u32, ports: [u32; 2], is_told: bool) {
    let _ = DROPPED.insert(&isn, &[both(ports), u32::from(is_told)], 0);
}

/// Two ports in one word.
#[inline(always)]
fn both([client, server]: [u32; 2]) -> u32 {
    client << 16 | server
}

/// What was decided when a reset was counted.
#[inline(always)]
fn reset_decided(isn: u32) -> Option<bool> {
    let place = DECIDED.get_ptr_mut(isn % UNDERWAY)?;
    let decision = Decision(unsafe { read_volatile(&raw const (*place).entry) });
    if decision.is_of(isn) {
        if claim(place) {
            // Another processor may have changed it since.
            let decision = Decision(unsafe { read_volatile(&raw const (*place).entry) });
            if decision.is_of(isn) {
                unsafe { (&raw mut (*place).entry).write_volatile(decision.without_one().0) };
            }
            release(place);
        }
        return Some(decision.is_told());
    }
    let decision = Decision(unsafe { DECIDED_TOO.get(&isn) }.copied()?);
    let _ = DECIDED_TOO.remove(&isn);
    Some(decision.is_told())
}
