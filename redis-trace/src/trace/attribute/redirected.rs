//! A dial that was refused where a server had sent its client.

use crate::trace::cause::{Code, Confidence};
use crate::trace::known::Known;
use crate::trace::refusal::Connect;
use crate::trace::verdict::{Cause, Redirected, Verdict};

use super::Judged;

/// The verdict, unless a server had sent a client of this address there: then that is the cause, if nothing that is known of
/// the place itself explains more.
pub(super) fn unless_sent(time: u64, connect: &Connect, judged: Judged, known: &Known) -> Judged {
    match judged {
        Judged::Verdict(verdict) => {
            let code = verdict.cause.code();
            redirected(time, connect, code, known).unwrap_or(verdict).into()
        }
        other => other,
    }
}

/// What a dial that was, or would be, told as this is told as because a server had sent a client there.
pub fn redirected(time: u64, connect: &Connect, code: Code, known: &Known) -> Option<Verdict> {
    let says_nothing_more =
        matches!(code, Code::RT1001 | Code::RT1008 | Code::RT4001 | Code::RT4002 | Code::RT4003 | Code::RT3030);
    let redirect = says_nothing_more.then(|| known.redirects.of(time, connect)).flatten()?.clone();
    // Another client of that address may have been sent, and this one have dialled by itself.
    Some(Verdict { cause: Cause::Redirected(Box::new(Redirected { redirect, code })), confidence: Confidence::Likely })
}
