//! What was said, kept as it is said: for kernels that keep it nowhere once it is, those before Linux 5.16.
//!
//! Only what may end a connection is kept, and of it no more than is told: the refusals with which a server's words begin as
//! long as nothing else follows, the last TLS alert of either end, and of a client that it began with a TLS handshake.

use core::ffi::c_void;

use redis_trace_common::record::REPLY_LEN;
use redis_trace_common::reply::ALERT;

use crate::kernel::{Memory, at_most, peek};
use crate::maps::SPOKEN;
use crate::said::{HELLO, Said};

/// What one end of a connection has said, or the part of it that matters.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Spoken {
    /// Sequence number of its first byte.
    begin: u32,
    /// Sequence number behind its last.
    end: u32,
    /// What it is, or begins with, as [`Said::which`] has it.
    which: u32,
    /// Its first [`REPLY_LEN`] bytes. Twice the room, for then the verifier need not know how much is left behind others.
    bytes: [u8; 2 * REPLY_LEN],
}

/// Keeps what a sock says as of a sequence number. A refusal that follows others at once is kept with them: whoever was
/// served in between got something else.
#[inline(always)]
pub(crate) fn keep(sk: u64, begin: u32, Said { at, length, which }: Said) {
    let end = begin.wrapping_add(length);
    if let Some(before) = SPOKEN.get_ptr_mut(&sk) {
        let (from, to, what) = unsafe { ((*before).begin, (*before).end, (*before).which) };
        if to == begin && what < ALERT && which < ALERT {
            let behind = at_most(REPLY_LEN, begin.wrapping_sub(from));
            unsafe {
                let into = (&raw mut (*before).bytes).cast::<u8>().add(behind as usize);
                Memory::User.copy_bytes(into.cast::<c_void>(), at_most(REPLY_LEN, length), at);
                (*before).end = end;
            }
            return;
        }
    }
    let mut spoken = Spoken { begin, end, which, bytes: [0; 2 * REPLY_LEN] };
    Memory::User.copy_bytes((&raw mut spoken.bytes).cast::<c_void>(), at_most(REPLY_LEN, length), at);
    let _ = SPOKEN.insert(&sk, &spoken, 0);
}

/// What was kept of a sock that has said what lies between these sequence numbers: refusals when they are all of it, an alert
/// when it is the last, the begin of a handshake when it was the first.
#[inline(always)]
pub(crate) fn last(sk: u64, begin: u32, end: u32) -> Said {
    let Some(spoken) = SPOKEN.get_ptr(&sk) else { return Said::NOTHING };
    let (from, to, which) = unsafe { ((*spoken).begin, (*spoken).end, (*spoken).which) };
    let fits = match which {
        ALERT => to == end,
        HELLO => from == begin,
        _ => from == begin && to == end,
    };
    if !fits {
        return Said::NOTHING;
    }
    let bytes = unsafe { &raw const (*spoken).bytes };
    // Its address as a number: the verifier forbids to reckon with what it knows for a pointer.
    Said { at: peek((&raw const bytes) as u64), length: to.wrapping_sub(from), which }
}
