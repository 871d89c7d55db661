//! Words about servers that took a connection and said no.

use crate::redis::reply::{self, Said};
use crate::trace::cause::Code;
use crate::trace::early::Closing;
use crate::trace::fact::{Decisive, EarlyEnd, Parting, Standing};
use crate::trace::known::Redirect;
use crate::trace::refusal::Attempt;
use crate::trace::report::{Evidence, Fix};
use crate::trace::verdict::{Redirected, Rejected};

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
    if let (Code::RT5003, Some(alert)) = (rejected.code, end.alert) {
        return alerted(end, alert, &server);
    }
    let what = match (rejected.code, &end.reply) {
        (Code::RT6010, _) => return closing(end, rejected.standing.as_ref(), &server),
        (Code::RT6002, None) if end.sent == 0 => "closed without a word, as a TLS port at its limit does",
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

/// Who ended a TLS handshake, and over what.
fn alerted(end: &EarlyEnd, alert: u8, server: &str) -> String {
    let says = reply::alert(alert);
    if end.parting == Parting::Alerted {
        format!("the client ended its TLS handshake with {server}: it says {says}{}", reply::complaint(alert, true))
    } else {
        format!("{server} ended the TLS handshake: it says {says}{}", reply::complaint(alert, false))
    }
}

/// Why a server closed a connection that waited, as far as that can be told.
fn closing(end: &EarlyEnd, standing: Option<&Standing>, server: &str) -> String {
    let idle = words::span(u64::from(end.idle_ms) * 1_000_000);
    match Closing::of(end, standing) {
        Closing::Idle(timeout) => {
            format!("{server} closed a connection that had been idle for {idle}: its timeout is {timeout} s")
        }
        Closing::Untaken => format!(
            "{server} closed a connection whose client had not taken {} bytes that it was sent: it reads too slowly, and its \
             output buffer reached its limit, or it was killed by a command",
            end.waiting
        ),
        Closing::Unsaid => {
            let timeout = match standing.and_then(|standing| standing.settings.as_ref()) {
                Some(settings) if settings.timeout == 0 => "no timeout is configured, so it was told to: ",
                Some(_) => "its timeout had not passed, so it was told to: ",
                None => "after its timeout, or because it was told to: ",
            };
            format!(
                "{server} closed an established connection whose client had asked nothing for {idle}: {timeout}CLIENT KILL, an \
                 ACL that was changed, a failover, or an answer larger than its output buffer's limit"
            )
        }
    }
}

/// That a server had sent the client to where it was refused.
pub fn redirected(target: &str, it: &Redirected) -> String {
    let Redirect { server, on, words, .. } = &it.redirect;
    let words = words.as_ref().map_or_else(|| "by its Sentinel's answer".to_owned(), |words| format!("by {words}"));
    let found = match it.code {
        Code::RT1001 | Code::RT1008 => "nothing listens there",
        Code::RT4003 => "nobody answers there",
        Code::RT3030 => "no way leads there",
        _ => "it is refused there",
    };
    format!("{} on {on} sent its client to {target}, {words}, and {found}", words::process(server))
}

/// The server's words, or its answer.
pub(super) fn sent(redirect: &Redirect) -> Evidence {
    let Redirect { server, on, to, words, .. } = redirect;
    let server = words::process(server);
    match words {
        Some(words) => seen("reply", format!("{server} on {on} said: {words}")),
        None => seen("reply", format!("{server} on {on} answered with the address {to}")),
    }
}

/// What keeps a server from sending its clients to where nobody is.
pub(super) fn fix_redirect(redirect: &Redirect) -> Vec<Fix> {
    let Redirect { on, to, words, .. } = redirect;
    let look = if words.is_some() { "CLUSTER NODES" } else { "SENTINEL MASTERS" };
    let announce = if words.is_some() {
        "cluster-announce-ip and cluster-announce-port"
    } else {
        "sentinel announce-ip and replica-announce-ip"
    };
    vec![
        Fix {
            command: Some(format!("redis-cli -h {} -p {} {look}", on.ip, on.port)),
            ..advice(&format!("see whom {on} believes at {to}"))
        },
        advice(&format!("start the server that belongs there, or let it announce where clients reach it ({announce})")),
    ]
}

/// How the server stands: who is connected, and the line that decides.
pub(super) fn standing(rejected: &Rejected) -> Vec<Evidence> {
    let Some(standing) = &rejected.standing else { return Vec::new() };
    let mut evidence = Vec::new();
    if let (Code::RT6002, Some(connected)) = (rejected.code, standing.connected) {
        let files = standing.files.map_or_else(String::new, |files| format!(", and {files} open files at most"));
        let takes = standing.takes().map_or_else(String::new, |takes| format!("; it takes {takes}{files}"));
        evidence.push(seen("sock_diag", format!("connected to port {}: {connected}{takes}", standing.port)));
    }
    evidence.extend(directives(rejected.code).iter().filter_map(|name| standing.decides(name)).map(decisive));
    evidence
}

/// The directives that decide what a server says no to.
fn directives(code: Code) -> &'static [&'static str] {
    match code {
        Code::RT6001 => &["protected-mode", "requirepass"],
        Code::RT6002 => &["maxclients"],
        Code::RT6003 | Code::RT6004 => &["requirepass"],
        Code::RT6006 => &["maxmemory", "dir"],
        Code::RT6010 => &["timeout", "client-output-buffer-limit"],
        _ => &[],
    }
}

/// A line of the configuration, or an option.
fn decisive(decisive: &Decisive) -> Evidence {
    match decisive {
        Decisive::Line(line) => seen("configuration", format!("{} line {}: {}", line.file, line.line, line.text)),
        Decisive::Option(text) => seen("command line", format!("started with --{text}")),
    }
}

/// What it rests on: the words, and what went each way.
pub(super) fn evidence(end: &EarlyEnd) -> Vec<Evidence> {
    let words = end.reply.as_ref().map(|words| seen("reply", format!("it said: {words}")));
    let read = end.read.map_or_else(String::new, |read| format!(", of which it read {read},"));
    let how = match end.parting {
        Parting::Closed | Parting::Waited => "the server closed",
        Parting::Reset => "the server closed with data unread, which is a reset",
        Parting::Left => "the client closed, then the server",
        Parting::LeftByServer => "the server ended it",
        Parting::HelloUnanswered | Parting::Alerted => "the client closed",
    };
    let after = match end.parting {
        Parting::Waited => {
            format!("; data had come {} ms before, and been sent {} ms before", end.idle_ms, end.quiet_ms)
        }
        _ => String::new(),
    };
    let text = format!(
        "the server sent {} byte{}, the client {}{read} and {how}{after}",
        end.sent,
        if end.sent == 1 { "" } else { "s" },
        end.received
    );
    let alert = end.alert.map(|alert| seen("alert", format!("TLS alert {alert}: {}", reply::alert(alert))));
    words.into_iter().chain(alert).chain([seen("inet_sock_set_state", text)]).collect()
}

/// What would end it.
pub(super) fn fix(attempt: &Attempt, rejected: &Rejected) -> Vec<Fix> {
    let Some(end) = end(attempt) else { return Vec::new() };
    if rejected.code == Code::RT6009 {
        let text = "let health checks speak Redis's protocol, and web clients dial the port of their own server";
        return vec![Fix { command: Some("redis-cli ping".to_owned()), ..advice(text) }];
    }
    if rejected.code == Code::RT6010 {
        return fix_closing(Closing::of(end, rejected.standing.as_ref()));
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

/// What keeps a server from closing.
fn fix_closing(closing: Closing) -> Vec<Fix> {
    let command = |text: &str, command: &str| Fix { command: Some(command.to_owned()), ..advice(text) };
    match closing {
        Closing::Idle(timeout) => vec![
            advice(&format!(
                "let the client's pool drop idle connections after less than {timeout} s, or keep them alive"
            )),
            command("or let the server wait for ever", "redis-cli CONFIG SET timeout 0"),
        ],
        Closing::Untaken => vec![
            advice("let the client read faster, or ask for less at a time"),
            Fix {
                risk: Some("the server holds as much memory for each such client".to_owned()),
                ..command("or raise the limit of its class", "redis-cli CONFIG GET client-output-buffer-limit")
            },
        ],
        Closing::Unsaid => vec![
            command("see whether such a command was given", "redis-cli INFO commandstats | grep -i client"),
            advice("let the client connect again when its connection is closed"),
        ],
    }
}

/// Whether protected mode ends once `bind` names addresses: Redis up to 6.2 and `KeyDB` say so, and by how much they say.
fn binds_by_name(end: &EarlyEnd) -> bool {
    match &end.reply {
        Some(words) => words.as_str().contains("no bind address"),
        None => matches!(end.sent, 1100 | 1101),
    }
}
