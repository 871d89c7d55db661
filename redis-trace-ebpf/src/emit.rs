//! Sending records: reserve room, fill field by field, submit; or count the loss where it happens.

use core::ptr::read_volatile;

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_ktime_get_boot_ns};
use aya_ebpf::maps::ring_buf::RingBufEntry;
use redis_trace_common::record::{Numbered, WAKE_EVERY};

use crate::maps::{EVENTS, LOST, WOKEN};

/// Nanoseconds from one tick to the next, from the program.
#[unsafe(no_mangle)]
static TICK: u64 = 4_000_000;

/// `BPF_RB_NO_WAKEUP`, include/uapi/linux/bpf.h.
const NO_WAKEUP: u64 = 1;
/// `BPF_RB_FORCE_WAKEUP`.
const FORCE_WAKEUP: u64 = 2;

/// How every record begins.
#[repr(C)]
struct Head {
    number: u32,
    cpu: u32,
    time: u64,
}

/// A record, and room behind it that the program does not look at.
#[repr(C)]
pub(crate) struct Roomy<T, const SLACK: usize> {
    record: T,
    slack: [u8; SLACK],
}

/// A record under way. The verifier refuses a probe that forgets to submit it.
///
/// Not a closure that fills: what a closure borrows the compiler hands over through memory, where the verifier of older
/// kernels forgets the bounds of a length.
pub(crate) struct Slot<T: 'static, const SLACK: usize> {
    entry: RingBufEntry<Roomy<T, SLACK>>,
    time: u64,
}

impl<T: Numbered, const SLACK: usize> Slot<T, SLACK> {
    /// The record: every field but the three that all have is still to be written.
    #[inline(always)]
    pub(crate) fn record(&mut self) -> *mut T {
        self.entry.as_mut_ptr().cast::<T>()
    }

    /// Sends it.
    #[inline(always)]
    pub(crate) fn submit(self) {
        self.entry.submit(wake(self.time));
    }
}

/// Makes room for a record, or counts it as lost.
#[inline(always)]
pub(crate) fn reserve<T: Numbered>() -> Option<Slot<T, 0>> {
    reserve_roomy()
}

/// Makes room for a record that may be overrun by so many bytes: what the verifier cannot prove to end in time ends there.
#[inline(always)]
pub(crate) fn reserve_roomy<T: Numbered, const SLACK: usize>() -> Option<Slot<T, SLACK>> {
    let Some(entry) = EVENTS.reserve::<Roomy<T, SLACK>>(0) else {
        count_loss(T::NUMBER as u32);
        return None;
    };
    let mut slot = Slot { entry, time: now() };
    let time = slot.time;
    let head = slot.record().cast::<Head>();
    unsafe {
        (&raw mut (*head).number).write(T::NUMBER as u32);
        (&raw mut (*head).cpu).write(bpf_get_smp_processor_id() as u32);
        (&raw mut (*head).time).write(time);
    }
    Some(slot)
}

/// `CLOCK_BOOTTIME`, since Linux 5.8.
#[inline(always)]
pub(crate) fn now() -> u64 {
    unsafe { bpf_ktime_get_boot_ns() }
}

/// A clock in nanoseconds that goes by the tick of the processors, which is quicker to read: the verifier puts a load in its
/// place. Good for what is told apart by tenths of a second, not as the time of anything.
#[inline(always)]
pub(crate) fn tick() -> u64 {
    ticks() * tick_length()
}

/// The kernel's own count of ticks; `tcp_jiffies32` is its lower half.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    unsafe { bpf_jiffies64() }
}

/// Nanoseconds from one to the next.
#[inline(always)]
pub(crate) fn tick_length() -> u64 {
    unsafe { read_volatile(&raw const TICK) }
}

/// Whether the program is to be woken: a wake-up costs more than all else here. One that was woken a moment ago looks again
/// by itself, see [`WAKE_EVERY`].
#[inline(always)]
fn wake(now: u64) -> u64 {
    if let Some(woken) = WOKEN.get_ptr_mut(0) {
        if now - unsafe { *woken } < WAKE_EVERY {
            return NO_WAKEUP;
        }
        unsafe { *woken = now };
    }
    // Not only when it has caught up: what lies before this record may be one that did not wake it.
    FORCE_WAKEUP
}

/// Counts a record that found no room.
#[inline(always)]
fn count_loss(number: u32) {
    if let Some(counter) = LOST.get_ptr_mut(number) {
        unsafe { *counter += 1 };
    }
}
