//! What was decided about resets with the same sequence number, in one word: written and read at once.

/// Times that share a word with something else are in units of 2^20 nanoseconds, about a millisecond.
pub const STAMP_SHIFT: u64 = 20;
/// A reset that no client of this host has seen for so many of them went to another host.
const UNDERWAY_FOR: u64 = 1_000;
/// A processor that began a decision ends it within so many of them, whatever comes in between.
const INTERRUPTED_FOR: u64 = 60_000;
/// Bits of a time.
const STAMP_BITS: u64 = (1 << 24) - 1;
/// Where both counts are.
const COUNTS: u64 = 0xff;
/// The most that a count holds.
const MOST: u64 = 15;

/// From the highest bit: the SYN's sequence number (32), when (24), how many of its resets are told (4) and how many are not
/// (4). Clients in step, in namespaces with the same addresses, get the same number in the same 64 ns: secure_tcp_seq(),
/// net/core/secure_seq.c. 0 when there is none.
#[derive(Clone, Copy, Debug)]
pub struct Decision(pub u64);

impl Decision {
    /// About one reset.
    #[inline]
    pub fn new(isn: u32, is_told: bool, now: u64) -> Self {
        let one = if is_told { 1 << 4 } else { 1 };
        Self(u64::from(isn) << 32 | ((now >> STAMP_SHIFT) & STAMP_BITS) << 8 | one)
    }

    /// Whether it is about resets with that number.
    #[inline]
    pub fn is_of(self, isn: u32) -> bool {
        self.0 & COUNTS != 0 && self.0 >> 32 == u64::from(isn)
    }

    /// Whether the reset it is about, or one of them, is told.
    #[inline]
    pub fn is_told(self) -> bool {
        self.told() != 0
    }

    /// Both, or only the later where the earlier is none or too old to matter; nothing when there is no room for both. What is
    /// called the later may have been begun before the other, by a processor that was then interrupted: that is not old.
    #[inline]
    pub fn with(self, later: Self) -> Option<Self> {
        if self.0 & COUNTS != 0 && self.0 >> 32 == later.0 >> 32 {
            let is_full = self.told() == MOST || self.0 & MOST == MOST;
            return if is_full { None } else { Some(Self(self.0 + (later.0 & COUNTS))) };
        }
        let age = (later.0 >> 8).wrapping_sub(self.0 >> 8) & STAMP_BITS;
        let is_old = (UNDERWAY_FOR..STAMP_BITS - INTERRUPTED_FOR).contains(&age);
        if self.0 & COUNTS == 0 || is_old { Some(later) } else { None }
    }

    /// One less: of those that are told while there are any.
    #[inline]
    #[must_use]
    pub fn without_one(self) -> Self {
        let left = Self(self.0 - if self.is_told() { 1 << 4 } else { 1 });
        if left.0 & COUNTS == 0 { Self(0) } else { left }
    }

    #[inline]
    fn told(self) -> u64 {
        self.0 >> 4 & MOST
    }
}
