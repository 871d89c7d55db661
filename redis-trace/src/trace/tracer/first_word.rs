//! What is said of a refusal before the host has answered.

use super::{Step, Tracer, Waiting};
use crate::trace::attribute::{Judged, attribute};
use crate::trace::explain;
use crate::trace::fact::Alike;
use crate::trace::folding;
use crate::trace::report::Report;

/// How long the host may take to answer before a first word is said of what is known without, nanoseconds: within 250
/// milliseconds of when both ends are known.
pub(super) const FIRST_WORD: u64 = 200_000_000;
/// How many first words are said in the time below: a host that is late in a flood gets no more to do, and no flood of lines.
pub(super) const FIRST_WORDS: usize = 10;
/// How long the next first word about refusals that are alike is left unsaid, nanoseconds.
const SAID: u64 = 60_000_000_000;
/// Questions upon questions that a first word does without.
const ROUNDS: usize = 8;

impl Tracer {
    /// Says what is known of a refusal without what the host was asked, unless that was said of another like it or of many others
    /// of late; the number it is said under.
    pub(super) fn first_word(&mut self, waiting: &Waiting, steps: &mut Vec<Step>) -> Option<u64> {
        let Waiting { refusal, asked, .. } = waiting;
        // What looks like an early end may be none.
        let alike = folding::kind(refusal).filter(|alike| !matches!(alike, Alike::Early { .. }))?;
        let now = self.known.now;
        while self.said.pop_front_if(|(time, _)| time.saturating_add(SAID) <= now).is_some() {}
        if self.said.len() == FIRST_WORDS || self.said.iter().any(|(_, other)| *other == alike) {
            return None;
        }
        let (mut missing, seq) = (asked.clone(), self.seq + 1);
        for _ in 0..ROUNDS {
            let found = self.known.without(&missing, |known| match attribute(refusal, known) {
                Judged::Verdict(verdict) => Ok(explain::explain(refusal, &verdict, known, seq)),
                Judged::Ask(questions) => Err(questions),
                Judged::Nothing => Err(Vec::new()),
            });
            match found {
                Ok(report) => {
                    self.said.push_back((now, alike));
                    steps.push(Step::FirstWord(Report { partial: true, count: 0, ..report }));
                    return Some(self.next());
                }
                Err(questions) if questions.is_empty() => return None,
                Err(questions) => missing.extend(questions),
            }
        }
        None
    }
}
