//! The why, in one sentence.

use crate::trace::fact::{BoundSocket, Ending, Process, UnixListener, UnixPath};
use crate::trace::known::{EndedListener, FailedBind, FailedStart, Known, Listener, OomLimit, Sent};
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::verdict::{Cause, Verdict};

use super::{denial, elsewhere, filtered, firewall, queue, rejected, words};

pub(super) fn summary(refusal: &Refusal, verdict: &Verdict, known: &Known) -> String {
    let (now, target) = (refusal.time, target(&refusal.attempt));
    match &verdict.cause {
        Cause::Unknown { missing } => format!("the cause is not known: {missing}"),
        Cause::NoListener => format!(
            "nothing listens on {target}, and nothing has in the {} that redis-trace has watched",
            words::span(now.saturating_sub(known.sight.since))
        ),
        Cause::ListenerExited { ended, time, code, asked } => {
            let exited = exited(*code, asked.as_ref(), &words::ago(*time, now));
            format!("nothing listens on {target}; {} {exited}", listened(ended))
        }
        Cause::ListenerKilled { ended, time, signal, by } => {
            let killed = by_signal(*signal, by.as_ref(), &words::ago(*time, now));
            format!("nothing listens on {target}; {} was killed by {killed}", listened(ended))
        }
        Cause::ListenerOomKilled { ended, time, limit } => {
            let (listened, ago) = (listened(ended), words::ago(*time, now));
            format!(
                "nothing listens on {target}; {listened} was killed by the OOM killer {ago}{}",
                whose_memory(*limit)
            )
        }
        Cause::ListenerCrashed { ended, time, signal, core, by } => {
            let crashed = by_signal(*signal, by.as_ref(), &words::ago(*time, now));
            let core = if *core { ", core dumped" } else { "" };
            format!("nothing listens on {target}; {} crashed with {crashed}{core}", listened(ended))
        }
        Cause::ListenerClosed { ended } => format!(
            "nothing listens on {target}; {} lives but closed its listening socket {}",
            words::process(&ended.process),
            words::ago(ended.time, now)
        ),
        Cause::BoundToOtherAddress { listeners } | Cause::OtherAddressFamily { listeners } => {
            let owner = words::owner(listeners.first().and_then(|listener| listener.owner.as_deref()));
            format!("nothing listens on {target}; {owner} listens on {} only", words::places(listeners))
        }
        Cause::BoundToOtherPort { listeners } => {
            let owner = words::owner(listeners.first().and_then(|listener| listener.owner.as_deref()));
            format!("nothing listens on {target}; {owner} listens on {} here", words::places(listeners))
        }
        Cause::ListenerInOtherNetns { listeners } => {
            format!("nothing listens on {target} in this network namespace; {}", elsewhere(listeners, known))
        }
        Cause::AddressInUse { failed, holder } => after_bind(refusal, failed, &holds(holder.as_ref())),
        Cause::AddressNotAvailable { failed } => {
            let why = format!("{} is on no interface here (EADDRNOTAVAIL)", failed.socket.local.ip);
            after_bind(refusal, failed, &why)
        }
        Cause::PrivilegedPort { failed } => privileged(refusal, failed),
        Cause::BoundNotListening { socket, owner } => {
            format!("{} is bound to {} and has not called listen", words::owner(owner.as_ref()), socket.local)
        }
        Cause::UnixSocketStale { path, is_socket } => stale(path, *is_socket),
        Cause::UnixSocketMissing { path, real } => {
            format!("{} does not exist{}", words::unix_path(path), instead(real))
        }
        Cause::UnixSocketPermission { path, forbidden } => format!(
            "the caller may not use {}: {} has mode {:04o}, owner {}:{}",
            words::unix_path(path),
            forbidden.path,
            forbidden.mode & 0o7777,
            forbidden.uid,
            forbidden.gid
        ),
        Cause::SkLookupRefused { listener } => format!(
            "{} listens on {}, but an sk_lookup BPF program of this network namespace refused the connection",
            words::owner(listener.owner.as_deref()),
            words::place(listener)
        ),
        Cause::StartFailed { failed } => start_failed(refusal, failed),
        Cause::Denied(denied) | Cause::StartDenied(denied) => denial::summary(refusal, denied, &[]),
        Cause::PartlyDenied { denied, listeners } => denial::summary(refusal, denied, listeners),
        Cause::PartialListen { failed, listeners } => format!(
            "nothing listens on {target}; {} could not bind {} ({}) when it started and listens on {} only",
            words::process(&failed.process),
            failed.socket.local,
            crate::trace::errno::name(failed.errno),
            words::places(listeners)
        ),
        Cause::UnixSocketOnly { listener } => format!(
            "nothing listens on {target}; {} listens on the unix socket {} only (port 0)",
            words::process(&listener.owner),
            words::unix_path(&listener.path)
        ),
        Cause::AcceptQueueFull { .. }
        | Cause::SynQueueFull { .. }
        | Cause::UnixBacklogFull { .. }
        | Cause::SomeQueueFull { .. }
        | Cause::FdLimit { .. }
        | Cause::ListenerClosedWithQueue { .. } => queue::summary(&verdict.cause),
        Cause::Firewall { filtered } => firewall::summary(&target, filtered),
        Cause::NatToNowhere { dialled, arrived, rule } => firewall::led(*dialled, *arrived, rule.as_ref()),
        Cause::ConntrackFull { count, most } => filtered::tracked(&target, *count, *most),
        Cause::PacketFiltered { dropped } => filtered::summary(&target, dropped),
        Cause::Dialling(cause) => elsewhere::summary(refusal, cause, &target),
        Cause::Rejected(it) => rejected::summary(&refusal.attempt, it),
        Cause::Redirected(it) => rejected::redirected(&target, it),
    }
}

/// Who holds an address.
fn holds(holder: Option<&BoundSocket>) -> String {
    let holder = holder.map_or_else(
        || "its holder is gone or not known".to_owned(),
        |holder| format!("{} holds {}", words::owner(holder.owner.as_deref()), holder.socket.local),
    );
    format!("the address is in use (EADDRINUSE): {holder}")
}

/// What was dialled, or asked for.
pub(super) fn target(attempt: &Attempt) -> String {
    match attempt {
        Attempt::Connect(connect) => connect.flow().map_or_else(String::new, |flow| flow.server.to_string()),
        Attempt::Unix { path, .. } => words::unix_path(path).to_string(),
        Attempt::Listen(bind) => bind.socket.local.to_string(),
        Attempt::Socket { task, .. } => format!("pid {}", task.pid),
        Attempt::Early(end) => end.flow.server.to_string(),
        Attempt::Overflow(overflow) => overflow.flow.server.to_string(),
        Attempt::Counted(overflows) => {
            overflows.full.first().map_or_else(String::new, |full| full.socket.local.to_string())
        }
        Attempt::Accept(failed) => failed.socket.local.to_string(),
        Attempt::Closed(closed) => closed.socket.local.to_string(),
        Attempt::Start(process) => format!("pid {}", process.pid),
    }
}

/// `redis-server (pid 991), which listened there,`.
fn listened(ended: &EndedListener) -> String {
    format!("{}, which listened there,", words::process(&ended.process))
}

fn exited(code: Option<u8>, asked: Option<&Sent>, ago: &str) -> String {
    let how = code.map_or_else(|| "ended; its exit was not seen".to_owned(), |code| format!("exited with code {code}"));
    let asked = asked
        .map(|sent| format!(" after {}{}", words::signal(sent.signal), words::sent_by(Some(sent))))
        .unwrap_or_default();
    format!("{how}{asked} {ago}")
}

fn by_signal(signal: u8, by: Option<&Sent>, ago: &str) -> String {
    format!("{}{} {ago}", words::signal(u32::from(signal)), words::sent_by(by))
}

fn whose_memory(limit: OomLimit) -> &'static str {
    match limit {
        OomLimit::Cgroup => ": its memory cgroup was at its limit",
        OomLimit::Host => ": the host was out of memory",
        OomLimit::Unsaid => "",
    }
}

fn elsewhere(listeners: &[Listener], known: &Known) -> String {
    let there = listeners.iter().map(|listener| {
        let netns = words::netns(listener.socket.netns, known);
        format!("{} listens on {} in {netns}", words::owner(listener.owner.as_deref()), words::place(listener))
    });
    words::list(&there.collect::<Vec<_>>())
}

fn instead(real: &[UnixListener]) -> String {
    let real: Vec<String> = real
        .iter()
        .map(|listener| format!("{} listens on {}", words::process(&listener.owner), words::unix_path(&listener.path)))
        .collect();
    if real.is_empty() { String::new() } else { format!("; {}", words::list(&real)) }
}

/// The failed bind itself, or the refusal that came of it.
fn after_bind(refusal: &Refusal, failed: &FailedBind, why: &str) -> String {
    let process = words::process(&failed.process);
    let wanted = failed.socket.local;
    match &refusal.attempt {
        Attempt::Listen(_) => format!("{process} could not listen on {wanted}: {why}"),
        _ => format!(
            "nothing listens on {}; {process} could not bind {wanted} {}: {why}",
            target(&refusal.attempt),
            words::ago(failed.time, refusal.time)
        ),
    }
}

fn privileged(refusal: &Refusal, failed: &FailedBind) -> String {
    let why = format!("port {} needs CAP_NET_BIND_SERVICE (EACCES)", failed.socket.local.port);
    after_bind(refusal, failed, &why)
}

fn start_failed(refusal: &Refusal, failed: &FailedStart) -> String {
    let why = match (&failed.fault, &failed.ending) {
        (Some(fault), _) => match &fault.config {
            Some(config) => format!("{}:{}: {}", config.file, config.line, fault.line),
            None => fault.line.to_string(),
        },
        (None, ending) => format!("it {}, and its last words were not found", ended_how(*ending)),
    };
    let process: &Process = &failed.process;
    match &refusal.attempt {
        Attempt::Start(_) => format!("{} did not start: {why}", words::process(process)),
        _ => format!(
            "nothing listens on {}; {} did not start {}: {why}",
            target(&refusal.attempt),
            words::process(process),
            words::ago(failed.time, refusal.time)
        ),
    }
}

/// `exited with code 1`, `was killed by SIGKILL`.
pub(super) fn ended_how(ending: Ending) -> String {
    match ending {
        Ending::Exited(code) => format!("exited with code {code}"),
        Ending::Killed { signal, .. } => {
            format!("was killed by {}", words::signal(u32::from(signal)))
        }
    }
}

fn stale(path: &UnixPath, is_socket: bool) -> String {
    match (path, is_socket) {
        (UnixPath::Abstract(_), _) => {
            format!("nobody listens on the abstract name {} in this network namespace", words::unix_path(path))
        }
        (UnixPath::File(path), true) => format!("{path} exists, but the server that made it is gone"),
        (UnixPath::File(path), false) => format!("{path} exists, but it is no socket"),
    }
}
