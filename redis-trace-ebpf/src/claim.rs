//! Tables of fixed places that all processors write to without waiting: who finds a place busy goes elsewhere.
//!
//! A hash map takes a lock and a list for every entry; what every dial and every reset passes cannot afford that.

use core::arch::asm;
use core::ptr::read_volatile;

/// A place in a table.
#[repr(C)]
pub(crate) struct Place<T> {
    /// How many are at it.
    busy: u64,
    /// What is kept there.
    pub(crate) entry: T,
}

/// Claims a place for a moment; whether it is ours alone. Adding is all that Linux 5.10 can do atomically (exchanging came
/// with 5.12), and it is enough: of several that add at once at most one reads 1 back.
#[inline(always)]
pub(crate) fn claim<T>(place: *mut Place<T>) -> bool {
    add(place, 1);
    let is_ours = unsafe { read_volatile(&raw const (*place).busy) } == 1;
    if !is_ours {
        release(place);
    }
    is_ours
}

/// Gives a claimed place back.
#[inline(always)]
pub(crate) fn release<T>(place: *mut Place<T>) {
    add(place, u64::MAX);
}

/// `BPF_XADD`. Rust offers no atomic addition for a target that cannot exchange.
#[inline(always)]
fn add<T>(place: *mut Place<T>, number: u64) {
    unsafe {
        asm!("lock *(u64 *)({busy} + 0) += {number}", busy = in(reg) &raw mut (*place).busy, number = in(reg) number);
    }
}
