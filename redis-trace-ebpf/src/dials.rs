//! Dials under way: who called, for the answer may come in a softirq, where the task on the processor is anyone.

use core::arch::asm;
use core::ptr::read_volatile;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::claim::{Place, claim, release};
use crate::emit::now;
use crate::kernel::current;
use crate::maps::{DIALS, DIALS_TOO, LAST_DIAL, THREADS_SHIFT};

/// A connect(2) under way. All else is read from the task when it is needed, if it is still there.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Dial {
    /// The `struct task_struct` of the thread, good only while it has the ids below.
    pub(crate) task: u64,
    /// When it dialled.
    pub(crate) time: u64,
    /// Thread id.
    pub(crate) tid: u32,
    /// Process id.
    pub(crate) pid: u32,
}

/// A dial and the number of the sock it is on, 0 when there is none.
#[repr(C)]
pub(crate) struct Dialled {
    number: u64,
    dial: Dial,
}

/// As a power of two, how many dials have a place of their own.
pub(crate) const PLACES_SHIFT: u32 = 14;
/// Spreads what differs in the middle bits over the highest: 2^64 over the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What tells one sock from another, of a pointer that the verifier knows for one: it forbids to reckon with that, but for
/// taking one pointer from another, which gives a number without a call.
#[inline(always)]
fn number(sk: u64) -> Option<u64> {
    let (start, mut number) = (DIALS.get_ptr(0)?, sk);
    unsafe { asm!("{number} -= {start}", number = inout(reg) number, start = in(reg) start) };
    Some(number)
}

/// The place of a sock's dial.
#[inline(always)]
fn place(number: u64) -> Option<*mut Place<Dialled>> {
    DIALS.get_ptr_mut((number.wrapping_mul(SPREAD) >> (64 - PLACES_SHIFT)) as u32)
}

/// Whether a place holds a sock's dial. While it does nobody else writes there.
#[inline(always)]
fn holds(place: *mut Place<Dialled>, number: u64) -> bool {
    unsafe { read_volatile(&raw const (*place).entry.number) == number }
}

/// Remembers who dials on a sock that the verifier knows for one.
#[inline(always)]
pub(crate) fn remember(sk: u64) {
    let Some(number) = number(sk) else { return };
    if let Some(last) = LAST_DIAL.get_ptr_mut(0) {
        unsafe { *last = [sk, number] };
    }
    let thread = bpf_get_current_pid_tgid();
    let dial = Dial { task: current(), time: now(), tid: thread as u32, pid: (thread >> 32) as u32 };
    if let Some(place) = place(number) {
        if claim(place) {
            let is_free = holds(place, 0) || holds(place, number);
            if is_free {
                unsafe { (&raw mut (*place).entry).write(Dialled { number, dial }) };
            }
            release(place);
            if is_free {
                return;
            }
        }
    }
    let _ = DIALS_TOO.insert(&number, &dial, 0);
}

/// The place of a thread among those that are told apart; neighbours, which may run at once, share no line of a cache.
#[inline(always)]
pub(crate) fn place_of(tid: u32) -> u32 {
    tid.wrapping_mul((SPREAD >> 32) as u32) >> (32 - THREADS_SHIFT)
}

/// The sock that dialled last on this processor, and who did.
#[inline(always)]
pub(crate) fn last() -> Option<(u64, Dial)> {
    let [sk, number] = unsafe { *LAST_DIAL.get_ptr(0)? };
    Some((sk, kept(number)?))
}

/// Who dialled on a sock that the verifier knows for one, and still waits.
#[inline(always)]
pub(crate) fn of(sk: u64) -> Option<Dial> {
    kept(number(sk)?)
}

/// The dial that is kept.
#[inline(always)]
fn kept(number: u64) -> Option<Dial> {
    let place = place(number)?;
    if holds(place, number) {
        return Some(unsafe { (&raw const (*place).entry.dial).read() });
    }
    unsafe { DIALS_TOO.get(&number) }.copied()
}

/// Who dialled on a sock that the verifier knows for one, which is then forgotten; nothing when the dial is older than the
/// probes.
#[inline(always)]
pub(crate) fn take(sk: u64) -> Option<Dial> {
    let number = number(sk)?;
    let place = place(number)?;
    if holds(place, number) {
        let dial = unsafe { (&raw const (*place).entry.dial).read() };
        unsafe { (&raw mut (*place).entry.number).write_volatile(0) };
        return Some(dial);
    }
    let dial = unsafe { DIALS_TOO.get(&number) }.copied()?;
    let _ = DIALS_TOO.remove(&number);
    Some(dial)
}
