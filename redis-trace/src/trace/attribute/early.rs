//! A connection ended early: whether its server turned it away, and why.

use crate::redis::{kin, reply};
use crate::trace::cause::{Code, Confidence};
use crate::trace::fact::{EarlyEnd, Parting, Process};
use crate::trace::flow::Flow;
use crate::trace::known::{Known, accepts, is_redis_like};
use crate::trace::question::Question;
use crate::trace::text::Text;
use crate::trace::verdict::{Cause, Rejected, Verdict};

use super::{Judged, unanswered};

/// What is read of a TLS record before anything else: its header.
const TLS_HEADER: u32 = 5;
/// A line of a reply ends with a carriage return and a line feed.
const LINE_END: u32 = 2;
/// No request of HTTP is shorter: `GET / HTTP/1.0` and an empty line.
const SHORTEST_HTTP: u32 = 16;
/// A server that closes for what it has just read does so at once, milliseconds.
const AT_ONCE: u32 = 1_000;

/// Why, by what the server said where that is known, else by how much it said and read.
pub(super) fn attribute(time: u64, end: &EarlyEnd, known: &Known) -> Judged {
    if let Some(words) = &end.reply {
        return by_words(end, words, known);
    }
    if end.parting == Parting::HelloUnanswered {
        return hello(end, known);
    }
    let Some(task) = &end.server else { return Judged::Nothing };
    let questions = match known.process(task.key()) {
        Some(process) if process.exe.is_some() => Vec::new(),
        _ => unanswered([Question::Process(task.key())], time, known),
    };
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let server = known.process_of(task);
    let found = if is_redis_like(&server) { of_redis(end) } else { of_another(end, &server) };
    match found {
        Some((code, confidence)) => verdict(code, confidence, Some(server)),
        None => Judged::Nothing,
    }
}

/// The server's own words. What it says at the door is said to one client; later its last words may have been for another,
/// though they fit to the byte.
fn by_words(end: &EarlyEnd, words: &Text, known: &Known) -> Judged {
    let Some(code) = said(end, words) else { return Judged::Nothing };
    let is_certain = end.client || end.parting == Parting::LeftByServer || end.read == Some(0);
    let confidence = if is_certain { Confidence::Certain } else { Confidence::Likely };
    verdict(code, confidence, end.server.as_ref().map(|task| known.process_of(task)))
}

/// What the words mean, when all that the server sent were such words: whoever was served too was not refused.
fn said(end: &EarlyEnd, words: &Text) -> Option<Code> {
    let code = words.as_str().strip_prefix('-').and_then(reply::of_error)?.code;
    let line = u32::try_from(words.to_bytes().len()).ok()? + LINE_END;
    let before = end.sent.checked_sub(end.known)?;
    match before {
        _ if before.is_multiple_of(line) => Some(code),
        // Once more: a password was refused, and what came after it was too.
        _ if code == Code::RT6003 && before.checked_sub(reply::WRONG_PASSWORD_LENGTH)?.is_multiple_of(line) => {
            Some(Code::RT6004)
        }
        _ => None,
    }
}

/// A server of Redis's kind that closed: what it says in each case is known to the byte.
fn of_redis(end: &EarlyEnd) -> Option<(Code, Confidence)> {
    let (read, is_soon) = (end.read?, end.idle_ms < AT_ONCE);
    match (end.sent, read, end.parting) {
        (0, 0, _) if is_soon => Some((Code::RT6008, Confidence::Likely)),
        (0, TLS_HEADER, Parting::Reset) => Some((Code::RT5001, Confidence::Likely)),
        (0, _, Parting::Closed) if is_soon && read >= SHORTEST_HTTP => Some((Code::RT6009, Confidence::Likely)),
        (0, ..) => None,
        (sent, 0, _) => reply::of_length(sent).map(|code| (code, Confidence::Likely)),
        _ => None,
    }
}

/// Any other server: one that accepts and closes without having read a byte, or a proxy that may have read for another. That
/// it closed is certain, and that it turned somebody away by that is not.
fn of_another(end: &EarlyEnd, server: &Process) -> Option<(Code, Confidence)> {
    let is_unread = end.read == Some(0) || kin::is_proxy(server.comm.as_str());
    (end.sent == 0 && is_unread).then_some((Code::RT6008, Confidence::Likely))
}

/// A client spoke TLS and was not answered: a Redis that listens without TLS waits for the line's end.
fn hello(end: &EarlyEnd, known: &Known) -> Judged {
    let Flow { netns, server, .. } = end.flow;
    let here = known.listeners.on(netns, server.port).iter().chain(known.listeners.elsewhere(netns, server.port));
    let listener = here.into_iter().find(|listener| {
        let flow = Flow { netns: listener.socket.netns, ifindex: listener.socket.ifindex, ..end.flow };
        accepts(&listener.socket, &flow)
    });
    match listener.and_then(|listener| listener.owner.as_deref()).filter(|owner| is_redis_like(owner)) {
        Some(owner) => verdict(Code::RT5002, Confidence::Likely, Some(owner.clone())),
        None => Judged::Nothing,
    }
}

fn verdict(code: Code, confidence: Confidence, server: Option<Process>) -> Judged {
    Verdict { cause: Cause::Rejected(Box::new(Rejected { code, server })), confidence }.into()
}
