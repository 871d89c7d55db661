//! How listeners and processes ended, and who made them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::trace::fact::{Ending, Process, ProcessKey, Socket, Task};
use crate::trace::flow::{Flow, Netns};
use crate::trace::remembered::{Bounds, Remembered};

use super::listeners::{Listener, accepts};

/// Ended listeners kept for one port of one namespace.
const KEPT_A_PORT: usize = 16;

/// A socket leaves the look-up this long, at most, before its end is told, nanoseconds: `tcp_set_state()` unhashes first, and
/// may have to wait for a processor between the two.
pub const UNHASHED: u64 = 100_000_000;

/// A listener that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedListener {
    /// What it was.
    pub listener: Listener,
    /// When it ended, boottime nanoseconds.
    pub time: u64,
    /// Whose end or whose close it was.
    pub process: Process,
    /// How that process was ending, when it was.
    pub ending: Option<Ending>,
}

/// A process that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead {
    /// When, boottime nanoseconds.
    pub time: u64,
    /// How.
    pub ending: Ending,
}

/// A signal that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When, boottime nanoseconds.
    pub time: u64,
    /// Which.
    pub signal: u32,
    /// By whom; means nothing when `by_kernel`.
    pub sender: Task,
    /// The kernel made it.
    pub by_kernel: bool,
}

/// Whose memory limit an OOM kill enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomLimit {
    /// A memory cgroup's.
    Cgroup,
    /// The whole host's.
    Host,
    /// The kernel's log does not say, or was not asked yet.
    Unsaid,
}

/// What is over, bounded in number and age.
#[derive(Debug)]
pub struct Endings {
    listeners: Remembered<(Netns, u16), VecDeque<EndedListener>>,
    processes: Remembered<ProcessKey, Dead>,
    signals: Remembered<u32, Vec<Sent>>,
    oom: Remembered<u32, OomLimit>,
}

impl Endings {
    /// Nothing is over yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            listeners: Remembered::new(bounds),
            processes: Remembered::new(bounds),
            signals: Remembered::new(bounds),
            oom: Remembered::new(bounds),
        }
    }

    /// A listening socket went away.
    pub fn listener_ended(
        &mut self,
        time: u64,
        socket: &Socket,
        listener: Option<Listener>,
        closer: Process,
        ending: Option<Ending>,
    ) {
        let listener = listener.unwrap_or_else(|| Listener {
            socket: socket.clone(),
            backlog: None,
            owner: Some(Arc::new(closer.clone())),
            since: None,
        });
        // A kernel worker that drops the last reference is not the process that listened.
        let process = match &listener.owner {
            Some(owner) if ending.is_none() && closer.comm.as_str().starts_with("kworker/") => Process::clone(owner),
            _ => closer,
        };
        let key = (socket.netns, socket.local.port);
        let mut there = self.listeners.remove(&key).unwrap_or_default();
        there.push_back(EndedListener { listener, time, process, ending });
        if there.len() > KEPT_A_PORT {
            there.pop_front();
        }
        self.listeners.insert(time, key, there);
    }

    /// What looked like a listener's beginning and end was a listen(2) that failed.
    pub fn never_listened(&mut self, socket: &Socket) {
        if let Some(there) = self.listeners.get_mut(&(socket.netns, socket.local.port)) {
            there.retain(|ended| ended.listener.socket.inode != socket.inode || socket.inode == 0);
        }
    }

    /// Forgets the listeners of one namespace.
    pub fn forget(&mut self, netns: Netns) {
        self.listeners.retain(|(other, _)| *other != netns);
    }

    /// A process ended.
    pub fn process_ended(&mut self, time: u64, process: ProcessKey, ending: Ending) {
        self.processes.insert(time, process, Dead { time, ending });
    }

    /// A signal was sent to a process.
    pub fn signal_sent(&mut self, time: u64, target: u32, signal: u32, sender: Task, by_kernel: bool) {
        let mut sent = self.signals.remove(&target).unwrap_or_default();
        sent.retain(|earlier| earlier.signal != signal);
        sent.push(Sent { time, signal, sender, by_kernel });
        self.signals.insert(time, target, sent);
    }

    /// The OOM killer chose a process.
    pub fn oom_chose(&mut self, time: u64, pid: u32) {
        self.oom.insert(time, pid, OomLimit::Unsaid);
    }

    /// The kernel's log says whose limit it was.
    pub fn oom_reported(&mut self, pid: u32, cgroup: Option<bool>) {
        if let Some(known) = self.oom.get_mut(&pid) {
            *known = match cgroup {
                Some(true) => OomLimit::Cgroup,
                Some(false) => OomLimit::Host,
                None => OomLimit::Unsaid,
            };
        }
    }

    /// The newest listener that would have taken this flow, and had begun and ended by this time.
    pub fn last_listener(&self, flow: &Flow, by: u64) -> Option<&EndedListener> {
        let there = self.listeners.get(&(flow.netns, flow.server.port))?;
        let had_begun = |ended: &EndedListener| ended.listener.since.is_none_or(|since| since <= by);
        let is_over = |ended: &EndedListener| had_begun(ended) && ended.time <= by.saturating_add(UNHASHED);
        there.iter().rev().find(|ended| is_over(ended) && accepts(&ended.listener.socket, flow))
    }

    /// Listeners on a port that still listened at this time, and have ended since.
    pub fn listening_at(&self, netns: Netns, port: u16, time: u64) -> impl Iterator<Item = &Listener> {
        let there = self.listeners.get(&(netns, port)).into_iter().flatten();
        there.filter(move |ended| ended.time > time).map(|ended| &ended.listener)
    }

    /// How a process ended.
    pub fn of_process(&self, process: ProcessKey) -> Option<Dead> {
        self.processes.get(&process).copied()
    }

    /// The newest signal that could have ended a process by this time, from a process or the kernel.
    pub fn signal_to(&self, process: ProcessKey, signal: u32, by: u64) -> Option<&Sent> {
        let sent = self.signals.get(&process.pid)?;
        sent.iter().rev().find(|sent| sent.signal == signal && sent.time <= by && sent.time >= process.start())
    }

    /// The newest request to end (SIGTERM, SIGINT, SIGQUIT, SIGHUP) that a process was sent by this time.
    pub fn asked_to_end(&self, process: ProcessKey, by: u64) -> Option<&Sent> {
        [15, 2, 3, 1].iter().filter_map(|signal| self.signal_to(process, *signal, by)).max_by_key(|sent| sent.time)
    }

    /// Whether the OOM killer chose it, and whose limit it was when that is known.
    pub fn oom(&self, process: ProcessKey) -> Option<OomLimit> {
        let (time, limit) = self.oom.get_with_time(&process.pid)?;
        (time >= process.start()).then_some(*limit)
    }
}
