//! What a verdict rests on, each with where it was seen.

use crate::trace::denied::Failed;
use crate::trace::errno;
use crate::trace::fact::{Dropped, Fault, UnixListener};
use crate::trace::known::{EndedListener, FailedBind, Known, Listener, OomLimit, Sent};
use crate::trace::queue::FullQueue;
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::report::Evidence;
use crate::trace::verdict::{Cause, Verdict};

use super::summary::{ended_how, target};
use super::{denial, elsewhere, files, filtered, firewall, queue, rejected, words};

pub(super) fn evidence(refusal: &Refusal, verdict: &Verdict, known: &Known) -> Vec<Evidence> {
    let mut evidence = of_the_attempt(refusal, known);
    evidence.extend(of_the_cause(refusal, &verdict.cause, known));
    evidence
}

pub(super) fn seen(source: &str, text: impl Into<String>) -> Evidence {
    Evidence { source: source.to_owned(), text: text.into() }
}

fn of_the_attempt(refusal: &Refusal, known: &Known) -> Vec<Evidence> {
    let mut evidence = Vec::new();
    match &refusal.attempt {
        Attempt::Connect(connect) => {
            if let Some(server) = &connect.server {
                let reason = server.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
                let text = format!("the kernel sent a reset: no socket matched {}{reason}", server.flow.server);
                evidence.push(seen("tcp_send_reset", text));
            }
            evidence.extend(connect.dropped.as_deref().map(drop));
            if let Some(client) = &connect.client {
                evidence.push(elsewhere::dialled(client));
                if connect.server.as_ref().is_some_and(|server| server.flow.server != client.flow.server) {
                    let text = format!("the SYN arrived as one for {}", target(&refusal.attempt));
                    evidence.push(seen("address translation", text));
                }
            }
        }
        Attempt::Unix { errno, .. } => {
            let text = format!("connect to {} got {}", target(&refusal.attempt), errno::name(*errno));
            evidence.push(seen("unix_stream_connect", text));
        }
        Attempt::Listen(bind) => {
            let call = if bind.listen { "listen" } else { "bind" };
            let text = format!("{call} on {} got {}", bind.socket.local, errno::name(bind.errno));
            evidence.push(seen(call, text));
        }
        Attempt::Socket { ipv6, errno, .. } => {
            let family = if *ipv6 { "AF_INET6" } else { "AF_INET" };
            evidence.push(seen("socket", format!("a socket of {family} got {}", errno::name(*errno))));
        }
        Attempt::Overflow(_) | Attempt::Counted(_) | Attempt::Accept(_) | Attempt::Closed(_) => {
            evidence.extend(queue::attempt(&refusal.attempt));
        }
        Attempt::Early(end) => evidence.extend(rejected::evidence(end)),
        Attempt::Start(process) => {
            if let Some(failed) = known.servers.failed_start(*process) {
                let ran = span(failed.time.saturating_sub(failed.process.start));
                evidence.push(seen("sched_process_exit", format!("it {} after {ran}", ended_how(failed.ending))));
                let argv: Vec<&str> = failed.argv.iter().map(crate::trace::text::Text::as_str).collect();
                evidence.push(seen("sched_process_exec", format!("started as: {}", argv.join(" "))));
            }
        }
    }
    evidence
}

/// That a packet was dropped, in the kernel's own words.
fn drop(dropped: &Dropped) -> Evidence {
    let reason = dropped.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    let place = dropped.function.as_ref().map_or_else(String::new, |function| format!(" in {function}"));
    let (packet, of) = (dropped.packet(), if dropped.is_answer() { "of" } else { "to" });
    // Nothing tells of a SYN that a security module has the kernel forget.
    let is_forgotten = dropped.denied().is_some() && dropped.function.is_none();
    let source = if is_forgotten { "inet_conn_request" } else { "kfree_skb" };
    seen(source, format!("the kernel dropped the {packet} {of} {}{place}{reason}", dropped.flow.server))
}

use super::words::span;

fn of_the_cause(refusal: &Refusal, cause: &Cause, known: &Known) -> Vec<Evidence> {
    match cause {
        Cause::NoListener => vec![seen("sock_diag", format!("no socket on port of {}", target(&refusal.attempt)))],
        Cause::ListenerExited { ended, code, asked, .. } => {
            let how = code.map_or_else(|| "it is gone".to_owned(), |code| format!("exit code {code}"));
            let mut evidence = past(ended, "sched_process_exit", &how);
            evidence.extend(asked.as_ref().map(signal));
            evidence
        }
        Cause::ListenerKilled { ended, signal: number, by, .. }
        | Cause::ListenerCrashed { ended, signal: number, by, .. } => {
            let how = format!("killed by {}", words::signal(u32::from(*number)));
            let mut evidence = past(ended, "sched_process_exit", &how);
            evidence.extend(by.as_ref().map(signal));
            evidence
        }
        Cause::ListenerOomKilled { ended, limit, .. } => {
            let mut evidence = past(ended, "mark_victim", "the OOM killer chose it");
            match limit {
                OomLimit::Cgroup => evidence.push(seen("kernel log", "Memory cgroup out of memory")),
                OomLimit::Host => evidence.push(seen("kernel log", "Out of memory")),
                OomLimit::Unsaid => {}
            }
            evidence
        }
        Cause::Rejected(it) => rejected::standing(it),
        Cause::Redirected(it) => vec![rejected::sent(&it.redirect)],
        Cause::ListenerClosed { ended } => past(ended, "/proc", "the process lives"),
        Cause::BoundToOtherAddress { listeners }
        | Cause::BoundToOtherPort { listeners }
        | Cause::OtherAddressFamily { listeners } => listeners.iter().map(listener).collect(),
        Cause::ListenerInOtherNetns { listeners } => listeners
            .iter()
            .map(|there| {
                let mut evidence = listener(there);
                evidence.text.push_str(", in ");
                evidence.text.push_str(&words::netns(there.socket.netns, known));
                evidence
            })
            .collect(),
        Cause::AddressInUse { failed, holder } => {
            let mut evidence = bind(refusal, failed);
            evidence.extend(holder.as_ref().map(|holder| {
                let state = if holder.listening { "listener" } else { "bound socket" };
                let owner = words::owner(holder.owner.as_deref());
                seen("sock_diag", format!("{state} {}, {owner}", holder.socket.local))
            }));
            evidence
        }
        Cause::AddressNotAvailable { failed } | Cause::PrivilegedPort { failed } => bind(refusal, failed),
        Cause::PartialListen { failed, listeners } => {
            let mut evidence = bind(refusal, failed);
            evidence.extend(listeners.iter().map(listener));
            evidence
        }
        Cause::BoundNotListening { socket, owner } => {
            let text = format!("bound, not listening: {}, {}", socket.local, words::owner(owner.as_ref()));
            vec![seen("sock_diag", text)]
        }
        Cause::SkLookupRefused { listener: there } => {
            vec![listener(there), seen("net.bpf.run_array", "an sk_lookup program is attached to the namespace")]
        }
        Cause::Denied(denied) => denial::evidence(denied, denial::caller(refusal, denied, known)),
        Cause::StartDenied(denied) | Cause::PartlyDenied { denied, .. } => {
            let failed = denied.failed.iter().flat_map(|failed| missing(refusal, failed));
            failed.chain(denial::evidence(denied, denial::caller(refusal, denied, known))).collect()
        }
        Cause::StartFailed { failed } => failed.fault.iter().map(last_words).collect(),
        Cause::UnixSocketOnly { listener } => vec![unix_listener(listener)],
        Cause::UnixSocketMissing { real, .. } => real.iter().map(unix_listener).collect(),
        Cause::UnixSocketPermission { forbidden, .. } => {
            let (mode, uid, gid) = (forbidden.mode & 0o7777, forbidden.uid, forbidden.gid);
            vec![seen("stat", format!("{} mode {mode:04o} owner {uid}:{gid}", forbidden.path))]
        }
        Cause::Firewall { filtered } => {
            let flow = if let Attempt::Connect(connect) = &refusal.attempt { connect.flow() } else { None };
            firewall::evidence(filtered, flow.is_some_and(|flow| flow.server.ip.is_ipv6()))
        }
        Cause::NatToNowhere { rule, .. } => rule.iter().map(firewall::translator).collect(),
        Cause::ConntrackFull { count, most } => vec![filtered::table(*count, *most)],
        Cause::Dialling(cause) => elsewhere::evidence(refusal, cause, &known.sight),
        Cause::AcceptQueueFull { queue } | Cause::SynQueueFull { queue } | Cause::UnixBacklogFull { queue } => {
            queue::of_queue(queue)
        }
        Cause::FdLimit { no_file } => files::evidence(no_file),
        Cause::ListenerClosedWithQueue { queue: FullQueue { place, length, limit, .. }, .. } => {
            let text = format!("it listened on {place} with {length} in its queue, limit {limit}");
            vec![seen("inet_sock_set_state", text)]
        }
        Cause::PacketFiltered { dropped } => filtered::evidence(dropped, known),
        Cause::SomeQueueFull { .. } | Cause::Unknown { .. } | Cause::UnixSocketStale { .. } => Vec::new(),
    }
}

fn unix_listener(listener: &UnixListener) -> Evidence {
    let path = words::unix_path(&listener.path);
    seen("unix_diag", format!("listener {path}, {}", words::process(&listener.owner)))
}

fn last_words(fault: &Fault) -> Evidence {
    let text = match &fault.config {
        Some(config) => format!("{}, line {}: `{}`: {}", config.file, config.line, config.text, fault.line),
        None => fault.line.to_string(),
    };
    seen(fault.source.as_str(), text)
}

fn listener(there: &Listener) -> Evidence {
    let (place, backlog) = (words::place(there), words::backlog(there));
    seen("sock_diag", format!("listener {place}{backlog}, {}", words::owner(there.owner.as_deref())))
}

fn past(ended: &EndedListener, source: &str, how: &str) -> Vec<Evidence> {
    let local = ended.listener.socket.local;
    let process = words::process(&ended.process);
    vec![
        seen("inet_sock_set_state", format!("{process} listened on {local}")),
        seen(source, format!("{process}: {how}")),
    ]
}

fn signal(sent: &Sent) -> Evidence {
    let by = words::sent_by(Some(sent));
    seen("signal_generate", format!("{}{by}", words::signal(sent.signal)))
}

/// What a server could not do that would listen there otherwise.
fn missing(refusal: &Refusal, failed: &Failed) -> Vec<Evidence> {
    match failed {
        Failed::Bind(failed) => bind(refusal, failed),
        Failed::Start(_) => {
            let (got, ago) = (errno::name(failed.errno()), words::ago(failed.time(), refusal.time));
            let process = words::process(failed.process());
            vec![seen("socket", format!("{process} asked for a TCP socket and got {got} {ago}"))]
        }
    }
}

/// The failed bind, when it is not itself what is told.
fn bind(refusal: &Refusal, failed: &FailedBind) -> Vec<Evidence> {
    if matches!(refusal.attempt, Attempt::Listen(_)) {
        return Vec::new();
    }
    let ago = words::ago(failed.time, refusal.time);
    let got = errno::name(failed.errno);
    vec![seen(
        if failed.listen { "listen" } else { "bind" },
        format!("{} asked for {} and got {got} {ago}", words::process(&failed.process), failed.socket.local),
    )]
}
