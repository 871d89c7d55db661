//! How exposed a configuration is and how likely it refuses somebody, from 0 to 10, as `systemd-analyze security` puts it.

use schemars::JsonSchema;
use serde::Serialize;

use super::finding::Finding;
use super::rule::Rule;

/// A number from 0 to 10, and the word for it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Score {
    /// 0 is best.
    pub score: f64,
    /// `safe`, `ok`, `medium`, `exposed`, `unsafe`; for refusals `none`, `low`, `medium`, `high`, `certain`.
    pub level: &'static str,
    /// The rules it comes from, the weightiest first.
    pub from: Vec<Rule>,
}

impl Score {
    /// How exposed.
    pub fn of_exposure(findings: &[Finding]) -> Self {
        Self::sum(findings, Rule::exposes, ["safe", "ok", "medium", "exposed", "unsafe"])
    }

    /// How likely somebody is refused.
    pub fn of_refusal(findings: &[Finding]) -> Self {
        Self::sum(findings, Rule::refuses, ["none", "low", "medium", "high", "certain"])
    }

    /// Each rule counts once, however often it was found; the sum ends at 10.
    fn sum(findings: &[Finding], points: impl Fn(Rule) -> u32, words: [&'static str; 5]) -> Self {
        let mut from: Vec<Rule> = findings.iter().map(Finding::rule).filter(|rule| points(*rule) > 0).collect();
        from.sort_unstable();
        from.dedup();
        from.sort_by_key(|rule| std::cmp::Reverse(points(*rule)));
        let tenths = from.iter().map(|rule| points(*rule)).sum::<u32>().min(100);
        let level = match tenths {
            0 => 0,
            1..30 => 1,
            30..60 => 2,
            60..90 => 3,
            _ => 4,
        };
        Self { score: f64::from(tenths) / 10.0, level: words[level], from }
    }
}
