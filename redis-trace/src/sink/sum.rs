//! The end of a run, in a few lines.

use std::fmt::Write as _;

use super::grouped;
use super::storm::span;
use crate::trace::report::{CountersReport, Missed, Summary};

/// What was seen, told and lost, in a few lines.
pub fn sum(summary: &Summary) -> String {
    let Summary { seen, delivered, aggregated, unknown, benign, lost, hooks, .. } = summary;
    let mut text = format!("{} refusals in {}", grouped(*seen), span(summary.seconds));
    let parts = [
        (*delivered, "told"),
        (*aggregated, "repeats"),
        (*unknown, "unknown"),
        (*benign, "harmless"),
        (lost.total(), "lost"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", grouped(*count)))
        .collect();
    if !parts.is_empty() {
        let _ = write!(text, ": {}", parts.join(", "));
    }
    // A recording has no hooks.
    if hooks.expected > 0 {
        let _ = write!(text, "; hooks {}/{}", hooks.up, hooks.expected);
    }
    text.push('\n');
    for (code, count) in &summary.by_cause {
        let _ = writeln!(text, "  {:>9}  {code} {}", grouped(*count), code.name());
    }
    if lost.total() > 0 {
        let (ring, queue, output) = (grouped(lost.ring), grouped(lost.queue), grouped(lost.output));
        let _ = writeln!(
            text,
            "lost: {ring} in the ring, {queue} in the queue, {output} in the output; a larger --ring or a narrower --port helps"
        );
    }
    if summary.unattributed > 0 {
        let count = grouped(summary.unattributed);
        let _ =
            writeln!(text, "of them {count} in floods over so many addresses that none of their kind was looked into");
    }
    if summary.unfiltered > 0 {
        let count = grouped(summary.unfiltered);
        let _ = writeln!(
            text,
            "besides {count} in such floods that nobody can say of whether the filters let them through"
        );
    }
    if summary.missed.total() > 0 {
        let Missed { records, probes } = summary.missed;
        let (records, probes) = (grouped(records), grouped(probes));
        let _ = writeln!(
            text,
            "missed: {records} records of who and what besides, {probes} runs of a probe; some verdicts may know less"
        );
    }
    if let Some(share) = summary.coverage {
        text.push_str(&coverage(share, &summary.counters));
    } else if summary.counters.stale {
        text.push_str("coverage: not known, the host was too busy to give its counters at the end\n");
    }
    if !hooks.degraded.is_empty() {
        let codes: Vec<&str> = hooks.degraded.iter().map(|code| code.as_str()).collect();
        let _ = writeln!(text, "degraded: {}; `redis-trace check` says why", codes.join(" "));
    }
    text
}

/// How much of what the kernel counted was seen.
fn coverage(share: f64, counters: &CountersReport) -> String {
    // Cut, not rounded: what is not whole must not look it.
    let percent = (share * 10_000.0).floor() / 100.0;
    let (all, ordinary) =
        (counters.out_resets + counters.attempt_fails, counters.resets_seen.saturating_sub(counters.resets_explained));
    let mut text = format!("coverage: {percent} % of {} resets and failed dials that the kernel counted", grouped(all));
    if ordinary > 0 {
        let _ = write!(text, "; {} resets ended connections in the ordinary way", grouped(ordinary));
    }
    if counters.stale {
        text.push_str("; of an earlier look, the host was too busy to give its counters at the end");
    }
    text.push('\n');
    text
}
