//! Dials that last: told while they wait, or when their SYN was dropped, and corrected when they end.

use super::{HOLD, Step, Tracer};
use crate::trace::errno::ETIMEDOUT;
use crate::trace::explain;
use crate::trace::fact::{ConnectFailed, Phase};
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::report::{CauseReport, Update};

/// Whether a dial sent its SYN, and heard nothing.
fn had_no_answer(failed: &ConnectFailed) -> bool {
    failed.phase != Phase::AtOnce && matches!(failed.errno, 0 | ETIMEDOUT)
}

impl Tracer {
    /// A dial came to nothing, or waits for an answer. One whose SYN was seen to be turned away has been told by that, and one
    /// that was told as waiting is told how it ended.
    pub(super) fn dial_failed(&mut self, time: u64, failed: &ConnectFailed) -> Option<Step> {
        if failed.phase != Phase::AtOnce && self.dropped.get(&failed.isn).is_some() {
            return if failed.phase == Phase::Waiting { None } else { self.failed(time, failed) };
        }
        // On a busy host its record may be read so late that its other end waited for it in vain, though it is not late itself.
        let is_read_late = failed.phase == Phase::Over && !self.joining.awaits_client(failed.isn);
        let is_late = failed.phase != Phase::AtOnce && (is_read_late || time.saturating_sub(failed.dialled) >= HOLD);
        // The other end may wait for the host now.
        if is_late && failed.phase == Phase::Over && self.completes(failed) {
            return None;
        }
        match (is_late && self.syns.get(&failed.isn).is_some(), failed.phase) {
            (true, Phase::OverAtLast | Phase::Answered) => self.wait_ended(time, failed),
            (true, _) => None,
            (false, Phase::OverAtLast | Phase::Answered) => {
                self.waits_ended.insert(time, failed.isn, failed.clone());
                None
            }
            (false, Phase::AtOnce | Phase::Over | Phase::Waiting) => {
                self.joining.client(time, failed.clone());
                if let Some(answer) = self.answers.get(&failed.isn).filter(|_| had_no_answer(failed)) {
                    self.joining.dropped(time, answer.clone());
                }
                None
            }
        }
    }

    /// Corrects what was told of a dial while it waited.
    fn wait_ended(&self, time: u64, failed: &ConnectFailed) -> Option<Step> {
        let (seq, cause) = self.syns.get(&failed.isn)?;
        let update = Update::new(self.known.clock.at(time), *seq, explain::wait_ended(time, failed));
        Some(Step::Correct(Update { cause: Some(cause.clone()), ..update }))
    }

    /// Remembers the SYN of a refusal that is told; the correction, when its dial has ended meanwhile.
    pub(super) fn remember_syn(&mut self, refusal: &Refusal, cause: CauseReport) -> Option<Step> {
        let Attempt::Connect(connect) = &refusal.attempt else { return None };
        let isn = connect.isn()?;
        self.syns.insert(self.known.now, isn, (self.seq, cause));
        let (time, ended) = self.waits_ended.get_with_time(&isn)?;
        let step = self.wait_ended(time, ended);
        self.waits_ended.remove(&isn);
        step
    }

    /// Whether it is the end that a refusal lacks which waits for the host's answers.
    fn completes(&mut self, failed: &ConnectFailed) -> bool {
        let mut waiting = self.waiting.iter_mut().map(|waiting| &mut waiting.refusal);
        let Some(connect) = waiting.find_map(|refusal| refusal.without_client(failed.isn)) else { return false };
        connect.client = Some(failed.clone());
        true
    }

    /// A connect whose SYN was dropped failed at last: that was told, or is about to be.
    fn failed(&mut self, time: u64, failed: &ConnectFailed) -> Option<Step> {
        let Some(seq) = *self.dropped.get(&failed.isn)? else {
            self.completes(failed);
            return None;
        };
        let summary = if failed.phase == Phase::Answered {
            explain::wait_ended(time, failed)
        } else {
            let process = explain::named(&self.known.process_of(&failed.task));
            explain::failed(&process, failed.errno, time.saturating_sub(failed.dialled))
        };
        Some(Step::Correct(Update::new(self.known.clock.at(time), seq, summary)))
    }
}
