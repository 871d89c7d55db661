//! Counting refusals where they happen, and deciding which of them are told one by one.

use core::ptr::read_volatile;

use redis_trace_common::tally::{
    BUDGET, Count, EVERY, End, Key, Total, WHOLE_BUDGET, WIDE_BUDGET, WIDE_CLIENT, WIDE_SERVER, WINDOW_SHIFT, Watched,
    place,
};

use crate::maps::{COUNTS, DECIDED, DECIDED_TOO, SEEN, TOTAL, UNDERWAY, WHOLE};

/// Samples of one key that each processor sends in a window, from the program.
#[unsafe(no_mangle)]
static SAMPLES: u32 = BUDGET;

/// `BPF_NOEXIST`, include/uapi/linux/bpf.h.
const BPF_NOEXIST: u64 = 1;
/// Times in [`DECIDED`] are in units of 2^20 nanoseconds, about a millisecond.
const STAMP_SHIFT: u64 = 20;
/// A reset that no client of this host has seen for so many of them went to another host.
const UNDERWAY_FOR: u32 = 1_000;

/// Counts a refusal; whether it is to be told by a record.
#[inline(always)]
pub(crate) fn is_sample(end: End, key: &Key, now: u64) -> bool {
    add(end, Total::Seen);
    let samples = unsafe { read_volatile(&raw const SAMPLES) };
    if samples == EVERY || is_within_budgets(key, samples, (now >> WINDOW_SHIFT) as u32) {
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
        let first = Count { folded: u64::from(!is_told), lost: 0, window, used: 1 };
        let _ = COUNTS.insert(key, &first, BPF_NOEXIST);
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
pub(crate) fn lost(end: End, key: &Key) {
    add(end, Total::Lost);
    if let Some(count) = COUNTS.get_ptr_mut(key) {
        unsafe { (*count).lost += 1 };
    }
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
    let _ = COUNTS.insert(key, &Count { folded: 0, lost: 0, window, used: 1 }, BPF_NOEXIST);
    true
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
fn add(end: End, total: Total) {
    if let Some(total) = TOTAL.get_ptr_mut(place(end as u32, total)) {
        unsafe { *total += 1 };
    }
}

/// A reset was sent in a network namespace, for a refusal or not.
#[inline(always)]
pub(crate) fn saw_reset(netns: u32) {
    match SEEN.get_ptr_mut(&netns) {
        Some(seen) => unsafe { (*seen).resets += 1 },
        None => {
            let _ = SEEN.insert(&netns, &Watched { resets: 1, failures: 0 }, BPF_NOEXIST);
        }
    }
}

/// A dial ended in an error in a network namespace.
#[inline(always)]
pub(crate) fn saw_failure(netns: u32) {
    match SEEN.get_ptr_mut(&netns) {
        Some(seen) => unsafe { (*seen).failures += 1 },
        None => {
            let _ = SEEN.insert(&netns, &Watched { resets: 0, failures: 1 }, BPF_NOEXIST);
        }
    }
}

/// Remembers, when a reset is counted, whether it is told: its client, when that is on this host, is then not counted again,
/// and told with it or not at all. The sequence number of the SYN is what both ends have in common, whatever lies between.
///
/// An entry is the number, the time, and the decision in the lowest bit, in one word: written and read at once.
#[inline(always)]
pub(crate) fn decide(isn: u32, is_sample: bool, now: u64) {
    let stamp = (now >> STAMP_SHIFT) as u32;
    let entry = u64::from(isn) << 32 | u64::from(stamp << 1 | u32::from(is_sample));
    let Some(slot) = DECIDED.get_ptr_mut(isn % UNDERWAY) else { return };
    let taken = unsafe { *slot };
    let age = stamp.wrapping_sub(taken as u32 >> 1) & (u32::MAX >> 1);
    if taken != 0 && age < UNDERWAY_FOR && (taken >> 32) as u32 != isn {
        let _ = DECIDED_TOO.insert(&isn, &entry, 0);
    } else {
        unsafe { *slot = entry };
    }
}

/// What was decided when the reset that a client now sees was counted; nothing when another host sent it.
#[inline(always)]
pub(crate) fn decided(isn: u32) -> Option<bool> {
    let slot = DECIDED.get_ptr_mut(isn % UNDERWAY)?;
    let entry = unsafe { *slot };
    if entry != 0 && (entry >> 32) as u32 == isn {
        unsafe { *slot = 0 };
        return Some(entry & 1 != 0);
    }
    let entry = unsafe { DECIDED_TOO.get(&isn) }.copied()?;
    let _ = DECIDED_TOO.remove(&isn);
    Some(entry & 1 != 0)
}
