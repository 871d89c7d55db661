//! Words about servers that took a connection and said no.

use crate::redis::reply::{self, Said};
use crate::trace::cause::Code;
use crate::trace::fact::{EarlyEnd, Parting};
use crate::trace::refusal::Attempt;
use crate::trace::report::{Evidence, Fix};
use crate::trace::verdict::Rejected;

use super::evidence::seen;
use super::fix::advice;
use super::words;

/// The end of the connection that an attempt is.
pub(super) fn end(attempt: &Attempt) -> Option<&EarlyEnd> {
    if let Attempt::Early(end) = attempt { Some(end) } else { None }
}

/// What the server's no means: by its words where they are known.
fn meant(end: &EarlyEnd, code: Code) -> Option<Said> {
    let words = end.reply.as_ref().and_then(|words| words.as_str().strip_prefix('-'));
    words.and_then(reply::of_error).filter(|said| said.code == code).or_else(|| reply::of_code(code))
}

/// The why, in one sentence.
pub(super) fn summary(attempt: &Attempt, rejected: &Rejected) -> String {
    let Some(end) = end(attempt) else { return String::new() };
    let server = match &rejected.server {
        Some(process) => format!("{} on {}", words::process(process), end.flow.server),
        None => format!("the server on {}", end.flow.server),
    };
    let what = match (rejected.code, &end.reply) {
        (Code::RT5001, _) => "read five bytes, the header of a TLS record, and closed without a word",
        (Code::RT5002, _) => "did not answer a TLS ClientHello",
        (Code::RT6008, _) => return format!("{server} took the connection and closed it without a word"),
        (Code::RT6009, _) => {
            return format!(
                "{server} read what came and closed without a word, as Redis does when it is spoken to by HTTP"
            );
        }
        (_, Some(_)) => "said no",
        (_, None) => "closed before it had read anything, after as many bytes as its refusal has",
    };
    format!("{server} {what}: {}", meant(end, rejected.code).map_or("", |said| said.meaning))
}

/// What it rests on: the words, and what went each way.
pub(super) fn evidence(end: &EarlyEnd) -> Vec<Evidence> {
    let words = end.reply.as_ref().map(|words| seen("reply", format!("it said: {words}")));
    let read = end.read.map_or_else(String::new, |read| format!(", of which it read {read},"));
    let how = match end.parting {
        Parting::Closed => "the server closed",
        Parting::Reset => "the server closed with data unread, which is a reset",
        Parting::Left => "the client closed, then the server",
        Parting::LeftByServer => "the server ended it",
        Parting::HelloUnanswered => "the client closed",
    };
    let text = format!(
        "the server sent {} byte{}, the client {}{read} and {how}",
        end.sent,
        if end.sent == 1 { "" } else { "s" },
        end.received
    );
    words.into_iter().chain([seen("inet_sock_set_state", text)]).collect()
}

/// What would end it.
pub(super) fn fix(attempt: &Attempt, rejected: &Rejected) -> Vec<Fix> {
    let Some(end) = end(attempt) else { return Vec::new() };
    if rejected.code == Code::RT6009 {
        let text = "let health checks speak Redis's protocol, and web clients dial the port of their own server";
        return vec![Fix { command: Some("redis-cli ping".to_owned()), ..advice(text) }];
    }
    let fixes = meant(end, rejected.code).map_or(&[][..], |said| said.fix).iter();
    let mut fixes: Vec<Fix> =
        fixes.map(|(text, command)| Fix { command: command.map(str::to_owned), ..advice(text) }).collect();
    if rejected.code == Code::RT6001 && binds_by_name(end) {
        fixes.push(Fix {
            risk: Some("whoever reaches that address is let in without a password".to_owned()),
            ..advice("name the addresses in `bind`: before version 7.0 that ends protected mode")
        });
    }
    fixes
}

/// Whether protected mode ends once `bind` names addresses: Redis up to 6.2 and `KeyDB` say so, and by how much they say.
fn binds_by_name(end: &EarlyEnd) -> bool {
    match &end.reply {
        Some(words) => words.as_str().contains("no bind address"),
        None => matches!(end.sent, 1100 | 1101),
    }
}
