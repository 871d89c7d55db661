//! A connection ended early: whether its server turned it away, and why.

use crate::redis::{kin, reply};
use crate::trace::cause::{Code, Confidence};
use crate::trace::early::Closing;
use crate::trace::fact::{EarlyEnd, Parting, Process, Standing};
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

/// Why, by what was said where that is known, else by how much was said and read.
pub(super) fn attribute(time: u64, end: &EarlyEnd, known: &Known) -> Judged {
    // By itself that is no refusal: what comes of it is, if where it leads is dialled in vain.
    if end.redirect.is_some() {
        return Judged::Nothing;
    }
    if end.alert.is_some() {
        return verdict(Code::RT5003, Confidence::Likely, server(end, known), None);
    }
    if end.parting == Parting::HelloUnanswered {
        return hello(end, known);
    }
    let Some(task) = &end.server else { return by_words(end, None, known) };
    let questions = match known.process(task.key()) {
        Some(process) if process.exe.is_some() => Vec::new(),
        _ => unanswered([Question::Process(task.key())], time, known),
    };
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let process = known.process_of(task);
    if !is_redis_like(&process) {
        let by_words = by_words(end, None, known);
        let found = if by_words == Judged::Nothing { of_another(end, &process) } else { None };
        return found.map_or(by_words, |(code, confidence)| verdict(code, confidence, Some(process), None));
    }
    let may_be_one = match end.parting {
        Parting::Waited => true,
        _ => by_words(end, None, known) != Judged::Nothing || of_redis(end, None).is_some(),
    };
    if !may_be_one {
        return Judged::Nothing;
    }
    let (key, port) = (task.key(), end.flow.server.port);
    let argv = known.servers.start_of(key).map(|(argv, _)| argv.to_vec()).unwrap_or_default();
    let questions = unanswered([Question::Standing { process: key, argv, netns: end.flow.netns, port }], time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let standing = known.standing(key, port, time);
    if end.reply.is_some() {
        return by_words(end, standing, known);
    }
    match of_redis(end, standing) {
        Some((code, confidence)) => verdict(code, confidence, Some(process), standing.cloned()),
        None => Judged::Nothing,
    }
}

/// The server's own words. What it says at the door is said to one client; later its last words may have been for another,
/// though they fit to the byte.
fn by_words(end: &EarlyEnd, standing: Option<&Standing>, known: &Known) -> Judged {
    let Some(code) = end.reply.as_ref().and_then(|words| said(end, words)) else { return Judged::Nothing };
    let is_certain = end.client || end.parting == Parting::LeftByServer || end.read == Some(0);
    let confidence = if is_certain { Confidence::Certain } else { Confidence::Likely };
    verdict(code, confidence, end.server.as_ref().map(|task| known.process_of(task)), standing.cloned())
}

/// What the words mean, when all that the server sent were such words: whoever was served too was not refused.
fn said(end: &EarlyEnd, words: &Text) -> Option<Code> {
    let code = words.as_str().strip_prefix('-').and_then(reply::of_error)?.code;
    let line = u32::try_from(words.to_bytes().len()).ok()? + LINE_END;
    let before = end.sent.checked_sub(end.known)?;
    // What is said at the door is said before anything is read, and only there does a server close first by itself: else these
    // words are another client's, or part of a value.
    let is_of_the_door = matches!(code, Code::RT6001 | Code::RT6002) || end.parting != Parting::Left;
    if is_of_the_door && end.read.is_some_and(|read| read > 0) {
        return None;
    }
    match before {
        _ if before.is_multiple_of(line) => Some(code),
        // Once more: a password was refused, and what came after it was too.
        _ if code == Code::RT6003 && begins_with_wrong_password(before, line) => Some(Code::RT6004),
        _ => None,
    }
}

/// So many bytes are what is said of one wrong password, and lines of this length.
fn begins_with_wrong_password(bytes: u32, line: u32) -> bool {
    let mut rests = reply::WRONG_PASSWORD_LENGTHS.iter().filter_map(|length| bytes.checked_sub(*length));
    rests.any(|rest| rest.is_multiple_of(line))
}

/// A server of Redis's kind that closed: what it says in each case is known to the byte, and how it stands may tell more.
fn of_redis(end: &EarlyEnd, standing: Option<&Standing>) -> Option<(Code, Confidence)> {
    let (read, is_soon) = (end.read?, end.idle_ms < AT_ONCE);
    match (end.sent, read, end.parting) {
        // A TLS port at its limit says nothing: the handshake would have to come first.
        (0, 0, Parting::Closed | Parting::Reset) if is_soon => Some(match standing {
            Some(standing) if is_tls(standing) && standing.is_full() => (Code::RT6002, Confidence::Likely),
            _ => (Code::RT6008, Confidence::Likely),
        }),
        (0, TLS_HEADER, Parting::Reset | Parting::Waited) => Some((Code::RT5001, Confidence::Likely)),
        (0, _, Parting::Closed) if is_soon && read >= SHORTEST_HTTP => Some((Code::RT6009, Confidence::Likely)),
        (_, _, Parting::Waited) => waited(end, standing),
        (0, ..) => None,
        (sent, 0, _) => reply::of_length(sent).map(|code| (code, Confidence::Likely)),
        _ => None,
    }
}

/// The port that was looked at is the one for TLS.
fn is_tls(standing: &Standing) -> bool {
    standing.settings.as_ref().is_some_and(|settings| settings.tls_port == standing.port)
}

/// A server closed though its client had asked nothing. That it meant to is sure, why it did is not: a `timeout` that has
/// passed and answers that nobody took speak for themselves, a command such as CLIENT KILL leaves no trace.
fn waited(end: &EarlyEnd, standing: Option<&Standing>) -> Option<(Code, Confidence)> {
    match Closing::of(end, standing) {
        Closing::Idle(_) | Closing::Untaken => Some((Code::RT6010, Confidence::Likely)),
        // One that never was answered may not have been served at all.
        Closing::Unsaid if end.sent == 0 => None,
        Closing::Unsaid => {
            let is_not_idleness = standing.is_some_and(|standing| standing.settings.is_some());
            Some((Code::RT6010, if is_not_idleness { Confidence::Likely } else { Confidence::Possible }))
        }
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
    match server(end, known).filter(is_redis_like) {
        Some(owner) => verdict(Code::RT5002, Confidence::Likely, Some(owner), None),
        None => Judged::Nothing,
    }
}

/// Who serves: the end that tells, or whoever listens there on this host.
fn server(end: &EarlyEnd, known: &Known) -> Option<Process> {
    if let Some(task) = &end.server {
        return Some(known.process_of(task));
    }
    let Flow { netns, server, .. } = end.flow;
    let mut here = known.listeners.on(netns, server.port).iter().chain(known.listeners.elsewhere(netns, server.port));
    let listener = here.find(|listener| {
        let flow = Flow { netns: listener.socket.netns, ifindex: listener.socket.ifindex, ..end.flow };
        accepts(&listener.socket, &flow)
    })?;
    listener.owner.as_deref().cloned()
}

fn verdict(code: Code, confidence: Confidence, server: Option<Process>, standing: Option<Standing>) -> Judged {
    Verdict { cause: Cause::Rejected(Box::new(Rejected { code, server, standing })), confidence }.into()
}

#[cfg(test)]
mod tests {
    use super::begins_with_wrong_password;

    #[test]
    fn a_wrong_password_is_known_by_its_length_in_each_version() {
        // `-NOAUTH Authentication required.` and its line's end.
        const LINE: u32 = 34;
        for wrong in [64, 43, 23] {
            assert!(begins_with_wrong_password(wrong, LINE) && begins_with_wrong_password(wrong + 2 * LINE, LINE));
        }
        assert!(!begins_with_wrong_password(2 * LINE, LINE) && !begins_with_wrong_password(5, LINE));
    }
}
