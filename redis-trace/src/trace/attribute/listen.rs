//! A server could not bind, listen or start.

use crate::trace::fact::{Bind, BoundSocket, ProcessKey};
use crate::trace::known::{FailedBind, Known, Listener};
use crate::trace::question::Question;
use crate::trace::verdict::{Cause, Verdict};

use super::no_listener::{EADDRINUSE, EADDRNOTAVAIL};
use super::{Judged, denial, unanswered};

pub(super) fn bind_failed(time: u64, bind: &Bind, known: &Known) -> Judged {
    let failed = known.failed(time, bind);
    if failed.privileged {
        return Verdict::certain(Cause::PrivilegedPort { failed }).into();
    }
    if let Some(question) = denial::question_of_bind(&failed, known) {
        return Judged::Ask(vec![question]);
    }
    if let Some((denied, confidence)) = denial::of_bind(&failed, known) {
        return Verdict { cause: Cause::Denied(Box::new(denied)), confidence }.into();
    }
    match bind.errno {
        EADDRINUSE => address_in_use(failed, known),
        EADDRNOTAVAIL => Verdict::certain(Cause::AddressNotAvailable { failed }).into(),
        errno => {
            let call = if bind.listen { "listen" } else { "bind" };
            let missing = format!(
                "{call} failed with {}, and nothing that was seen says who refused it",
                crate::trace::errno::name(errno)
            );
            Verdict::possible(Cause::Unknown { missing }).into()
        }
    }
}

fn address_in_use(failed: FailedBind, known: &Known) -> Judged {
    let (netns, wanted) = (failed.socket.netns, failed.socket.local);
    let questions = unanswered([Question::Sockets { netns, port: wanted.port }], failed.time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let there = match known.sockets_at(netns, wanted.port, failed.time) {
        Some(shown) => shown.to_vec(),
        None => known.listeners.on(netns, wanted.port).iter().map(as_shown).collect(),
    };
    let overlaps = |bound: &BoundSocket| {
        let held = bound.socket.local.ip;
        let is_own = bound.owner.as_ref().is_some_and(|owner| owner.key() == failed.process.key());
        !is_own && (held == wanted.ip || held.is_unspecified() || wanted.ip.is_unspecified())
    };
    let holder = there.into_iter().filter(overlaps).max_by_key(|bound| bound.listening);
    Verdict::certain(Cause::AddressInUse { failed, holder }).into()
}

/// A listener that is known from its own beginning, as the host would show it.
fn as_shown(listener: &Listener) -> BoundSocket {
    let Listener { socket, backlog, owner, .. } = listener.clone();
    BoundSocket { socket, listening: true, queued: None, backlog, owner }
}

pub(super) fn start_failed(process: ProcessKey, known: &Known) -> Judged {
    let Some(failed) = known.servers.failed_start(process) else {
        let missing = "the failed start is no longer remembered".to_owned();
        return Verdict::possible(Cause::Unknown { missing }).into();
    };
    let question = failed.last_words();
    if !known.is_answered(&question, failed.time) {
        return Judged::Ask(vec![question]);
    }
    let is_said = failed.fault.as_ref().is_some_and(|fault| fault.said);
    let cause = Cause::StartFailed { failed: failed.clone() };
    if is_said { Verdict::certain(cause).into() } else { Verdict::likely(cause).into() }
}
