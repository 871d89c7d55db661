//! Sending records: reserve room, fill field by field, submit; or count the loss where it happens.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};
use aya_ebpf::maps::PerCpuArray;
use redis_trace_common::record::Numbered;

use crate::maps::{EVENTS, LOST, SENT};

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

/// Sends a record that `fill` writes every field of, but for the three that all have.
#[inline(always)]
pub(crate) fn send<T: Numbered + 'static>(fill: impl FnOnce(*mut T)) -> bool {
    send_roomy::<T, 0>(fill)
}

/// Sends a record that may be overrun by so many bytes: what the verifier cannot prove to end in time ends there.
#[inline(always)]
pub(crate) fn send_roomy<T: Numbered + 'static, const SLACK: usize>(fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Roomy<T, SLACK>>(0) else {
        count(&LOST, T::NUMBER as u32);
        return false;
    };
    let record = entry.as_mut_ptr().cast::<T>();
    let head = record.cast::<Head>();
    unsafe {
        (&raw mut (*head).number).write(T::NUMBER as u32);
        (&raw mut (*head).cpu).write(bpf_get_smp_processor_id() as u32);
        (&raw mut (*head).time).write(now());
    }
    fill(record);
    entry.submit(0);
    count(&SENT, T::NUMBER as u32);
    true
}

/// `CLOCK_BOOTTIME`, since Linux 5.8.
#[inline(always)]
pub(crate) fn now() -> u64 {
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Adds one to a counter of this processor.
#[inline(always)]
fn count(counters: &PerCpuArray<u64>, number: u32) {
    if let Some(counter) = counters.get_ptr_mut(number) {
        unsafe { *counter += 1 };
    }
}
