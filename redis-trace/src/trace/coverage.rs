//! How much of what the kernel counted was seen.

use std::collections::HashMap;

use super::fact::{Counters, Watched};
use super::flow::Netns;
use super::report::CountersReport;

/// The kernel's counters and what was seen, at the start and at the end.
#[derive(Debug, Default)]
pub struct Coverage {
    before: Option<Look>,
    now: Look,
    /// The last look came to nothing.
    is_stale: bool,
}

/// Both at one moment.
#[derive(Clone, Debug, Default)]
struct Look {
    counters: HashMap<Netns, Counters>,
    watched: HashMap<Netns, Watched>,
    refusals: u64,
}

impl Coverage {
    /// A look at all namespaces; the first is what the others are held against. One that saw none came to nothing.
    pub fn looked(&mut self, counters: &[Counters], watched: &[Watched], refusals: u64) {
        self.is_stale = counters.is_empty();
        if self.is_stale {
            return;
        }
        self.now = Look {
            counters: counters.iter().map(|counters| (counters.netns, *counters)).collect(),
            watched: watched.iter().map(|watched| (watched.netns, *watched)).collect(),
            refusals,
        };
        self.before.get_or_insert_with(|| self.now.clone());
    }

    /// What was counted since the first look, in the namespaces that are still there.
    pub fn report(&self) -> (Option<f64>, CountersReport) {
        let mut report = CountersReport { stale: self.is_stale, ..CountersReport::default() };
        let empty = Look::default();
        let before = self.before.as_ref().unwrap_or(&empty);
        let mut seen = 0;
        for (netns, now) in &self.now.counters {
            let then = before.counters.get(netns).copied().unwrap_or_default();
            let watched = self.now.watched.get(netns).copied().unwrap_or_default();
            let had = before.watched.get(netns).copied().unwrap_or_default();
            let resets = since(then.out_resets, now.out_resets);
            let embryonic = since(then.embryonic_resets, now.embryonic_resets);
            // The kernel counts those that came from outside among the attempts that failed.
            let failures = since(then.attempt_fails, now.attempt_fails).saturating_sub(embryonic);
            let (resets_seen, failures_seen) =
                (since(had.resets, watched.resets), since(had.failures, watched.failures));
            report.out_resets += resets;
            report.attempt_fails += failures;
            report.embryonic_resets += embryonic;
            report.listen_overflows += since(then.listen_overflows, now.listen_overflows);
            report.listen_drops += since(then.listen_drops, now.listen_drops);
            report.resets_seen += resets_seen;
            report.failures_seen += failures_seen;
            seen += resets_seen.min(resets) + failures_seen.min(failures);
        }
        report.resets_explained = since(before.refusals, self.now.refusals).min(report.resets_seen);
        (ratio(seen, report.out_resets + report.attempt_fails), report)
    }
}

/// What a counter has grown by; one that is smaller belongs to a new namespace of the same number.
fn since(then: u64, now: u64) -> u64 {
    now.checked_sub(then).unwrap_or(now)
}

/// A share of a whole that is not nothing.
#[expect(clippy::cast_precision_loss, reason = "a share is told in a few digits")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(netns: u32, out_resets: u64, attempt_fails: u64) -> Counters {
        Counters { netns: Netns(netns), out_resets, attempt_fails, ..Counters::default() }
    }

    fn watched(netns: u32, resets: u64, failures: u64) -> Watched {
        Watched { netns: Netns(netns), resets, failures, overflows: 0 }
    }

    #[test]
    fn what_the_kernel_counted_is_held_against_what_was_seen_namespace_by_namespace() {
        let mut coverage = Coverage::default();
        coverage.looked(&[counters(1, 100, 50), counters(2, 7, 7)], &[watched(1, 3, 3)], 2);
        // The second namespace is gone, the third is new.
        coverage.looked(&[counters(1, 160, 80), counters(3, 10, 0)], &[watched(1, 63, 33), watched(3, 0, 0)], 22);
        let (share, report) = coverage.report();
        assert_eq!((report.out_resets, report.resets_seen, report.resets_explained), (70, 60, 20));
        assert_eq!((report.attempt_fails, report.failures_seen), (30, 30));
        assert_eq!((share, report.stale), (Some(0.9), false));
        // A host that is too busy to say how its counters stand leaves those of the look before.
        coverage.looked(&[], &[], 22);
        let (share, report) = coverage.report();
        assert_eq!((share, report.out_resets, report.stale), (Some(0.9), 70, true));
    }

    #[test]
    fn where_nothing_was_counted_there_is_no_share() {
        let mut coverage = Coverage::default();
        coverage.looked(&[counters(1, 100, 50)], &[], 0);
        assert_eq!(coverage.report().0, None);
    }
}
