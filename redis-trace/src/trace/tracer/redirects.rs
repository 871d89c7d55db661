//! Servers that send their clients elsewhere: what was told of a dial before its redirect was known is corrected.

use super::{Step, Told, Tracer};
use crate::trace::attribute::redirected;
use crate::trace::cause::Code;
use crate::trace::explain;
use crate::trace::fact::EarlyEnd;
use crate::trace::refusal::Attempt;
use crate::trace::report::Update;
use crate::trace::verdict::Cause;

impl Tracer {
    /// A connection ended whose server had sent its client elsewhere: a client that kept it has dialled there already.
    pub(super) fn sent_elsewhere(&mut self, time: u64, end: &EarlyEnd) -> Option<Step> {
        let to = end.redirect?;
        let known = &self.known;
        let (told, verdict) = self.told.iter_mut().rev().find_map(|told| {
            let Told { refusal, code, .. } = &*told;
            let Attempt::Connect(connect) = &refusal.attempt else { return None };
            connect.flow().filter(|flow| flow.server == to)?;
            let verdict = redirected(refusal.time, connect, *code, known)?;
            Some((told, verdict))
        })?;
        told.code = Code::RT6007;
        let Cause::Redirected(it) = &verdict.cause else { return None };
        let summary = explain::redirected(&to.to_string(), it);
        let update = Update::new(known.clock.at(time), told.seq, summary);
        Some(Step::Correct(Update { cause: Some(explain::cause(&verdict)), ..update }))
    }
}
