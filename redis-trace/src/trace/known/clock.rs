//! What the wall clock read at times since boot, across the times it was set.

use std::collections::VecDeque;

use jiff::Timestamp;

/// So many settings are remembered: facts come at most seconds late.
const SETTINGS: usize = 16;

/// The wall clock, as it was set.
#[derive(Debug, Default)]
pub struct WallClock {
    /// Since when, boottime nanoseconds; and how far it was ahead of the boot clock from then on. In order of time.
    settings: VecDeque<(u64, i64)>,
}

impl WallClock {
    /// It was set to `unix_ns` at this time since boot, or a moment before.
    pub fn set(&mut self, boottime: u64, unix_ns: i64) {
        if self.settings.len() == SETTINGS {
            self.settings.pop_front();
        }
        self.settings.push_back((boottime, unix_ns.saturating_sub(boottime.cast_signed())));
    }

    /// What it read at this time since boot.
    pub fn at(&self, boottime: u64) -> Timestamp {
        let in_force = self.settings.iter().rfind(|(since, _)| *since <= boottime).or(self.settings.front());
        let ahead = in_force.map_or(0, |(_, ahead)| *ahead);
        Timestamp::from_nanosecond(i128::from(boottime) + i128::from(ahead)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_as_the_clock_was_set_then_also_when_it_is_heard_of_late() {
        let mut clock = WallClock::default();
        assert_eq!(clock.at(5).as_nanosecond(), 5);
        clock.set(100, 1_100);
        clock.set(200, 9_200);
        clock.set(300, 310);
        assert_eq!(
            [50, 100, 199, 200, 299, 300].map(|time| clock.at(time).as_nanosecond()),
            [1_050, 1_100, 1_199, 9_200, 9_299, 310]
        );
        for time in 0..100 {
            clock.set(1_000 + time, 0);
        }
        assert_eq!(clock.settings.len(), SETTINGS);
    }
}
