//! Words about full queues.

use std::fmt::Write as _;

use crate::trace::container;
use crate::trace::errno;
use crate::trace::fact::Process;
use crate::trace::fact::{Ending, Overflow, Overflows, QueueKind, Serving};
use crate::trace::known::is_redis_like;
use crate::trace::queue::{FullQueue, Stall};
use crate::trace::refusal::Attempt;
use crate::trace::report::{Evidence, Fix};

use crate::trace::verdict::Cause;

use super::{files, words};

/// A wait that says something of whoever should accept, nanoseconds.
const WORTH_SAYING: u64 = 100_000_000;

/// The why, in one sentence.
pub(super) fn summary(cause: &Cause) -> String {
    match cause {
        Cause::SomeQueueFull { kind, places } => some(*kind, places),
        Cause::FdLimit { no_file } => files::summary(no_file),
        Cause::ListenerClosedWithQueue { queue, ending } => closed(queue, *ending),
        other => of(other).map_or_else(String::new, full),
    }
}

/// What would end it.
pub(super) fn fix(cause: &Cause) -> Vec<Fix> {
    if let Cause::FdLimit { no_file } = cause {
        return files::fix(no_file);
    }
    let command = |text: &str, command: &str| Fix { command: Some(command.to_owned()), ..super::fix::advice(text) };
    match (cause, of(cause)) {
        (Cause::ListenerClosedWithQueue { .. }, _) => {
            vec![super::fix::advice("let clients dial again; a server that is to end should first accept who waits")]
        }
        (_, Some(queue)) => empty(queue),
        (_, None) => vec![command("look for listeners with more in Recv-Q than in Send-Q", "ss -ltn")],
    }
}

/// The queue that it is about.
pub(super) fn of(cause: &Cause) -> Option<&FullQueue> {
    match cause {
        Cause::AcceptQueueFull { queue }
        | Cause::SynQueueFull { queue }
        | Cause::UnixBacklogFull { queue }
        | Cause::ListenerClosedWithQueue { queue, .. } => Some(queue),
        _ => None,
    }
}

/// `the accept queue of 127.0.0.1:6379 is full (6 wait, 5 allowed by tcp-backlog): redis-server (pid 991) does not accept, …`.
fn full(queue: &FullQueue) -> String {
    let FullQueue { kind, place, owner, length, stall, .. } = queue;
    let name = match kind {
        QueueKind::Accept => "accept queue",
        QueueKind::Syn => "SYN queue",
        QueueKind::Unix => "queue",
    };
    let owner = words::owner(owner.as_ref());
    let full = format!("the {name} of {place} is full ({length} in it, {})", limit(queue));
    match (kind, why(stall)) {
        (QueueKind::Syn, _) => {
            format!("{full}: handshakes do not end as fast as they begin, a flood or a slow network")
        }
        (_, Some(why)) => format!("{full}: {owner} {why}"),
        (_, None) => format!("{full}: {owner} does not accept, and why was not seen"),
    }
}

/// `limit 5 by tcp-backlog`.
fn limit(queue: &FullQueue) -> String {
    let by = queue.limited_by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    format!("limit {}{by}", queue.limit)
}

/// A clause that goes with the process.
fn why(stall: &Stall) -> Option<String> {
    Some(match stall {
        Stall::Stopped(Some(sent)) => {
            format!("does not accept: it is stopped by {}{}", words::signal(sent.signal), words::sent_by(Some(sent)))
        }
        Stall::Stopped(None) => "does not accept: it is stopped (state T)".to_owned(),
        Stall::Traced => "does not accept: a debugger holds it (state t)".to_owned(),
        Stall::Frozen => "does not accept: its cgroup is frozen (docker pause, systemctl freeze)".to_owned(),
        Stall::Blocked => {
            "does not accept: it waits in the kernel and no signal reaches it (state D), most often for a disk or a \
             network file system"
                .to_owned()
        }
        Stall::OutOfFiles { limit } => format!("cannot accept: all {limit} files that it may open are (EMFILE)"),
        Stall::HostOutOfFiles => "cannot accept: this host may open no more files (ENFILE, fs.file-max)".to_owned(),
        Stall::Denied(errno) => format!("cannot accept: a security module denies it ({})", errno::name(*errno)),
        Stall::Busy => "does not accept: it is busy on the CPU and does not come to its event loop".to_owned(),
        Stall::InCall(call) => format!("does not accept: it is in {call}"),
        Stall::NotAccepting(Some(call)) => format!("does not call accept: it waits in {call}"),
        Stall::NotAccepting(None) => "does not call accept: it sleeps".to_owned(),
        Stall::Slow => "accepts, but not fast enough".to_owned(),
        Stall::Unseen => return None,
    })
}

/// That some queue was full, of which it is not known whose.
fn some(kind: QueueKind, places: &[String]) -> String {
    let name = if kind == QueueKind::Syn { "a SYN queue" } else { "an accept queue" };
    let are = if places.is_empty() {
        "and none is any more".to_owned()
    } else {
        format!("and several are, of {}", words::list(places))
    };
    format!("{name} of this network namespace was full, {are}: whose it was, tier 1 would tell")
}

/// `redis-server (pid 991) was killed by SIGKILL while 5 connections waited …`.
fn closed(queue: &FullQueue, ending: Option<Ending>) -> String {
    let how = match ending {
        Some(ending) => super::summary::ended_how(ending),
        None => "closed its listening socket".to_owned(),
    };
    let plural = if queue.length == 1 { "" } else { "s" };
    format!(
        "{} {how} while {} connection{plural} waited to be accepted on {} ({}): the kernel reset them",
        words::owner(queue.owner.as_ref()),
        queue.length,
        queue.place,
        limit(queue)
    )
}

/// What was seen of the packet itself.
pub(super) fn of_overflow(overflow: &Overflow) -> Evidence {
    let (source, packet) = match (overflow.by_ack, overflow.reset) {
        (false, _) => ("tcp_conn_request", "the kernel took the SYN and did not answer it"),
        (true, false) => ("tcp_v4_syn_recv_sock", "the kernel dropped the handshake's last ACK"),
        (true, true) => (
            "tcp_v4_syn_recv_sock",
            "the kernel answered the handshake's last ACK with a reset (tcp_abort_on_overflow)",
        ),
    };
    let (length, limit) = (overflow.length, overflow.limit);
    Evidence { source: source.to_owned(), text: format!("{packet}: {length} in the queue, limit {limit}") }
}

/// What was counted.
pub(super) fn of_counters(overflows: &Overflows) -> Evidence {
    let counter = if overflows.queue == QueueKind::Syn { "TCPReqQFullDrop" } else { "ListenOverflows" };
    let text = format!("{counter} grew by {} in this network namespace", overflows.number);
    Evidence { source: "/proc/net/netstat".to_owned(), text }
}

/// What was seen of the queue.
pub(super) fn of_queue(queue: &FullQueue) -> Vec<Evidence> {
    let FullQueue { place, owner, length, limit, oldest, serving, .. } = queue;
    let source = if queue.kind == QueueKind::Unix { "unix_diag" } else { "sock_diag" };
    let owner = words::owner(owner.as_ref());
    let text = format!("listener {place}, {owner}: {length} in the queue (ss Recv-Q), limit {limit} (Send-Q)");
    let mut evidence = vec![Evidence { source: source.to_owned(), text }];
    if let Some(oldest) = oldest.filter(|oldest| *oldest >= WORTH_SAYING) {
        let text =
            format!("nobody has accepted for {}: so long has the first in the queue waited", words::span(oldest));
        evidence.push(Evidence { source: source.to_owned(), text });
    }
    evidence.extend(serving.as_ref().map(of_serving));
    evidence
}

/// What its owner did at that moment.
fn of_serving(serving: &Serving) -> Evidence {
    let Serving { state, ran, looks, call, files, files_limit, .. } = serving;
    let mut text = format!("its owner was {} and ran at {ran} of {looks} looks", state.name());
    if let Some(call) = call {
        let _ = write!(text, ", in {call}");
    }
    if let (Some(files), Some(limit)) = (files, files_limit) {
        let _ = write!(text, "; {files} files open, {limit} allowed");
    }
    Evidence { source: "/proc/PID".to_owned(), text }
}

/// What would empty the queue; more room is never the first thing.
fn empty(queue: &FullQueue) -> Vec<Fix> {
    if queue.kind == QueueKind::Syn {
        let command = Some("sysctl -w net.ipv4.tcp_syncookies=1".to_owned());
        return vec![Fix { command, ..super::fix::advice("let SYN cookies stand in for the queue") }];
    }
    let pid = queue.owner.as_ref().map(|owner| owner.pid);
    let is_redis = queue.owner.as_ref().is_some_and(is_redis_like);
    let command = |text: &str, command: String| Fix { command: Some(command), ..super::fix::advice(text) };
    let first = match (&queue.stall, pid) {
        (Stall::Stopped(_), Some(pid)) => command("let it go on", format!("kill -CONT {pid}")),
        (Stall::Frozen, _) => thaw(queue.owner.as_ref()),
        (Stall::Traced, _) => super::fix::advice("detach the debugger"),
        (Stall::Blocked, Some(pid)) => command("see what it waits for", format!("cat /proc/{pid}/stack")),
        (Stall::OutOfFiles { limit }, Some(pid)) => {
            let more = limit.saturating_mul(16).max(10_240);
            command(
                "let it open more files, and raise LimitNOFILE= or ulimit -n",
                format!("prlimit --pid {pid} --nofile={more}"),
            )
        }
        (Stall::Busy | Stall::InCall(_), _) if is_redis => {
            command("find the command that takes so long", "redis-cli slowlog get 5".to_owned())
        }
        (Stall::Slow, _) => super::fix::advice("let the server accept more at a time, or spread the clients' dials"),
        (_, Some(pid)) => command("see what it does instead of accepting", format!("strace -fp {pid}")),
        (_, None) => super::fix::advice("find out why the server does not accept"),
    };
    let room = match queue.limited_by.as_deref() {
        Some("net.core.somaxconn") => Some(command(
            "a longer queue takes bursts, not a standstill",
            "sysctl -w net.core.somaxconn=4096".to_owned(),
        )),
        Some("tcp-backlog") => {
            Some(command("a longer queue takes bursts, not a standstill", "tcp-backlog 511".to_owned()))
        }
        _ => None,
    };
    std::iter::once(first).chain(room).collect()
}

/// What lets a frozen cgroup run again.
fn thaw(owner: Option<&Process>) -> Fix {
    let cgroup = owner.and_then(|owner| owner.cgroup.as_ref());
    let (container, unit) = cgroup.map_or((None, None), container::of);
    let command = match (container, unit, cgroup) {
        (Some(container), ..) if container.runtime == "docker" => Some(format!("docker unpause {}", container.id)),
        (Some(container), ..) if container.runtime == "podman" => Some(format!("podman unpause {}", container.id)),
        (None, Some(unit), _) => Some(format!("systemctl thaw {unit}")),
        (.., Some(cgroup)) => Some(format!("echo 0 > /sys/fs/cgroup{cgroup}/cgroup.freeze")),
        (.., None) => None,
    };
    Fix { command, ..super::fix::advice("let its cgroup run again") }
}

/// The queue that an attempt met, as far as it says so itself.
pub(super) fn attempt(attempt: &Attempt) -> Option<Evidence> {
    match attempt {
        Attempt::Overflow(overflow) => Some(of_overflow(overflow)),
        Attempt::Counted(overflows) => Some(of_counters(overflows)),
        Attempt::Accept(failed) => Some(files::of_accept(failed)),
        _ => None,
    }
}
