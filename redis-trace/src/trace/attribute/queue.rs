//! A connection found a queue full: which listener's, what limits it, and why nobody empties it.

use crate::trace::fact::Call;
use crate::trace::fact::{
    AcceptFailed, BoundSocket, Overflow, Overflows, Process, Queue, QueueKind, Queues, UnixPath, UnixQueue,
};
use crate::trace::files::NoFile;
use crate::trace::flow::{Flow, Netns};
use crate::trace::known::{Known, Sent, accepts};
use crate::trace::question::Question;
use crate::trace::queue::{FullQueue, Stall, is_full, limited_by};
use crate::trace::refusal::ClosedQueue;
use crate::trace::text::Text;
use crate::trace::verdict::{Cause, Verdict};

use super::{Judged, denial, unanswered};

/// `SIGSTOP`, `SIGTSTP`, `SIGTTIN` and `SIGTTOU`.
const STOPS: [u32; 4] = [19, 20, 21, 22];

/// The kernel said which listener's queue was full, and how full.
pub(super) fn overflow(time: u64, overflow: &Overflow, known: &Known) -> Judged {
    let (netns, port) = (overflow.socket.netns, overflow.socket.local.port);
    let questions = unanswered([Question::Queues { netns, port }], time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let shown = known.queues(netns, port, time);
    let is_it = |queue: &&Queue| queue.bound.socket.inode == overflow.socket.inode;
    let mut queue = match shown.and_then(|shown| Some((shown, shown.queues.iter().find(is_it)?))) {
        Some((shown, queue)) => seen(time, queue, shown, known),
        None => unseen(overflow, known),
    };
    (queue.kind, queue.length, queue.limit) = (overflow.queue, overflow.length, overflow.limit);
    Verdict::certain(cause(queue)).into()
}

/// The kernel counted packets that found a queue full: it says in which namespace, and the queues say which listener.
pub(super) fn counted(time: u64, overflows: &Overflows, known: &Known) -> Judged {
    let [full] = overflows.full.as_slice() else { return several(overflows) };
    let (netns, port) = (overflows.netns, full.socket.local.port);
    let questions = unanswered([Question::Queues { netns, port }], time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let mut queue = match queue_of(netns, full, time, known) {
        Some((shown, queue)) => seen(time, queue, shown, known),
        None => FullQueue {
            kind: overflows.queue,
            place: Text::from(full.socket.local.to_string().as_str()),
            owner: full.owner.as_deref().cloned(),
            length: 0,
            limit: 0,
            limited_by: None,
            stall: Stall::Unseen,
            oldest: None,
            serving: None,
        },
    };
    (queue.kind, queue.length) = (overflows.queue, full.queued.unwrap_or_default());
    queue.limit = full.backlog.unwrap_or_default();
    // The counter says that one was full, the socket dump that this one is.
    Verdict::likely(cause(queue)).into()
}

/// The kernel gave the server no connection: the errno says whether it was denied one, or had no file for it. What limits its
/// files the host says.
pub(super) fn accept_failed(time: u64, failed: &AcceptFailed, known: &Known) -> Judged {
    if failed.is_denied() {
        return denial::of_call(Call::Accept, time, &failed.task, failed.errno, known);
    }
    let process = failed.task.key();
    let argv = known.servers.start_of(process).map(|(argv, _)| argv.to_vec()).unwrap_or_default();
    let questions = unanswered([Question::Files { process, argv }], time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let files = known.files(process, time).cloned();
    let process = known.process_of(&failed.task);
    Verdict::certain(Cause::FdLimit { no_file: NoFile { failed: failed.clone(), process, files } }).into()
}

/// The accept queue of whoever listens for this flow, when it is full.
pub(super) fn full(time: u64, flow: &Flow, known: &Known) -> Option<Cause> {
    let shown = known.queues(flow.netns, flow.server.port, time)?;
    let queue = shown.queues.iter().find(|queue| is_full(queue) && accepts(&queue.bound.socket, flow))?;
    Some(cause(seen(time, queue, shown, known)))
}

/// A listener went with connections in its queue: the kernel resets them.
pub(super) fn closed(time: u64, closed: &ClosedQueue, known: &Known) -> Judged {
    let (netns, port) = (closed.socket.netns, closed.socket.local.port);
    let questions = unanswered([Question::Queues { netns, port }], time, known);
    if !questions.is_empty() {
        return Judged::Ask(questions);
    }
    let somaxconn = known.queues(netns, port, time).and_then(|shown| shown.somaxconn);
    let queue = FullQueue {
        kind: QueueKind::Accept,
        place: Text::from(closed.socket.local.to_string().as_str()),
        owner: Some(closed.process.clone()),
        length: closed.queued,
        limit: closed.limit,
        limited_by: limited_by(closed.limit, somaxconn, Some(&closed.process)),
        stall: Stall::Unseen,
        oldest: None,
        serving: None,
    };
    let others = known.listeners.on(netns, port);
    let cause = Cause::ListenerClosedWithQueue { queue, ending: closed.ending };
    // Where several listeners share a port the kernel may hand the connections on (net.ipv4.tcp_migrate_req).
    let is_shared = others.iter().any(|listener| listener.socket.local == closed.socket.local);
    if is_shared { Verdict::likely(cause).into() } else { Verdict::certain(cause).into() }
}

fn cause(mut queue: FullQueue) -> Cause {
    if queue.kind == QueueKind::Syn {
        // The handshakes are the kernel's: what the process does, and for how long who waits has, is beside the point.
        (queue.stall, queue.oldest, queue.serving) = (Stall::Unseen, None, None);
    }
    match queue.kind {
        QueueKind::Accept => Cause::AcceptQueueFull { queue },
        QueueKind::Syn => Cause::SynQueueFull { queue },
        QueueKind::Unix => Cause::UnixBacklogFull { queue },
    }
}

/// No queue is full any more, or more than one is.
fn several(overflows: &Overflows) -> Judged {
    let places: Vec<String> = overflows.full.iter().map(|full| full.socket.local.to_string()).collect();
    Verdict::possible(Cause::SomeQueueFull { kind: overflows.queue, places }).into()
}

fn queue_of<'a>(netns: Netns, full: &BoundSocket, time: u64, known: &'a Known) -> Option<(&'a Queues, &'a Queue)> {
    let shown = known.queues(netns, full.socket.local.port, time)?;
    Some((shown, shown.queues.iter().find(|queue| queue.bound.socket.inode == full.socket.inode)?))
}

/// A queue as the host showed it.
fn seen(time: u64, queue: &Queue, shown: &Queues, known: &Known) -> FullQueue {
    let owner = queue.bound.owner.as_deref();
    let stop = stopped_by(owner, time, known);
    let failed = owner.and_then(|owner| known.failed_accept(owner.key(), time));
    let limit = queue.bound.backlog.unwrap_or_default();
    FullQueue {
        kind: QueueKind::Accept,
        place: Text::from(queue.bound.socket.local.to_string().as_str()),
        owner: owner.cloned(),
        length: queue.bound.queued.unwrap_or_default(),
        limit,
        limited_by: limited_by(limit, shown.somaxconn, owner),
        stall: if is_full(queue) { Stall::of(queue.serving.as_ref(), stop, failed) } else { Stall::Slow },
        oldest: queue.oldest,
        serving: queue.serving.clone(),
    }
}

/// Who stopped a process last.
fn stopped_by<'a>(owner: Option<&Process>, time: u64, known: &'a Known) -> Option<&'a Sent> {
    let owner = owner?;
    let sent = STOPS.iter().filter_map(|signal| known.endings.signal_to(owner.key(), *signal, time));
    sent.max_by_key(|sent| sent.time)
}

/// The queue of a unix socket, as the host showed it.
pub(super) fn of_unix(path: &UnixPath, shown: Option<&UnixQueue>, known: &Known) -> FullQueue {
    let owner = shown.and_then(|shown| shown.owner.as_ref());
    let (length, limit) = shown.map_or((0, 0), |shown| (shown.queued, shown.limit));
    let stop = stopped_by(owner, known.now, known);
    let serving = shown.and_then(|shown| shown.serving.as_ref());
    FullQueue {
        kind: QueueKind::Unix,
        place: match path {
            UnixPath::File(path) => path.clone(),
            UnixPath::Abstract(name) => Text::from_safe(format!("@{name}")),
        },
        owner: owner.cloned(),
        length,
        limit,
        limited_by: limited_by(limit, shown.and_then(|shown| shown.somaxconn), owner),
        stall: if shown.is_some() && length <= limit { Stall::Slow } else { Stall::of(serving, stop, None) },
        oldest: None,
        serving: serving.cloned(),
    }
}

/// A queue of which only the kernel's own word is known.
fn unseen(overflow: &Overflow, known: &Known) -> FullQueue {
    let (netns, local) = (overflow.socket.netns, overflow.socket.local);
    let listeners = known.listeners.on(netns, local.port);
    let listener = listeners.iter().find(|listener| listener.socket.inode == overflow.socket.inode);
    FullQueue {
        kind: overflow.queue,
        place: Text::from(local.to_string().as_str()),
        owner: listener.and_then(|listener| listener.owner.as_deref().cloned()),
        length: overflow.length,
        limit: overflow.limit,
        limited_by: None,
        stall: Stall::Unseen,
        oldest: None,
        serving: None,
    }
}
