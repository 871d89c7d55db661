//! From a verdict to words: the summary, the evidence and the fix.

mod denial;
mod elsewhere;
mod evidence;
mod files;
mod filtered;
mod firewall;
mod fix;
mod queue;
mod rejected;
mod summary;
mod words;

pub(crate) use firewall::rule;

use crate::redis::kin;

use super::container;
use super::errno::{self, ECONNREFUSED, ETIMEDOUT};
use super::fact::{Overflow, Process, Task};
use super::files::FilesReport;
use super::flow::Protocol;
use super::known::Known;
use super::queue::QueueReport;
use super::refusal::{Attempt, Refusal};
use super::report::{
    CauseReport, ContainerReport, FlowReport, Outcome, ProcessReport, Report, Side, UnixReport, schema,
};
use super::verdict::{Cause, Verdict};
use crate::firewall::Site;

/// What is told of a refusal.
pub fn explain(refusal: &Refusal, verdict: &Verdict, known: &Known, seq: u64) -> Report {
    let time = known.clock.at(refusal.time);
    let (outcome, errno) = outcome(refusal, &verdict.cause);
    Report {
        schema: schema::REFUSAL.to_owned(),
        time,
        boottime_ns: refusal.time,
        seq,
        outcome,
        side: side(&refusal.attempt, known),
        cause: cause(verdict),
        summary: summary::summary(refusal, verdict, known),
        flow: flow(&refusal.attempt, known),
        client_process: client(&refusal.attempt, known).map(|process| process_report(&process)),
        server_process: server(&refusal.attempt, &verdict.cause, known).map(|process| process_report(&process)),
        evidence: evidence::evidence(refusal, verdict, known),
        fix: fix::fix(refusal, &verdict.cause, known),
        reply: rejected::end(&refusal.attempt).and_then(|end| end.reply.clone()),
        errno,
        firewall: site(&verdict.cause).cloned(),
        lsm: match &verdict.cause {
            Cause::Denied(denied) | Cause::StartDenied(denied) | Cause::PartlyDenied { denied, .. } => {
                denial::lsm(refusal, denied)
            }
            Cause::PacketFiltered { dropped } => filtered::lsm(dropped),
            _ => None,
        },
        queue: queue::of(&verdict.cause).map(QueueReport::from),
        files: match &verdict.cause {
            Cause::FdLimit { no_file } => Some(FilesReport::from(no_file)),
            _ => None,
        },
        unix: match &refusal.attempt {
            Attempt::Unix { path, .. } => Some(UnixReport { path: words::unix_path(path) }),
            _ => None,
        },
        benign: refusal.benign,
        partial: false,
        count: refusal.attempt.number(),
        first: time,
        last: time,
    }
}

/// The firewall's rule, when one did it.
fn site(cause: &Cause) -> Option<&Site> {
    match cause {
        Cause::Firewall { filtered } => Some(&filtered.by.site),
        Cause::NatToNowhere { rule, .. } => rule.as_ref().map(|rule| &rule.site),
        _ => None,
    }
}

/// The sentence of an update.
pub fn appeared(refused: u64, appeared: u64, listener: &str) -> String {
    format!("{listener} began to listen there {} after the refusal", words::span(appeared.saturating_sub(refused)))
}

/// The sentence of an update.
pub fn failed(client: &str, errno: u32, after: u64) -> String {
    match errno {
        0 => format!("{client} gave up after {}", words::span(after)),
        errno => format!("{client} got {} after {}", errno::name(errno), words::span(after)),
    }
}

pub use elsewhere::ended as wait_ended;
pub use rejected::redirected;

/// `redis-server (pid 991)`, for an update.
pub fn named(process: &Process) -> String {
    words::process(process)
}

pub(super) fn cause(verdict: &Verdict) -> CauseReport {
    let code = verdict.cause.code();
    CauseReport { code, name: code.name().to_owned(), class: code.class(), confidence: verdict.confidence }
}

fn outcome(refusal: &Refusal, cause: &Cause) -> (Outcome, Option<String>) {
    const ECONNRESET: u32 = 104;
    match &refusal.attempt {
        Attempt::Connect(connect) => {
            let errno = connect.client.as_ref().map(|client| client.errno);
            let ipv6 = connect.flow().is_some_and(|flow| flow.server.ip.is_ipv6());
            let expected = match cause {
                Cause::Firewall { filtered } if !filtered.answer => firewall::errno(filtered.by.effect, ipv6),
                _ => None,
            };
            match errno.or(expected) {
                None if connect.dropped.is_some() => (Outcome::Timeout, None),
                None | Some(ECONNREFUSED) => (Outcome::Refused, Some(errno::name(ECONNREFUSED))),
                // It waits, or gave up by itself.
                Some(0) => (Outcome::Timeout, None),
                Some(ETIMEDOUT) => (Outcome::Timeout, Some(errno::name(ETIMEDOUT))),
                Some(errno) => (Outcome::Denied, Some(errno::name(errno))),
            }
        }
        Attempt::Unix { errno: ECONNREFUSED, .. } => (Outcome::Refused, Some(errno::name(ECONNREFUSED))),
        Attempt::Unix { errno, .. } => (Outcome::Denied, Some(errno::name(*errno))),
        Attempt::Listen(bind) => (Outcome::ListenFailed, Some(errno::name(bind.errno))),
        Attempt::Socket { task, errno, .. } => {
            let outcome = if is_server(task) { Outcome::ListenFailed } else { Outcome::Denied };
            (outcome, Some(errno::name(*errno)))
        }
        Attempt::Overflow(Overflow { reset: true, .. }) | Attempt::Closed(_) => {
            (Outcome::Reset, Some(errno::name(ECONNRESET)))
        }
        // What the client gets in the end depends on its patience.
        Attempt::Overflow(_) | Attempt::Counted(_) => (Outcome::Timeout, None),
        Attempt::Accept(failed) => {
            let outcome = if failed.is_denied() { Outcome::Denied } else { Outcome::ListenFailed };
            (outcome, Some(errno::name(failed.errno)))
        }
        Attempt::Early(_) => (Outcome::Rejected, None),
        Attempt::Start(_) => (Outcome::ListenFailed, None),
    }
}

fn side(attempt: &Attempt, known: &Known) -> Side {
    match attempt {
        Attempt::Connect(connect) if known.dialler(connect).is_some() => Side::Both,
        Attempt::Connect(connect) => connect.side(),
        Attempt::Unix { .. } => Side::Both,
        Attempt::Early(end) => match (&end.server, end.client) {
            (Some(_), true) => Side::Both,
            (Some(_), false) => Side::Server,
            (None, _) => Side::Client,
        },
        Attempt::Socket { task, .. } if is_server(task) => Side::Server,
        Attempt::Socket { .. } => Side::Client,
        Attempt::Listen(_)
        | Attempt::Start(_)
        | Attempt::Overflow(_)
        | Attempt::Counted(_)
        | Attempt::Accept(_)
        | Attempt::Closed(_) => Side::Server,
    }
}

fn flow(attempt: &Attempt, known: &Known) -> Option<FlowReport> {
    let (netns, client, server) = match attempt {
        Attempt::Connect(connect) => {
            let flow = connect.flow()?;
            // What never left has no address yet.
            let client = Some(flow.client).filter(|client| !client.ip.is_unspecified() || client.port != 0);
            (flow.netns, client, Some(flow.server))
        }
        Attempt::Early(end) => (end.flow.netns, Some(end.flow.client), Some(end.flow.server)),
        Attempt::Overflow(overflow) => (overflow.flow.netns, Some(overflow.flow.client), Some(overflow.flow.server)),
        Attempt::Counted(overflows) => {
            let only = <&[_; 1]>::try_from(overflows.full.as_slice()).ok();
            (overflows.netns, None, only.map(|[full]| full.socket.local))
        }
        Attempt::Closed(closed) => (closed.socket.netns, None, Some(closed.socket.local)),
        Attempt::Accept(failed) => (failed.socket.netns, None, Some(failed.socket.local)),
        Attempt::Listen(bind) => (bind.socket.netns, None, Some(bind.socket.local)),
        Attempt::Start(process) => {
            let failed = known.servers.failed_start(*process)?;
            (failed.netns, None, None)
        }
        Attempt::Socket { task, .. } => (task.netns, None, None),
        Attempt::Unix { .. } => return None,
    };
    let netns_name = known.namespace(netns).and_then(|namespace| namespace.name.clone());
    Some(FlowReport { protocol: Protocol::Tcp, client, server, netns, netns_name })
}

/// Whether a socket was to listen: by the program that wanted it.
fn is_server(task: &Task) -> bool {
    kin::is_server(task.comm.as_str(), None)
}

fn client(attempt: &Attempt, known: &Known) -> Option<Process> {
    match attempt {
        Attempt::Connect(connect) => {
            connect.caller().map(|caller| known.process_of(caller)).or_else(|| known.dialler(connect))
        }
        Attempt::Unix { task, .. } => Some(known.process_of(task)),
        Attempt::Socket { task, .. } if !is_server(task) => Some(known.process_of(task)),
        Attempt::Socket { .. }
        | Attempt::Early(_)
        | Attempt::Listen(_)
        | Attempt::Start(_)
        | Attempt::Overflow(_)
        | Attempt::Counted(_)
        | Attempt::Accept(_)
        | Attempt::Closed(_) => None,
    }
}

/// Who listens, listened, or tried to.
fn server(attempt: &Attempt, cause: &Cause, known: &Known) -> Option<Process> {
    let process = match cause {
        Cause::ListenerExited { ended, .. }
        | Cause::ListenerKilled { ended, .. }
        | Cause::ListenerOomKilled { ended, .. }
        | Cause::ListenerCrashed { ended, .. }
        | Cause::ListenerClosed { ended } => Some(ended.process.clone()),
        Cause::BoundToOtherAddress { listeners }
        | Cause::BoundToOtherPort { listeners }
        | Cause::OtherAddressFamily { listeners }
        | Cause::ListenerInOtherNetns { listeners }
        | Cause::PartialListen { listeners, .. } => {
            listeners.first().and_then(|listener| listener.owner.as_deref().cloned())
        }
        Cause::AddressInUse { failed, .. }
        | Cause::AddressNotAvailable { failed }
        | Cause::PrivilegedPort { failed } => Some(failed.process.clone()),
        Cause::StartFailed { failed } => Some(failed.process.clone()),
        Cause::StartDenied(denied) | Cause::PartlyDenied { denied, .. } => {
            denied.failed.as_ref().map(|failed| failed.process().clone())
        }
        Cause::BoundNotListening { owner, .. } => owner.clone(),
        Cause::SkLookupRefused { listener } => listener.owner.as_deref().cloned(),
        Cause::UnixSocketOnly { listener } => Some(listener.owner.clone()),
        Cause::UnixSocketMissing { real, .. } => real.first().map(|listener| listener.owner.clone()),
        Cause::AcceptQueueFull { queue }
        | Cause::SynQueueFull { queue }
        | Cause::UnixBacklogFull { queue }
        | Cause::ListenerClosedWithQueue { queue, .. } => queue.owner.clone(),
        Cause::FdLimit { no_file } => Some(no_file.process.clone()),
        Cause::Rejected(rejected) => rejected.server.clone(),
        Cause::Redirected(redirected) => Some(redirected.redirect.server.clone()),
        Cause::PacketFiltered { dropped } if dropped.denied().is_some() => filtered::member(dropped, known).cloned(),
        Cause::Unknown { .. }
        | Cause::Denied(_)
        | Cause::SomeQueueFull { .. }
        | Cause::NoListener
        | Cause::UnixSocketStale { .. }
        | Cause::UnixSocketPermission { .. }
        | Cause::Firewall { .. }
        | Cause::NatToNowhere { .. }
        | Cause::ConntrackFull { .. }
        | Cause::PacketFiltered { .. }
        | Cause::Dialling(_) => match attempt {
            Attempt::Listen(bind) => Some(known.process_of(&bind.task)),
            Attempt::Accept(failed) => Some(known.process_of(&failed.task)),
            Attempt::Socket { task, .. } if is_server(task) => Some(known.process_of(task)),
            _ => None,
        },
    }?;
    // The process may have been described after the verdict's fact was learnt.
    Some(known.process(process.key()).cloned().unwrap_or(process))
}

fn process_report(process: &Process) -> ProcessReport {
    let (container, unit) = process.cgroup.as_ref().map_or((None, None), container::of);
    ProcessReport {
        pid: process.pid,
        comm: process.comm.clone(),
        exe: process.exe.clone(),
        uid: process.uid,
        container: container.map(|container| ContainerReport { runtime: container.runtime, id: container.id }),
        unit,
    }
}
