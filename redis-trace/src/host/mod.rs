//! What this host answers when a refusal needs it: sockets, processes, namespaces, files. Blocking code, run on a thread
//! of its own; every answer is a fact, and what vanished while we looked is a normal answer.

mod addresses;
pub mod clock;
mod netlink;
mod netns;
mod owners;
mod process;
mod sockets;

use std::collections::BTreeMap;
use std::path::Path;

pub use clock::{boottime, wall};
use netns::Place;
use owners::Owners;

use crate::trace::fact::{BoundSocket, ProcessKey, Source, What};
use crate::trace::flow::Netns;
use crate::trace::question::Question;

/// The parent of a process that lives.
pub fn parent_of(pid: u32) -> Option<u32> {
    process::stat(pid).map(|stat| stat.parent)
}

/// The host, and what was learnt while asking it.
#[derive(Debug, Default)]
pub struct Host {
    /// The namespaces that were found last.
    places: BTreeMap<Netns, Place>,
    /// The processes that own sockets.
    owners: Owners,
}

impl Host {
    /// A host that has not been looked at.
    pub fn new() -> Self {
        Self::default()
    }

    /// The namespaces of this host, their listeners and their servers' unix sockets, as they are now.
    pub fn snapshot(&mut self) -> Vec<What> {
        let pids = process::ids();
        self.places = netns::all(&pids);
        let mut facts: Vec<What> = self.places.iter().map(|(netns, place)| name(*netns, Some(place))).collect();
        let mut dumps: Vec<_> = netns::inside_each(&self.places, |netns| sockets::bound(netns, None))
            .into_iter()
            .map(|(netns, dump)| (netns, self.or_by_proc(netns, None, dump.flatten())))
            .collect();
        let inodes = dumps.iter().flat_map(|(_, dump)| dump.iter().flat_map(|(sockets, _)| inodes(sockets))).collect();
        let owners = self.owners.of_all(&inodes, &pids);
        for (_, dump) in &mut dumps {
            for socket in dump.iter_mut().flat_map(|(sockets, _)| sockets) {
                socket.owner = owners.get(&socket.socket.inode).cloned();
            }
        }
        facts.extend(dumps.into_iter().map(|(netns, dump)| told(netns, None, dump)));
        facts
    }

    /// The answer to a question: one fact, or more.
    pub fn answer(&mut self, question: &Question) -> Vec<What> {
        let fact = match question {
            Question::Sockets { netns, port } => self.sockets(*netns, *port),
            Question::Addresses(netns) => self.addresses(*netns),
            Question::NetnsName(netns) => name(*netns, self.place(*netns).as_ref()),
            Question::Process(key) => process_of(*key),
            Question::Alive(key) => state(*key),
            Question::Holds { process, inode } => holds(*process, *inode),
            Question::Unix { .. } | Question::UnixListeners(_) | Question::LastWords { .. } | Question::Oom(_) => {
                return Vec::new();
            }
        };
        vec![fact]
    }

    /// Every socket bound to a port of a namespace.
    fn sockets(&mut self, netns: Netns, port: u16) -> What {
        let dump = self.inside(netns, |_| sockets::bound(netns, Some(port))).flatten();
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
        let seen = self.inside(netns, |_| addresses::of(Path::new("/proc/thread-self/net"))).flatten();
        let seen = seen.or_else(|why| match self.places.get(&netns).and_then(|place| place.pid) {
            Some(pid) => addresses::of(Path::new(&format!("/proc/{pid}/net"))),
            None => Err(why),
        });
        match seen {
            Ok(addresses) => What::Addresses { netns, addresses },
            Err(why) => What::Unreadable { netns, why },
        }
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
    fn inside<T: Send>(&mut self, netns: Netns, work: impl FnOnce(&Place) -> T + Send) -> Result<T, String> {
        let place = self.place(netns).ok_or_else(|| {
            format!(
                "Network namespace {} was not found: no process or thread is in it and no name leads to it.",
                netns.0
            )
        })?;
        netns::inside(netns, &place, || work(&place))
    }

    /// The way to a namespace: the one known, while it leads there, or the one that a new look at all processes finds.
    fn place(&mut self, netns: Netns) -> Option<Place> {
        if self.places.get(&netns).and_then(|place| place.open(netns)).is_none() {
            let pids = process::ids();
            self.places = netns::all(&pids);
            if !self.places.contains_key(&netns) {
                self.places.extend(netns::of_a_thread(netns, &pids).map(|place| (netns, place)));
            }
        }
        self.places.get(&netns).cloned()
    }
}

/// Sockets and how they were read, or a sentence.
type Dump = Result<(Vec<BoundSocket>, Source), String>;

/// A dump as a fact.
fn told(netns: Netns, port: Option<u16>, dump: Dump) -> What {
    match dump {
        Ok((sockets, source)) => What::Sockets { netns, port, sockets, source },
        Err(why) => What::Unreadable { netns, why },
    }
}

/// Inodes of sockets that have a file.
fn inodes(sockets: &[BoundSocket]) -> impl Iterator<Item = u64> {
    sockets.iter().map(|socket| socket.socket.inode).filter(|inode| *inode != 0)
}

/// What a namespace is called.
fn name(netns: Netns, place: Option<&Place>) -> What {
    let (name, pid) = place.map(|place| (place.name.clone(), place.pid)).unwrap_or_default();
    What::NetnsName { netns, name, pid }
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
mod tests {
    use std::net::TcpListener;

    use super::netns::tests::Stranger;
    use super::*;

    /// A listener in another namespace, held by this process.
    fn listener_in(stranger: &Stranger) -> (TcpListener, u16) {
        let listener = netns::inside(stranger.netns, &stranger.place(), || TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a visit").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        (listener, port)
    }

    /// The sockets of a namespace, out of many facts.
    fn sockets_of(facts: &[What], wanted: Netns) -> Vec<BoundSocket> {
        let found = facts.iter().filter_map(|fact| match fact {
            What::Sockets { netns, sockets, .. } if *netns == wanted => Some(sockets.clone()),
            _ => None,
        });
        found.flatten().collect()
    }

    #[test]
    fn a_snapshot_names_every_namespace_its_listeners_and_their_owner() {
        let stranger = Stranger::new();
        let (_listener, port) = listener_in(&stranger);
        let facts = Host::new().snapshot();
        let named = What::NetnsName { netns: stranger.netns, name: None, pid: Some(stranger.child.id()) };
        assert!(facts.contains(&named));
        let sockets = sockets_of(&facts, stranger.netns);
        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets[0].socket.local.port, port);
        assert_eq!(sockets[0].owner.as_ref().map(|owner| owner.pid), Some(std::process::id()));
    }

    #[test]
    fn a_question_about_a_port_finds_who_holds_it_in_another_namespace() {
        let stranger = Stranger::new();
        let (_listener, port) = listener_in(&stranger);
        let mut host = Host::new();
        let answer = host.answer(&Question::Sockets { netns: stranger.netns, port });
        let sockets = sockets_of(&answer, stranger.netns);
        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets[0].owner.as_ref().map(|owner| owner.pid), Some(std::process::id()));
        let nobody = host.answer(&Question::Sockets { netns: stranger.netns, port: port ^ 1 });
        assert!(matches!(&nobody[..], [What::Sockets { sockets, source: Source::SockDiag, .. }] if sockets.is_empty()));
    }

    #[test]
    fn a_fork_that_keeps_the_socket_open_does_not_own_it() {
        use std::os::fd::AsFd;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let copy = listener.as_fd().try_clone_to_owned().expect("a copy");
        let mut command = std::process::Command::new("/bin/cat");
        let mut child = command.stdin(std::process::Stdio::piped()).stderr(copy).spawn().expect("cat");
        let mut host = Host::new();
        let own = netns::current().expect("a namespace");
        for answer in [host.snapshot(), host.answer(&Question::Sockets { netns: own, port })] {
            let sockets = sockets_of(&answer, own);
            let socket = sockets.iter().find(|socket| socket.socket.local.port == port).expect("it listens");
            assert_eq!(socket.owner.as_ref().map(|owner| owner.pid), Some(std::process::id()));
        }
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }

    #[test]
    fn an_heir_owns_the_socket_of_a_process_that_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut command = std::process::Command::new("/bin/cat");
        let child = command.stdin(std::process::Stdio::piped()).stderr(std::os::fd::OwnedFd::from(listener));
        let mut child = child.spawn().expect("cat");
        drop(command);
        let own = netns::current().expect("a namespace");
        let answer = Host::new().answer(&Question::Sockets { netns: own, port });
        let owner = sockets_of(&answer, own).pop().and_then(|socket| socket.owner);
        assert_eq!(owner.map(|owner| owner.pid), Some(child.id()));
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }

    #[test]
    fn a_namespace_answers_with_its_addresses_and_one_that_is_gone_with_a_sentence() {
        let stranger = Stranger::new();
        let netns = stranger.netns;
        let mut host = Host::new();
        let loopback = ["127.0.0.1", "::1"].map(|ip| ip.parse().expect("an address")).to_vec();
        assert_eq!(host.answer(&Question::Addresses(netns)), [What::Addresses { netns, addresses: loopback }]);
        drop(stranger);
        for question in [Question::Addresses(netns), Question::Sockets { netns, port: 1 }] {
            assert!(matches!(&host.answer(&question)[..], [What::Unreadable { why, .. }] if why.ends_with('.')));
        }
        assert_eq!(host.answer(&Question::NetnsName(netns)), [What::NetnsName { netns, name: None, pid: None }]);
    }

    #[test]
    fn a_process_answers_only_for_itself() {
        let pid = std::process::id();
        let me = process::describe(pid).expect("we live");
        let (mut host, key) = (Host::new(), ProcessKey::new(pid, me.start));
        assert_eq!(host.answer(&Question::Process(key)), [What::Process(me)]);
        let other = ProcessKey::new(pid, key.start() - 20_000_000);
        let gone = [What::ProcessState { pid, start: other.start(), alive: false }];
        assert_eq!(host.answer(&Question::Process(other)), gone);
        assert_eq!(host.answer(&Question::Alive(other)), gone);
        assert_eq!(host.answer(&Question::Alive(key)), [What::ProcessState { pid, start: key.start(), alive: true }]);
    }
}
