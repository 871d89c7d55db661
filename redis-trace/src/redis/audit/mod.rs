//! Judges a configuration: who will get in, who will be refused, and what to change. Pure.

pub mod access;
pub mod diff;
pub mod effective;
mod exposure;
mod finding;
mod refusal;
pub mod rule;
mod score;
pub mod server;
mod syntax;
pub mod user;

use access::Row;
use effective::Effective;
pub use finding::{Edit, Finding, Place, Severity};
pub use score::Score;

/// Findings of one rule that are told; more are only counted.
const MOST: usize = 50;

/// Everything that is to be said of a configuration, in the order of its lines.
pub fn findings(effective: &Effective<'_>, rows: &[Row]) -> Vec<Finding> {
    let mut all = syntax::findings(effective);
    all.extend(refusal::findings(effective, rows));
    all.extend(exposure::findings(effective, rows));
    all
}

/// In the order in which they are told: the worst first, then by file and line; of each rule the first 50. Gives back how
/// many were left out.
pub fn arranged(findings: Vec<Finding>) -> (Vec<Finding>, usize) {
    let all = findings.len();
    let mut kept: Vec<Finding> = Vec::new();
    let mut counts = std::collections::HashMap::new();
    for finding in findings {
        let count = counts.entry(finding.rule()).or_insert(0);
        *count += 1;
        if *count <= MOST {
            kept.push(finding);
        }
    }
    kept.sort_by(|a, b| {
        (a.severity, a.place.as_ref().map(|p| (&p.file, p.line)), a.rule()).cmp(&(
            b.severity,
            b.place.as_ref().map(|p| (&p.file, p.line)),
            b.rule(),
        ))
    });
    let left_out = all - kept.len();
    (kept, left_out)
}
