//! The two clocks that facts carry: since boot, and the wall's.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since boot, suspend included: the time of every fact.
pub fn boottime() -> u64 {
    u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or_default()
}

/// Nanoseconds since 1970, UTC.
pub fn wall() -> i64 {
    nanoseconds(clock_gettime(ClockId::Realtime))
}

/// One number from two.
fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_the_wall_is_in_this_century() {
        let before = boottime();
        assert!(before > 0 && boottime() >= before);
        assert!(wall() > 946_684_800_000_000_000);
    }
}
