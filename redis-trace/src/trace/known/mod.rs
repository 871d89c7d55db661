//! Everything known at a moment: who listens, who listened, who tried to, and what each process is.

mod answers;
mod clock;
mod denials;
mod endings;
mod listeners;
mod lookups;
mod redirects;
mod servers;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

pub use clock::WallClock;
pub use endings::{Dead, EndedListener, OomLimit, Sent, UNHASHED};
pub use listeners::{Listener, Miss, accepts};
pub use redirects::Redirect;
pub use servers::{BoundPort, FailedBind, FailedSocket, FailedStart, is_redis_like};

use denials::Denials;
use endings::Endings;
use listeners::Listeners;
use redirects::Redirects;
use servers::Servers;

use super::fact::{
    Audited, BoundSocket, BpfProgram, EarlyEnd, Ending, Fact, Files, Ports, Process, ProcessKey, Queues, Sight, Socket,
    Standing, Suspected, Task, UnixListener, UnixPath, UnixState, Way, What,
};
use super::flow::{Endpoint, Netns};
use super::question::Question;
use super::remembered::{Bounds, Remembered};
use super::text::Text;
use crate::firewall::Wanted;

/// How long the answer to a question holds, nanoseconds.
const FRESH: u64 = 1_000_000_000;

/// The facts, arranged for the questions that `attribute` asks.
#[derive(Debug)]
pub struct Known {
    /// What can be seen on this host.
    pub sight: Sight,
    /// What the wall clock read, and when.
    pub clock: WallClock,
    /// Time of the newest fact, boottime nanoseconds.
    pub now: u64,
    /// No fact comes any more.
    over: bool,
    /// Listening sockets, now.
    pub listeners: Listeners,
    /// Listeners and processes that are over.
    pub endings: Endings,
    /// Servers that tried to listen, and what became of it.
    pub servers: Servers,
    /// Where servers have sent their clients.
    pub redirects: Redirects,
    /// Who may have said no to calls.
    pub denials: Denials,
    processes: Remembered<u32, Process>,
    family: Remembered<u32, ()>,
    namespaces: HashMap<Netns, Namespace>,
    unix_states: Remembered<(u32, UnixPath), UnixState>,
    unix_listeners: HashMap<Netns, Vec<UnixListener>>,
    alive: Remembered<ProcessKey, bool>,
    held: Remembered<(ProcessKey, u64), bool>,
    answered: Remembered<Question, ()>,
    sockets: Remembered<(Netns, u16), Vec<BoundSocket>>,
    suspected: Remembered<(Netns, u32, Wanted), Suspected>,
    routes: Remembered<(Netns, Endpoint), u32>,
    lsm_programs: Option<Vec<BpfProgram>>,
    audited: Remembered<(u32, u64), Option<Audited>>,
    queues: Remembered<(Netns, u16), Queues>,
    files: Remembered<ProcessKey, Files>,
    standings: Remembered<(ProcessKey, u16), Standing>,
    failed_accepts: Remembered<ProcessKey, u32>,
    ways: Remembered<(Netns, IpAddr), Way>,
    ports: Remembered<(Netns, Endpoint), Ports>,
    unreadable: Remembered<Netns, Text>,
    given_up: Remembered<Question, ()>,
}

/// A namespace's name, a process in it, and its addresses.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// Name under `/run/netns`.
    pub name: Option<Text>,
    /// A process that lives in it.
    pub pid: Option<u32>,
    /// Its interfaces' addresses.
    pub addresses: Option<Vec<IpAddr>>,
}

impl Known {
    /// Nothing known yet.
    pub fn new(bounds: Bounds) -> Self {
        let answers = Bounds { number: bounds.number.min(1024), age: 60 * FRESH };
        Self {
            sight: Sight::default(),
            clock: WallClock::default(),
            now: 0,
            over: false,
            listeners: Listeners::default(),
            endings: Endings::new(bounds),
            servers: Servers::new(bounds),
            redirects: Redirects::default(),
            denials: Denials::default(),
            processes: Remembered::new(bounds),
            family: Remembered::new(bounds),
            namespaces: HashMap::new(),
            unix_states: Remembered::new(answers),
            unix_listeners: HashMap::new(),
            alive: Remembered::new(answers),
            held: Remembered::new(answers),
            answered: Remembered::new(answers),
            sockets: Remembered::new(answers),
            suspected: Remembered::new(answers),
            routes: Remembered::new(answers),
            lsm_programs: None,
            audited: Remembered::new(answers),
            queues: Remembered::new(answers),
            files: Remembered::new(answers),
            standings: Remembered::new(answers),
            failed_accepts: Remembered::new(answers),
            ways: Remembered::new(answers),
            ports: Remembered::new(answers),
            unreadable: Remembered::new(answers),
            given_up: Remembered::new(answers),
        }
    }

    /// No fact comes any more: nothing is waited for.
    pub fn end(&mut self) {
        self.over = true;
    }

    /// Whether facts may still come before this time.
    pub fn awaits(&self, until: u64) -> bool {
        self.now < until && !self.over
    }

    /// Takes a fact in.
    pub fn learn(&mut self, fact: &Fact) {
        let time = fact.time;
        self.now = self.now.max(time);
        match &fact.what {
            What::Clock { unix_ns } => self.clock.set(time, *unix_ns),
            What::Sight(sight) => self.sight = sight.clone(),
            What::Queues(_) | What::Files(_) | What::AcceptFailed(_) => self.queues_told(time, &fact.what),
            What::Tick
            | What::Reset(_)
            | What::Connected { .. }
            | What::QueueFull(_)
            | What::Overflows(_)
            | What::Folded(_)
            | What::Counted { .. } => {}
            What::EarlyEnd(end) => self.ended_early(time, end),
            What::Standing(standing) => {
                self.standings.insert(time, (standing.process(), standing.port), standing.clone());
            }
            What::ConnectFailed(failed) => self.call_ended(time, &failed.task),
            What::Dropped(dropped) => dropped.caller.iter().for_each(|(task, _)| self.meet(time, task)),
            What::Suspected(suspected) => self.rules_judged(time, suspected),
            What::UnixConnect { task, path, .. } => {
                self.meet(time, task);
                self.unix_states.remove(&(task.pid, path.clone()));
            }
            What::ListenUp { socket, task, backlog } => {
                self.meet(time, task);
                self.forget_answers(socket);
                self.servers.listened(task.key());
                self.listeners.up(socket, Some(*backlog), Some(Arc::new(self.process_of(task))), Some(time));
            }
            What::ListenDown { socket, task, ending, .. } => {
                self.forget_answers(socket);
                let listener = self.listeners.down(socket);
                self.endings.listener_ended(time, socket, listener, self.process_of(task), *ending);
            }
            What::Bind(bind) => {
                self.call_ended(time, &bind.task);
                self.forget_answers(&bind.socket);
                if bind.listen && bind.errno != 0 {
                    // The kernel enters the state before it knows that it may not: what began and ended never listened.
                    self.endings.never_listened(&bind.socket);
                }
                let failed = (bind.errno != 0).then(|| self.failed(time, bind));
                self.servers.bound(time, bind, self.process_of(&bind.task), failed);
            }
            What::Denial(denial) => self.denials.told(time, denial),
            What::SocketDenied { task, errno, .. } => self.socket_denied(time, task, *errno),
            What::Audited { .. } | What::LsmPrograms { .. } | What::Route { .. } => {
                self.denials_asked_about(time, &fact.what);
            }
            What::UnixListen { task, path } => {
                self.meet(time, task);
                self.servers.listened(task.key());
                self.unix_listening(task, path);
            }
            What::NetnsReborn { netns } => self.forget_namespace(*netns),
            What::Exec { task, parent, argv } => {
                self.meet(time, task);
                self.servers.started(time, task, *parent, argv.clone());
            }
            What::Exit { task, ending } => self.ended(time, task, *ending),
            What::Signal { sender, target, signal, by_kernel } => {
                self.endings.signal_sent(time, *target, *signal, sender.clone(), *by_kernel);
            }
            What::OomVictim { pid } => self.endings.oom_chose(time, *pid),
            What::OomReport { pid, cgroup } => {
                self.endings.oom_reported(*pid, *cgroup);
                self.answered.insert(time, Question::Oom(*pid), ());
            }
            What::Process(process) => self.describe(time, process),
            What::ProcessState { pid, start, alive } => self.looked_for(time, ProcessKey::new(*pid, *start), *alive),
            What::Sockets { netns, port, sockets, .. } => self.sockets_read(time, *netns, *port, sockets),
            What::Unreadable { netns, why } => self.unreadable.insert(time, *netns, why.clone()),
            What::NetnsName { netns, name, pid } => self.netns_named(time, *netns, name.clone(), *pid),
            What::Addresses { netns, addresses } => {
                self.namespaces.entry(*netns).or_default().addresses = Some(addresses.clone());
                self.answered.insert(time, Question::Addresses(*netns), ());
            }
            What::Way(_) | What::Ports(_) => self.way_told(time, &fact.what),
            What::Holds { pid, start, inode, holds } => {
                let process = ProcessKey::new(*pid, *start);
                self.held.insert(time, (process, *inode), *holds);
                self.answered.insert(time, Question::Holds { process, inode: *inode }, ());
            }
            What::UnixState(state) => {
                self.unix_states.insert(time, (state.pid, state.path.clone()), state.clone());
            }
            What::UnixListeners { netns, listeners } => {
                for listener in listeners {
                    self.describe(time, &listener.owner);
                }
                self.unix_listeners.insert(*netns, listeners.clone());
                self.answered.insert(time, Question::UnixListeners(*netns), ());
            }
            What::LastWords { pid, start, fault, ports, addresses } => {
                self.servers.last_words(ProcessKey::new(*pid, *start), fault.clone(), ports, addresses);
            }
        }
    }

    /// The rules that can have done something to a SYN were found, and who waits for its answer.
    fn rules_judged(&mut self, time: u64, suspected: &Suspected) {
        suspected.dialler.iter().for_each(|process| self.describe(time, process));
        self.suspected.insert(time, (suspected.netns, suspected.isn, suspected.wanted), suspected.clone());
    }

    /// A connection ended early: its server may have sent its client elsewhere.
    fn ended_early(&mut self, time: u64, end: &EarlyEnd) {
        if let Some(task) = &end.server {
            let server = self.process_of(task);
            self.redirects.told(time, end, server);
        }
    }

    /// A task was seen: its process has at least a name.
    fn meet(&mut self, time: u64, task: &Task) {
        if task.family {
            self.family.insert(time, task.pid, ());
        }
        if self.process(task.key()).is_none() {
            let process = self.process_of(task);
            self.processes.insert(time, task.pid, process);
        }
    }

    /// A watched process ended.
    fn ended(&mut self, time: u64, task: &Task, ending: Ending) {
        self.meet(time, task);
        self.endings.process_ended(time, task.key(), ending);
        self.servers.ended(time, self.process_of(task), ending);
        for listeners in self.unix_listeners.values_mut() {
            listeners.retain(|listener| listener.owner.key() != task.key());
        }
    }

    /// A server listens on a unix socket.
    fn unix_listening(&mut self, task: &Task, path: &UnixPath) {
        let owner = self.process_of(task);
        if is_redis_like(&owner) {
            let there = self.unix_listeners.entry(task.netns).or_default();
            there.retain(|listener| listener.path != *path);
            there.push(UnixListener { path: path.clone(), owner });
        }
    }

    /// A namespace is gone, and its number is another's now: nothing that was known of it holds.
    fn forget_namespace(&mut self, netns: Netns) {
        self.listeners.forget(netns);
        self.endings.forget(netns);
        self.servers.forget(netns);
        self.namespaces.remove(&netns);
        self.unix_listeners.remove(&netns);
        self.sockets.retain(|(other, _)| *other != netns);
        self.queues.retain(|(other, _)| *other != netns);
        self.ways.retain(|(other, _)| *other != netns);
        self.ports.retain(|(other, _)| *other != netns);
        self.answered.retain(|question| question.netns() != Some(netns));
        self.unreadable.remove(&netns);
    }

    /// A socket changed: what the host said about its port holds no longer.
    fn forget_answers(&mut self, socket: &Socket) {
        self.answered.remove(&Question::Sockets { netns: socket.netns, port: socket.local.port });
    }
}

#[cfg(test)]
mod tests;
