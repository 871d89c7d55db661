//! A SYN met no socket: what used to listen there, what listens nearby, what tried to.

use std::borrow::Cow;
use std::cmp::Reverse;

use crate::trace::cause::Confidence;
use crate::trace::fact::{BoundSocket, ConnectFailed, Ending};
use crate::trace::flow::Flow;
use crate::trace::known::{
    BoundPort, EndedListener, FailedBind, FailedStart, Known, Listener, Miss, UNHASHED, accepts,
};
use crate::trace::question::Question;
use crate::trace::verdict::{Cause, Verdict};

use super::{Judged, denial, translated, unanswered};

/// A dial that met no socket.
pub(super) struct Dial<'a> {
    /// Where it went, in the namespace that had no socket for it.
    pub flow: Flow,
    /// When, boottime nanoseconds.
    pub time: u64,
    /// An `sk_lookup` program is attached there.
    pub sk_lookup: bool,
    /// The dialling end, when it was seen.
    pub client: Option<&'a ConnectFailed>,
}

/// errno values, include/uapi/asm-generic/errno*.h.
pub(super) const EADDRINUSE: u32 = 98;
pub(super) const EADDRNOTAVAIL: u32 = 99;
const EAFNOSUPPORT: u32 = 97;

pub(super) fn attribute(dial: &Dial<'_>, known: &Known) -> Judged {
    let Flow { netns, server, .. } = dial.flow;
    let starts = known.servers.unheard(netns).filter(|failed| failed.time <= dial.time).map(FailedStart::last_words);
    let sockets = Question::Sockets { netns, port: server.port };
    let questions = unanswered(starts.chain([sockets]), dial.time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    if let Some(client) = dial.client.filter(|client| client.flow.server != dial.flow.server) {
        return translated::attribute(dial.time, &dial.flow, client, known);
    }
    if vanished(dial, known).is_some() && known.awaits(dial.time.saturating_add(END_TOLD)) {
        return Judged::Ask(Vec::new());
    }
    matching_listener(dial, known)
        .or_else(|| past(dial, known))
        .or_else(|| bound_not_listening(dial, known))
        .or_else(|| nearby(dial, known))
        .or_else(|| bind_beside(dial, known))
        .or_else(|| unix_only(dial, known))
        .or_else(|| elsewhere(dial, known))
        .or_else(|| other_port(dial, known))
        .unwrap_or_else(|| match known.sockets_at(netns, server.port, dial.time) {
            Some(_) => Verdict::certain(Cause::NoListener).into(),
            None => Verdict::likely(Cause::NoListener).into(),
        })
}

/// A socket enters the look-up this long, at most, after its beginning is told: `inet_csk_listen_start()`. Nanoseconds.
const HASHED: u64 = 1_000_000;

/// How long after a dial the end of a listener that the host shows no more is waited for, nanoseconds. Who closes it last may
/// be a worker of the kernel that has to wait for a processor.
const END_TOLD: u64 = 500_000_000;

/// Whether the host shows this listener still; what it did not say is no sign of an end.
fn is_shown(listener: &Listener, dial: &Dial<'_>, known: &Known) -> bool {
    let shown = known.sockets_at(dial.flow.netns, dial.flow.server.port, dial.time);
    shown.is_none_or(|shown| shown.iter().any(|bound| bound.socket.local == listener.socket.local))
}

/// Whether a listener would take this dial, and began early enough to.
fn would_take(listener: &Listener, dial: &Dial<'_>, known: &Known) -> bool {
    let is_ready = listener.since.unwrap_or(known.sight.since).saturating_add(HASHED) < dial.time;
    is_ready && accepts(&listener.socket, &dial.flow)
}

/// The listener that would have taken it, and that the host shows no more though no end of it was told.
fn vanished<'a>(dial: &Dial<'_>, known: &'a Known) -> Option<&'a Listener> {
    let on_port = known.listeners.on(dial.flow.netns, dial.flow.server.port).iter();
    let there = on_port.filter(|listener| would_take(listener, dial, known));
    there.clone().all(|listener| !is_shown(listener, dial, known)).then(|| there.max_by_key(|there| there.since))?
}

/// A listener that should have taken it: something between the packet and the socket said no.
fn matching_listener(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let Flow { netns, server, .. } = dial.flow;
    let still = known.listeners.on(netns, server.port).iter().filter(|listener| is_shown(listener, dial, known));
    let later = known.endings.listening_at(netns, server.port, dial.time.saturating_add(UNHASHED));
    let listener = still.chain(later).find(|listener| would_take(listener, dial, known))?.clone();
    let verdict = if dial.sk_lookup {
        Verdict::likely(Cause::SkLookupRefused { listener })
    } else {
        let missing = format!(
            "{} listens there, yet the kernel's socket look-up found nobody; a BPF program of its SO_REUSEPORT group, or \
             a listener that was just being replaced, would explain it",
            listener.owner.as_ref().map_or("somebody", |owner| owner.comm.as_str())
        );
        Verdict::possible(Cause::Unknown { missing })
    };
    Some(verdict.into())
}

/// Something that would have answered is over: the newest of a listener's end, a failed bind, a failed start.
enum Past<'a> {
    Ended(Cow<'a, EndedListener>),
    Bind(&'a FailedBind),
    Start(&'a FailedStart),
}

impl Past<'_> {
    fn time(&self) -> u64 {
        match self {
            Self::Ended(ended) => ended.time,
            Self::Bind(failed) => failed.time,
            Self::Start(failed) => failed.time,
        }
    }
}

fn past(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let newest = newest_past(dial, known)?;
    // A listener nearby that came later tells more: the server was restarted with another address.
    let near = near_listeners(dial, known);
    if near.iter().any(|listener| listener.since.is_some_and(|since| since > newest.time())) {
        return None;
    }
    match newest {
        Past::Ended(ended) => {
            let judged = how_it_ended(dial.time, &ended, known);
            let is_late = ended.time > dial.time.saturating_add(HASHED);
            Some(if is_late || matches!(ended, Cow::Owned(_)) { at_most_likely(judged) } else { judged })
        }
        Past::Start(failed) => Some(start_that_failed(failed, known)),
        Past::Bind(failed) => bind_that_failed(failed, &near, known),
    }
}

fn newest_past<'a>(dial: &Dial<'_>, known: &'a Known) -> Option<Past<'a>> {
    let ended = known.endings.last_listener(&dial.flow, dial.time).map(Cow::Borrowed);
    let ended = vanished(dial, known).and_then(|listener| untold_end(dial, listener)).map(Cow::Owned).or(ended);
    let covers = |failed: &&FailedBind| accepts(&failed.socket, &dial.flow);
    let bind = known.servers.failed_binds_for(&dial.flow).find(covers).map(Past::Bind);
    let start = known.servers.failed_start_for(&dial.flow).map(Past::Start);
    let failed = [bind, start].into_iter().flatten().filter(|past| past.time() <= dial.time);
    failed.chain(ended.map(Past::Ended)).max_by_key(Past::time)
}

/// The end of a listener of which nothing was told: that it was over by then is what the kernel answered.
fn untold_end(dial: &Dial<'_>, listener: &Listener) -> Option<EndedListener> {
    let process = listener.owner.as_deref()?.clone();
    Some(EndedListener { listener: listener.clone(), time: dial.time, process, ending: None })
}

/// What follows from an end that was told late or never is not certain.
fn at_most_likely(judged: Judged) -> Judged {
    match judged {
        Judged::Verdict(Verdict { cause, confidence: Confidence::Certain }) => Verdict::likely(cause).into(),
        other => other,
    }
}

fn start_that_failed(failed: &FailedStart, known: &Known) -> Judged {
    let verdict = match denial::of_start(failed, known) {
        Some((denied, confidence)) => Verdict { cause: Cause::StartDenied(Box::new(denied)), confidence },
        None => Verdict::certain(Cause::StartFailed { failed: failed.clone() }),
    };
    verdict.into()
}

fn bind_that_failed(failed: &FailedBind, near: &[Listener], known: &Known) -> Option<Judged> {
    let lives_on: Vec<Listener> = near
        .iter()
        .filter(|listener| listener.owner.as_ref().is_some_and(|owner| owner.key() == failed.process.key()))
        .cloned()
        .collect();
    if let Some((denied, confidence)) = denial::of_bind(failed, known).filter(|_| !failed.privileged) {
        let denied = Box::new(denied);
        let cause = if lives_on.is_empty() {
            Cause::StartDenied(denied)
        } else {
            Cause::PartlyDenied { denied, listeners: lives_on }
        };
        return Some(Verdict { cause, confidence }.into());
    }
    let failed = failed.clone();
    let cause = match failed.errno {
        EADDRNOTAVAIL | EAFNOSUPPORT if !lives_on.is_empty() => Cause::PartialListen { failed, listeners: lives_on },
        EADDRNOTAVAIL => Cause::AddressNotAvailable { failed },
        _ if failed.privileged => Cause::PrivilegedPort { failed },
        _ => return None,
    };
    Some(Verdict::certain(cause).into())
}

/// Signals that a program's own fault raises.
pub(crate) const CRASHES: &[u8] = &[4, 6, 7, 8, 11, 31]; // ILL ABRT BUS FPE SEGV SYS
const SIGKILL: u8 = 9;

fn how_it_ended(time: u64, ended: &EndedListener, known: &Known) -> Judged {
    let process = ended.process.key();
    let death = known.endings.of_process(process);
    let ending = ended.ending.or(death.map(|death| death.ending));
    let at = death.map_or(ended.time, |death| death.time);
    let ended = ended.clone();
    match ending {
        None => {
            let alive = Question::Alive(process);
            if !known.is_answered(&alive, time) {
                return Judged::Ask(vec![alive]);
            }
            match known.is_alive(process) {
                Some(false) => {
                    Verdict::likely(Cause::ListenerExited { ended, time: at, code: None, asked: None }).into()
                }
                Some(true) => Verdict::certain(Cause::ListenerClosed { ended }).into(),
                None => {
                    let missing =
                        "its listener closed, and the host did not say in time whether its process lives".to_owned();
                    Verdict::possible(Cause::Unknown { missing }).into()
                }
            }
        }
        Some(Ending::Exited(code)) => {
            let asked = known.endings.asked_to_end(process, at).cloned();
            Verdict::certain(Cause::ListenerExited { ended, time: at, code: Some(code), asked }).into()
        }
        Some(Ending::Killed { signal, core }) => {
            let by = known.endings.signal_to(process, u32::from(signal), at).cloned();
            if signal == SIGKILL
                && let Some(limit) = known.endings.oom(process)
            {
                let report = Question::Oom(process.pid);
                if !known.is_answered(&report, time) {
                    return Judged::Ask(vec![report]);
                }
                return Verdict::certain(Cause::ListenerOomKilled { ended, time: at, limit }).into();
            }
            let cause = if CRASHES.contains(&signal) {
                Cause::ListenerCrashed { ended, time: at, signal, core, by }
            } else {
                Cause::ListenerKilled { ended, time: at, signal, by }
            };
            Verdict::certain(cause).into()
        }
    }
}

fn bound_not_listening(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let Flow { netns, server, .. } = dial.flow;
    let is_idle = |bound: &&BoundSocket| !bound.listening && accepts(&bound.socket, &dial.flow);
    let shown = known.sockets_at(netns, server.port, dial.time).unwrap_or_default();
    if let Some(bound) = shown.iter().find(is_idle) {
        let (socket, owner) = (bound.socket.clone(), bound.owner.as_deref().cloned());
        return Some(Verdict::certain(Cause::BoundNotListening { socket, owner }).into());
    }
    // Kernels before 6.8 do not show such sockets: a bind that was seen, and whether its socket is still open, tell.
    let BoundPort { socket, process } = known.servers.bound_at(&dial.flow)?;
    let holds = Question::Holds { process: process.key(), inode: socket.inode };
    if !known.is_answered(&holds, dial.time) {
        return Some(Judged::Ask(vec![holds]));
    }
    known.holds(process.key(), socket.inode).then(|| {
        let (socket, owner) = (socket.clone(), Some(process.clone()));
        Verdict::certain(Cause::BoundNotListening { socket, owner }).into()
    })
}

/// A server that could not bind another address on this port, and gave up: it would have been here too.
fn bind_beside(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let gave_up = |failed: &&FailedBind| {
        failed.time <= dial.time
            && known.endings.of_process(failed.process.key()).is_some_and(|death| death.time <= dial.time)
    };
    let failed = known.servers.failed_binds_for(&dial.flow).find(gave_up)?.clone();
    let cause = match failed.errno {
        EADDRNOTAVAIL => Cause::AddressNotAvailable { failed },
        _ if failed.privileged => Cause::PrivilegedPort { failed },
        _ => return None,
    };
    Some(Verdict::likely(cause).into())
}

/// Those that listened on the dialled port when it was dialled, whatever has become of them since.
fn listening_then<'a>(dial: &Dial<'_>, known: &'a Known) -> impl Iterator<Item = &'a Listener> {
    let (Flow { netns, server, .. }, time) = (dial.flow, dial.time);
    let still = known.listeners.on(netns, server.port).iter();
    still
        .chain(known.endings.listening_at(netns, server.port, time))
        .filter(move |listener| listener.since.is_none_or(|since| since <= time))
}

/// Listeners on the same port of the same namespace, newest first.
fn near_listeners(dial: &Dial<'_>, known: &Known) -> Vec<Listener> {
    let there = listening_then(dial, known).filter(|listener| !accepts(&listener.socket, &dial.flow));
    let mut near: Vec<Listener> = there.cloned().collect();
    near.sort_by_key(|listener| (listener.misses(&dial.flow), Reverse(listener.since)));
    near
}

fn nearby(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let listeners = near_listeners(dial, known);
    let miss = listeners.first()?.misses(&dial.flow);
    let cause = match miss {
        Miss::Address | Miss::Device => Cause::BoundToOtherAddress { listeners },
        Miss::Family => Cause::OtherAddressFamily { listeners },
    };
    Some(Verdict::certain(cause).into())
}

/// Most listeners that a verdict names.
const NAMED: usize = 3;

fn elsewhere(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let Flow { netns, server, .. } = dial.flow;
    let mut listeners: Vec<Listener> = known
        .listeners
        .elsewhere(netns, server.port)
        .filter(|listener| listener.since.is_none_or(|since| since <= dial.time))
        .cloned()
        .collect();
    let others = listeners.iter().map(|listener| listener.socket.netns).collect::<std::collections::BTreeSet<_>>();
    // One that has no name yet may get one.
    let nameless = others.iter().filter(|netns| known.namespace(**netns).is_none_or(|there| there.name.is_none()));
    let questions = unanswered(nameless.take(NAMED).map(|netns| Question::NetnsName(*netns)), dial.time, known);
    if !questions.is_empty() {
        return Some(Judged::Ask(questions));
    }
    listeners.truncate(NAMED);
    (!listeners.is_empty()).then(|| Verdict::likely(Cause::ListenerInOtherNetns { listeners }).into())
}

fn unix_only(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    let netns = dial.flow.netns;
    if !means_redis(dial) {
        return None;
    }
    let lacks_tcp = |pid: u32| known.listeners.of_process(netns, pid).next().is_none();
    let listener = known.unix_listeners(netns).iter().find(|listener| lacks_tcp(listener.owner.pid))?;
    Some(Verdict::likely(Cause::UnixSocketOnly { listener: listener.clone() }).into())
}

fn other_port(dial: &Dial<'_>, known: &Known) -> Option<Judged> {
    if !means_redis(dial) {
        return None;
    }
    let listeners: Vec<Listener> = known
        .listeners
        .redis_like(dial.flow.netns)
        .filter(|listener| listener.socket.local.port != dial.flow.server.port)
        .filter(|listener| listener.since.is_none_or(|since| since <= dial.time))
        .take(NAMED)
        .cloned()
        .collect();
    (!listeners.is_empty()).then(|| Verdict::likely(Cause::BoundToOtherPort { listeners }).into())
}

/// Whether the dial was meant for a Redis-like server: by the port's use, or by the client.
fn means_redis(dial: &Dial<'_>) -> bool {
    const CLIENTS: &[&str] = &["redis-cli", "valkey-cli", "keydb-cli", "redis-benchmark", "valkey-benchmark"];
    let by_port = matches!(dial.flow.server.port, 6379..=6399 | 7000..=7010 | 16379..=16399 | 26379..=26399);
    by_port || dial.client.is_some_and(|client| CLIENTS.contains(&client.task.comm.as_str()))
}
