//! Servers that were started, what they tried to bind, and what became of it.

use std::collections::VecDeque;
use std::net::IpAddr;

use crate::redis::kin;
use crate::trace::fact::{Bind, Denial, Ending, Fault, Process, ProcessKey, Socket, Task};
use crate::trace::flow::{Flow, Netns};
use crate::trace::question::Question;
use crate::trace::remembered::{Bounds, Remembered};
use crate::trace::text::Text;

use super::listeners::accepts;

/// Whether a process is a Redis-like server.
pub fn is_redis_like(process: &Process) -> bool {
    kin::is_server(process.comm.as_str(), process.exe.as_ref().map(Text::as_str))
}

/// A bind or listen that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedBind {
    /// The socket, with the address and port asked for.
    pub socket: Socket,
    /// Who tried.
    pub process: Process,
    /// The errno.
    pub errno: u32,
    /// When, boottime nanoseconds.
    pub time: u64,
    /// It was listen(2).
    pub listen: bool,
    /// It failed for want of CAP_NET_BIND_SERVICE.
    pub privileged: bool,
    /// Who may have said no.
    pub denial: Option<Denial>,
}

/// A socket that was bound to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPort {
    /// Which.
    pub socket: Socket,
    /// By whom.
    pub process: Process,
}

/// A TCP socket that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSocket {
    /// The errno.
    pub errno: u32,
    /// When, boottime nanoseconds.
    pub time: u64,
    /// Who may have said no.
    pub denial: Option<Denial>,
}

/// A server that ended before it ever listened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedStart {
    /// Which.
    pub process: Process,
    /// Where it was to listen.
    pub netns: Netns,
    /// How it was started.
    pub argv: Vec<Text>,
    /// How it ended.
    pub ending: Ending,
    /// When, boottime nanoseconds.
    pub time: u64,
    /// The socket that it could not make, which is told by itself.
    pub socket: Option<FailedSocket>,
    /// The host has looked for its last words.
    pub heard: bool,
    /// Its own words.
    pub fault: Option<Fault>,
    /// Ports it would have listened on.
    pub ports: Vec<u16>,
    /// Addresses it would have listened on; empty for all.
    pub addresses: Vec<IpAddr>,
}

impl FailedStart {
    /// What the host is asked of it: its last words, and where it was to listen.
    pub fn last_words(&self) -> Question {
        Question::LastWords {
            process: self.process.key(),
            argv: self.argv.clone(),
            cgroup: self.process.cgroup.clone(),
            parent: self.process.parent,
        }
    }
}

/// A server that was started.
#[derive(Clone, Debug)]
struct Start {
    netns: Netns,
    parent: u32,
    argv: Vec<Text>,
    listened: bool,
    bind_failed: bool,
    socket: Option<FailedSocket>,
}

/// Servers from their start to their listening or their end.
#[derive(Debug)]
pub struct Servers {
    starts: Remembered<ProcessKey, Start>,
    binds: Remembered<(Netns, u16), VecDeque<FailedBind>>,
    bound: Remembered<(Netns, u16), VecDeque<BoundPort>>,
    failed: Remembered<ProcessKey, FailedStart>,
}

impl Servers {
    /// None yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            starts: Remembered::new(bounds),
            binds: Remembered::new(bounds),
            bound: Remembered::new(bounds),
            failed: Remembered::new(bounds),
        }
    }

    /// A server program was executed.
    pub fn started(&mut self, time: u64, task: &Task, parent: u32, argv: Vec<Text>) {
        let start = Start { netns: task.netns, parent, argv, listened: false, bind_failed: false, socket: None };
        self.starts.insert(time, task.key(), start);
    }

    /// A process listens.
    pub fn listened(&mut self, process: ProcessKey) {
        if let Some(start) = self.starts.get_mut(&process) {
            start.listened = true;
        }
    }

    /// bind or listen returned.
    pub fn bound(&mut self, time: u64, bind: &Bind, process: Process, failed: Option<FailedBind>) {
        let key = (bind.socket.netns, bind.socket.local.port);
        let Some(failed) = failed else {
            push(&mut self.bound, time, key, BoundPort { socket: bind.socket.clone(), process });
            return;
        };
        if let Some(start) = self.starts.get_mut(&process.key()) {
            start.bind_failed = true;
        }
        push(&mut self.binds, time, key, failed);
    }

    /// A process could not make a socket.
    pub fn socket_failed(&mut self, process: ProcessKey, failed: FailedSocket) {
        if let Some(start) = self.starts.get_mut(&process) {
            start.socket = Some(failed);
        }
    }

    /// A process ended: it failed to start when it was a server that had not listened.
    pub fn ended(&mut self, time: u64, process: Process, ending: Ending) {
        let key = process.key();
        if let Some(start) = self.starts.remove(&key)
            && !start.listened
            && !start.bind_failed
            && ending != Ending::Exited(0)
            && !asks_for_help(&start.argv)
        {
            let failed = FailedStart {
                process,
                netns: start.netns,
                argv: start.argv,
                ending,
                time,
                socket: start.socket,
                heard: false,
                fault: None,
                ports: Vec::new(),
                addresses: Vec::new(),
            };
            self.failed.insert(time, key, failed);
        }
    }

    /// The host found what a server said and where it meant to listen.
    pub fn last_words(&mut self, process: ProcessKey, fault: Option<Fault>, ports: &[u16], addresses: &[IpAddr]) {
        if let Some(failed) = self.failed.get_mut(&process) {
            failed.heard = true;
            failed.fault = fault;
            failed.ports = ports.to_vec();
            failed.addresses = addresses.to_vec();
        }
    }

    /// The failed start of this very process.
    pub fn failed_start(&self, process: ProcessKey) -> Option<&FailedStart> {
        self.failed.get(&process)
    }

    /// The newest failed start that meant to listen where this flow goes.
    pub fn failed_start_for(&self, flow: &Flow) -> Option<&FailedStart> {
        self.failed
            .values()
            .filter(|failed| failed.netns == flow.netns && failed.ports.contains(&flow.server.port))
            .filter(|failed| failed.addresses.is_empty() || failed.addresses.contains(&flow.server.ip))
            .max_by_key(|failed| failed.time)
    }

    /// The failed starts of a namespace of which the host has yet to say where they were to listen.
    pub fn unheard(&self, netns: Netns) -> impl Iterator<Item = &FailedStart> {
        self.failed.values().filter(move |failed| failed.netns == netns && !failed.heard)
    }

    /// Failed binds to the port this flow goes to, newest first.
    pub fn failed_binds_for(&self, flow: &Flow) -> impl Iterator<Item = &FailedBind> {
        self.binds.get(&(flow.netns, flow.server.port)).into_iter().flatten().rev()
    }

    /// The newest socket that was bound to where this flow goes. It may be closed since.
    pub fn bound_at(&self, flow: &Flow) -> Option<&BoundPort> {
        let there = self.bound.get(&(flow.netns, flow.server.port))?;
        there.iter().rev().find(|bound| accepts(&bound.socket, flow))
    }

    /// Forgets what was tried in one namespace.
    pub fn forget(&mut self, netns: Netns) {
        self.binds.retain(|(other, _)| *other != netns);
        self.bound.retain(|(other, _)| *other != netns);
        let failed: Vec<ProcessKey> =
            self.failed.values().filter(|failed| failed.netns == netns).map(|failed| failed.process.key()).collect();
        for process in failed {
            self.failed.remove(&process);
        }
    }

    /// How a process was started, and by whom, when that was seen.
    pub fn start_of(&self, process: ProcessKey) -> Option<(&[Text], u32)> {
        self.starts.get(&process).map(|start| (start.argv.as_slice(), start.parent))
    }
}

/// Attempts kept for one port of one namespace.
const KEPT_A_PORT: usize = 16;

fn push<V>(memory: &mut Remembered<(Netns, u16), VecDeque<V>>, time: u64, key: (Netns, u16), value: V) {
    let mut there = memory.remove(&key).unwrap_or_default();
    there.push_back(value);
    if there.len() > KEPT_A_PORT {
        there.pop_front();
    }
    memory.insert(time, key, there);
}

/// `redis-server --help` ends without listening, and that is no failure.
fn asks_for_help(argv: &[Text]) -> bool {
    argv.iter().skip(1).any(|argument| {
        matches!(argument.as_str(), "-h" | "--help" | "-v" | "--version" | "--check-system" | "--test-memory")
    })
}
