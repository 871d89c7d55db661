//! What comes later and puts what was told in another light: another address took the client, a listener appeared.

use super::{KEPT, Step, Tracer, flow_of};
use crate::trace::cause::{Code, Confidence};
use crate::trace::explain;
use crate::trace::fact::{Socket, Task};
use crate::trace::flow::Flow;
use crate::trace::known::accepts;
use crate::trace::refusal::{Attempt, Refusal, is_fallback};
use crate::trace::report::{CauseReport, Update};

/// How long after a refusal its listener may appear and still be told, nanoseconds.
const APPEARS_WITHIN: u64 = 60_000_000_000;
/// How long after a refusal another address may answer the same thread, nanoseconds.
const FALLS_BACK_WITHIN: u64 = 5_000_000_000;

/// A refusal that was told and may be corrected.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) seq: u64,
    pub(super) refusal: Refusal,
    pub(super) code: Code,
}

impl Tracer {
    /// A thread that was refused was connected elsewhere: the refusal hurt nobody.
    pub(super) fn connected(&mut self, time: u64, flow: &Flow, task: &Task) -> Option<Step> {
        if self.joining.connected(flow, task) {
            return None;
        }
        let is_spared = |refusal: &Refusal| {
            let Attempt::Connect(connect) = &refusal.attempt else { return false };
            connect.client.as_ref().is_some_and(|client| is_fallback(client, flow, task))
                && refusal.time.saturating_add(FALLS_BACK_WITHIN) > time
                && !refusal.benign
        };
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| is_spared(&waiting.refusal)) {
            waiting.refusal.benign = true;
            return None;
        }
        let told = self.told.iter_mut().rev().find(|told| is_spared(&told.refusal))?;
        told.refusal.benign = true;
        let summary = format!("the same thread was then connected to {}", flow.server);
        let update = Update::new(self.known.clock.at(time), told.seq, summary);
        Some(Step::Correct(Update { benign: true, ..update }))
    }

    /// A listener appeared: whoever was refused there came too early.
    pub(super) fn appeared(&mut self, time: u64, socket: &Socket, task: &Task) -> Vec<Step> {
        let process = explain::named(&self.known.process_of(task));
        let wall = self.known.clock.at(time);
        let mut steps = Vec::new();
        self.told.retain(|told| {
            let Attempt::Connect(connect) = &told.refusal.attempt else { return true };
            let is_for_it =
                connect.flow().is_some_and(|flow| accepts(socket, &Flow { ifindex: socket.ifindex, ..*flow }));
            if !is_for_it || told.refusal.time.saturating_add(APPEARS_WITHIN) < time {
                return true;
            }
            let update = Update::new(wall, told.seq, explain::appeared(told.refusal.time, time, &process));
            steps.push(Step::Correct(Update { cause: is_start_order(told.code).then(not_yet), ..update }));
            false
        });
        steps
    }

    /// May be corrected from now on.
    pub(super) fn remember(&mut self, told: Told) {
        let fault = |told: &Told| {
            (told.code, told.refusal.benign, flow_of(&told.refusal).map(|flow| (flow.netns, flow.server)))
        };
        // Of many alike only the first is corrected, as only the first was told in full.
        let horizon = told.refusal.time.saturating_sub(APPEARS_WITHIN);
        let is_repeat = self.told.iter().any(|other| {
            fault(other) == fault(&told)
                && other.refusal.time >= horizon
                && !told.refusal.benign
                && flow_of(&other.refusal).map(|flow| flow.client.ip)
                    == flow_of(&told.refusal).map(|flow| flow.client.ip)
        });
        if !is_repeat || told.refusal.benign {
            self.told.push_back(told);
        }
        if self.told.len() > KEPT {
            self.told.pop_front();
        }
    }
}

/// Causes that a listener which appears later turns into "not yet": nothing had ended there.
fn is_start_order(code: Code) -> bool {
    matches!(code, Code::RT1001 | Code::RT1008 | Code::RT1010 | Code::RT1014)
}

fn not_yet() -> CauseReport {
    let code = Code::RT1018;
    CauseReport { code, name: code.name().to_owned(), class: code.class(), confidence: Confidence::Certain }
}
