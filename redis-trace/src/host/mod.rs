//! What this host answers when a refusal needs it: sockets, processes, namespaces, files. Blocking code, run on a thread
//! of its own; every answer is a fact, and what vanished while we looked is a normal answer.

mod addresses;
pub(crate) mod audited;
pub mod clock;
mod command;
pub(crate) mod configuration;
mod counters;
mod dialler;
mod eyes;
mod files;
mod firewall;
mod journal;
mod kept;
mod lastwords;
mod log;
mod login_limits;
pub mod names;
mod netlink;
mod netns;
mod nf_tables;
pub(crate) mod oom;
mod owners;
mod patience;
mod ports;
mod process;
mod queues;
mod route;
mod routes;
mod ruleset;
pub(crate) mod scene;
pub mod server;
mod serving;
mod snapshot;
mod sockets;
mod standing;
pub mod units;
mod unix;
mod unix_sockets;
mod xfrm;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

pub use clock::{boottime, wall};
pub use command::end_programs;
pub use kept::kept;
pub use login_limits::login_limit;
use netns::Place;
use owners::Owners;
pub use process::{all_are_seen, this_task};
pub use routes::leaving;
use ruleset::Rulesets;

use crate::trace::fact::{BoundSocket, ProcessKey, Source, WayTo, What};
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::question::Question;
use crate::trace::text::Text;

/// The host, and what was learnt while asking it.
#[derive(Debug, Default)]
pub struct Host {
    /// The namespaces that were found last.
    places: BTreeMap<Netns, Place>,
    /// The door to the one that is asked about: whoever led there may end meanwhile.
    door: Option<(Netns, File)>,
    /// Since when one that is not among them is nowhere else either, boottime nanoseconds.
    searched: u64,
    /// The processes that own sockets.
    owners: Owners,
    /// The rules that were read last.
    rulesets: Rulesets,
    /// How the counters of full queues stood.
    stood: HashMap<Netns, queues::Stood>,
}

impl Host {
    /// A host that has not been looked at.
    pub fn new() -> Self {
        Self::default()
    }

    /// The answer to a question that was asked at this boottime: one fact, or more.
    pub fn answer(&mut self, question: &Question, asked: u64) -> Vec<What> {
        // Where processes have other numbers, no answer is better than somebody else's.
        if is_of_a_process(question) && !all_are_seen() {
            return Vec::new();
        }
        if let Some(netns) = question.netns() {
            self.find(netns, asked);
        }
        let facts = self.found(question);
        self.door = None;
        facts
    }

    /// What is found there, or by it.
    fn found(&mut self, question: &Question) -> Vec<What> {
        let fact = match question {
            Question::Sockets { netns, port } => self.sockets(*netns, *port),
            Question::Queues { netns, port } => self.queues(*netns, *port),
            Question::Addresses(netns) => self.addresses(*netns),
            Question::Way { netns, to, uid } => {
                let way = self.inside(*netns, || routes::way(*to, *uid)).flatten();
                told_of(*netns, way.map(|way| What::Way(WayTo { netns: *netns, to: to.ip, way })))
            }
            Question::Ports { netns, to } => {
                told_of(*netns, self.inside(*netns, || ports::towards(*netns, *to)).flatten().map(What::Ports))
            }
            Question::NetnsName(netns) => self.name(*netns, &netns::names()),
            Question::Process(key) => process_of(*key),
            Question::Alive(key) => state(*key),
            Question::Holds { process, inode } => holds(*process, *inode),
            Question::Unix { pid, uid, netns, path } => self.unix(*pid, *uid, *netns, path),
            Question::UnixListeners(netns) => self.unix_listeners(*netns),
            Question::LastWords { process, argv, cgroup, parent } => {
                lastwords::of(*process, argv, cgroup.as_ref(), *parent)
            }
            Question::Files { process, argv } => files::of(*process, argv),
            Question::Standing { process, argv, netns, port } => self.standing(*process, argv, *netns, *port),
            Question::Firewall { flow, isn, sight, wanted } => self.suspected(flow, *isn, sight, *wanted),
            // Who knows the kernel's programs answers that.
            Question::LsmPrograms => return Vec::new(),
            Question::Route { netns, to } => self.route(*netns, *to),
            Question::Audited { pid, call, time } => {
                What::Audited { pid: *pid, call: *call, time: *time, denial: audited::of(*pid, *call, *time) }
            }
            Question::Oom(pid) => What::OomReport { pid: *pid, cgroup: oom::by_cgroup(*pid) },
        };
        vec![fact]
    }

    /// Every socket bound to a port of a namespace.
    fn sockets(&mut self, netns: Netns, port: u16) -> What {
        let dump = self.inside(netns, || sockets::bound(netns, Some(port))).flatten();
        let mut dump = self.or_by_proc(netns, Some(port), dump);
        if let Ok((sockets, _)) = &mut dump {
            let owners = self.owners.of_few(&inodes(sockets).collect(), &process::ids());
            for socket in sockets {
                socket.owner = owners.get(&socket.socket.inode).cloned();
            }
        }
        told(netns, Some(port), dump)
    }

    /// The addresses of a namespace, read from inside or through a process that lives there.
    fn addresses(&mut self, netns: Netns) -> What {
        let seen = self.inside(netns, || addresses::of(Path::new("/proc/thread-self/net"))).flatten();
        let seen = seen.or_else(|why| match self.places.get(&netns).and_then(|place| place.pid) {
            Some(pid) => addresses::of(Path::new(&format!("/proc/{pid}/net"))),
            None => Err(why),
        });
        match seen {
            Ok(addresses) => What::Addresses { netns, addresses },
            Err(why) => What::Unreadable { netns, why: why.into() },
        }
    }

    /// Whether a route of a namespace leads there.
    fn route(&self, netns: Netns, to: Endpoint) -> What {
        match self.inside(netns, || route::to(to)) {
            Ok(Some(errno)) => What::Route { netns, to, errno },
            Ok(None) => {
                What::Unreadable { netns, why: Text::from("No datagram socket could be made to ask for a route.") }
            }
            Err(why) => What::Unreadable { netns, why: why.into() },
        }
    }

    /// What a namespace is called, and who lives in it.
    fn name(&self, netns: Netns, names: &BTreeMap<Netns, Text>) -> What {
        let pid = self.places.get(&netns).and_then(|place| place.pid);
        What::NetnsName { netns, name: names.get(&netns).cloned(), pid }
    }

    /// The dump, or where a namespace may not be entered, the tables that one of its processes shows.
    fn or_by_proc(&self, netns: Netns, port: Option<u16>, dump: Result<Vec<BoundSocket>, String>) -> Dump {
        dump.map(|sockets| (sockets, Source::SockDiag)).or_else(|why| {
            let pid = self.places.get(&netns).and_then(|place| place.pid).ok_or_else(|| why.clone())?;
            let sockets = sockets::bound_by_proc(netns, pid, port).map_err(|also| format!("{why} {also}"))?;
            Ok((sockets, Source::ProcNet))
        })
    }

    /// What `work` finds in a namespace.
    fn inside<T: Send>(&self, netns: Netns, work: impl FnOnce() -> T + Send) -> Result<T, String> {
        if let Some((_, door)) = self.door.as_ref().filter(|(open, _)| *open == netns) {
            return netns::inside(netns, door, work);
        }
        let place = self.places.get(&netns).ok_or_else(|| {
            format!(
                "Network namespace {} was not found: no process or thread is in it and no name leads to it.",
                netns.0
            )
        })?;
        netns::inside(netns, &place.open(netns)?, work)
    }

    /// Looks which namespaces have a process or a mounted name.
    fn look(&mut self, pids: &[u32]) {
        (self.places, self.searched) = (netns::all(pids), 0);
    }

    /// Finds the way to a namespace that was there at a moment, unless one is known. Of a thousand that died meanwhile only
    /// the first has all processes gone through: a search after that moment would have found the others too.
    fn find(&mut self, netns: Netns, there: u64) {
        self.door = self.open(netns);
        if self.door.is_some() || !self.places.contains_key(&netns) && self.searched > there {
            return;
        }
        let (now, pids) = (boottime(), process::ids());
        self.look(&pids);
        if !self.places.contains_key(&netns) {
            netns::add_of_threads(&mut self.places, &pids);
            self.searched = now;
        }
        self.door = self.open(netns);
    }

    /// The door to a namespace, where a way to it is known.
    fn open(&self, netns: Netns) -> Option<(Netns, File)> {
        Some((netns, self.places.get(&netns)?.open(netns).ok()?))
    }
}

/// How often the SYN of a dial from this address, which nobody has answered yet, was sent again; of this thread's namespace.
pub fn sent_again(local: Endpoint) -> Option<u32> {
    sockets::sent_again(local).ok().flatten()
}

/// Sockets and how they were read, or a sentence.
type Dump = Result<(Vec<BoundSocket>, Source), String>;

/// A dump as a fact.
fn told(netns: Netns, port: Option<u16>, dump: Dump) -> What {
    match dump {
        Ok((sockets, source)) => What::Sockets { netns, port, sockets, source },
        Err(why) => What::Unreadable { netns, why: why.into() },
    }
}

/// What was found in a namespace, or that it could not be read.
fn told_of(netns: Netns, found: Result<What, String>) -> What {
    found.unwrap_or_else(|why| What::Unreadable { netns, why: why.into() })
}

/// Inodes of sockets that have a file.
fn inodes(sockets: &[BoundSocket]) -> impl Iterator<Item = u64> {
    sockets.iter().map(|socket| socket.socket.inode).filter(|inode| *inode != 0)
}

/// Whether a question is about a process that the kernel named.
fn is_of_a_process(question: &Question) -> bool {
    matches!(
        question,
        Question::Process(_)
            | Question::Alive(_)
            | Question::Holds { .. }
            | Question::Unix { .. }
            | Question::LastWords { .. }
            | Question::Files { .. }
            | Question::Standing { .. }
            | Question::Audited { .. }
            | Question::Oom(_)
    )
}

/// What a process is, when the very one that was asked about still is.
fn process_of(key: ProcessKey) -> What {
    match process::describe(key.pid).filter(|process| process::same_start(process.start, key.start())) {
        Some(process) => What::Process(process),
        None => What::ProcessState { pid: key.pid, start: key.start(), alive: false },
    }
}

/// Whether a process lives.
fn state(key: ProcessKey) -> What {
    What::ProcessState { pid: key.pid, start: key.start(), alive: process::lives(key) }
}

/// Whether a process still holds a socket.
fn holds(key: ProcessKey, inode: u64) -> What {
    let holds = process::lives(key) && owners::holds(key.pid, inode);
    What::Holds { pid: key.pid, start: key.start(), inode, holds }
}

#[cfg(test)]
mod tests;
