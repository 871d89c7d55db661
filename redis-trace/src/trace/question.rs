//! Questions: what must be looked up on the host because a refusal needs it.

use super::fact::{Call, Dropped, Passing, ProcessKey, UnixPath, What};
use super::flow::{Endpoint, Flow, Netns};
use super::text::Text;
use crate::firewall::Wanted;

/// What must be looked up on the host because a refusal needs it. The answer is a fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Who holds this port in this namespace? Answered by [`What::Sockets`] with the port, or [`What::Unreadable`].
    Sockets {
        /// Where.
        netns: Netns,
        /// Which port.
        port: u16,
    },
    /// What waits for the listeners on this port, and what keeps their owners? Answered by [`What::Queues`] or
    /// [`What::Unreadable`].
    Queues {
        /// Where.
        netns: Netns,
        /// Which port.
        port: u16,
    },
    /// Which addresses has this namespace? Answered by [`What::Addresses`] or [`What::Unreadable`].
    Addresses(Netns),
    /// Where would the kernel send a packet of this user's to this server? Answered by [`What::Way`] or
    /// [`What::Unreadable`].
    Way {
        /// Where.
        netns: Netns,
        /// To which server.
        to: Endpoint,
        /// Whose.
        uid: u32,
    },
    /// Are there ports left to dial this server from? Answered by [`What::Ports`] or [`What::Unreadable`].
    Ports {
        /// Where.
        netns: Netns,
        /// Which server.
        to: Endpoint,
    },
    /// What is this namespace called? Answered by [`What::NetnsName`].
    NetnsName(Netns),
    /// What is this process? Answered by [`What::Process`], or [`What::ProcessState`] with `alive` false.
    Process(ProcessKey),
    /// Does that very process still live? Answered by [`What::ProcessState`].
    Alive(ProcessKey),
    /// Does that very process still hold this socket? Answered by [`What::Holds`].
    Holds {
        /// Which process.
        process: ProcessKey,
        /// The socket's inode.
        inode: u64,
    },
    /// What stands behind this path? Answered by [`What::UnixState`].
    Unix {
        /// Who dialled: its root, its working directory, its user.
        pid: u32,
        /// Its user.
        uid: u32,
        /// Its namespace, for abstract names.
        netns: Netns,
        /// What it dialled.
        path: UnixPath,
    },
    /// Where do server programs listen on unix sockets? Answered by [`What::UnixListeners`].
    UnixListeners(Netns),
    /// Which BPF programs on hooks of security modules are there? Answered by [`What::LsmPrograms`].
    LsmPrograms,
    /// Does a route lead there? Answered by [`What::Route`].
    Route {
        /// From where.
        netns: Netns,
        /// Where to.
        to: Endpoint,
    },
    /// What did this server say before it ended? Answered by [`What::LastWords`].
    LastWords {
        /// Which process.
        process: ProcessKey,
        /// How it was started.
        argv: Vec<Text>,
        /// Its cgroup, which names the unit whose journal to read.
        cgroup: Option<Text>,
        /// Where its standard error went, when a probe caught it.
        parent: u32,
    },
    /// How many files has this process open, and what limits them? Answered by [`What::Files`].
    Files {
        /// Which process.
        process: ProcessKey,
        /// How it was started; empty when that was not seen.
        argv: Vec<Text>,
    },
    /// How does this server stand, and how many are connected to this port of its? Answered by [`What::Standing`].
    Standing {
        /// Which process.
        process: ProcessKey,
        /// How it was started; empty when that was not seen.
        argv: Vec<Text>,
        /// Where it listens.
        netns: Netns,
        /// On which port.
        port: u16,
    },
    /// Which of the firewall's rules can have done this to that SYN? Answered by [`What::Suspected`].
    Firewall {
        /// Of the SYN, where it was done.
        flow: Flow,
        /// Its sequence number.
        isn: u32,
        /// What rules could see of it besides.
        sight: Passing,
        /// What was done.
        wanted: Wanted,
    },
    /// What did the kernel's audit record of a call that was denied? Answered by [`What::Audited`].
    Audited {
        /// Whose.
        pid: u32,
        /// Which call.
        call: Call,
        /// When it ended, boottime nanoseconds.
        time: u64,
    },
    /// Was it the host's memory or a cgroup's limit? Answered by [`What::OomReport`].
    Oom(u32),
}

impl Question {
    /// Which rules can have dropped a SYN?
    pub fn firewall(dropped: &Dropped) -> Self {
        let Dropped { flow, isn, sight, .. } = dropped;
        Self::Firewall { flow: *flow, isn: *isn, sight: *sight, wanted: Wanted::Refusal }
    }

    /// The namespace it is about, when it is about one.
    pub fn netns(&self) -> Option<Netns> {
        match self {
            Self::Sockets { netns, .. }
            | Self::Queues { netns, .. }
            | Self::Route { netns, .. }
            | Self::Ports { netns, .. }
            | Self::Addresses(netns)
            | Self::NetnsName(netns)
            | Self::UnixListeners(netns)
            | Self::Standing { netns, .. }
            | Self::Way { netns, .. }
            | Self::Unix { netns, .. } => Some(*netns),
            Self::Firewall { flow, .. } => Some(flow.netns),
            Self::Process(_)
            | Self::Alive(_)
            | Self::Holds { .. }
            | Self::LastWords { .. }
            | Self::Files { .. }
            | Self::Audited { .. }
            | Self::Oom(_)
            | Self::LsmPrograms => None,
        }
    }

    /// Whether this is the host's answer to it.
    pub fn is_answered_by(&self, what: &What) -> bool {
        match (self, what) {
            (Self::Sockets { netns, port }, What::Sockets { netns: of, port: Some(on), .. }) => {
                netns == of && port == on
            }
            (Self::Queues { netns, port }, What::Queues(queues)) => *netns == queues.netns && *port == queues.port,
            (Self::Way { netns, to, .. }, What::Way(way)) => *netns == way.netns && to.ip == way.to,
            (Self::Ports { netns, to }, What::Ports(ports)) => *netns == ports.netns && *to == ports.to,
            (Self::Addresses(netns), What::Addresses { netns: of, .. })
            | (Self::NetnsName(netns), What::NetnsName { netns: of, .. })
            | (Self::UnixListeners(netns), What::UnixListeners { netns: of, .. }) => netns == of,
            (Self::Process(key), What::Process(process)) => *key == process.key(),
            (Self::Process(key) | Self::Alive(key), What::ProcessState { pid, start, .. }) => {
                *key == ProcessKey::new(*pid, *start)
            }
            (Self::Holds { process, inode }, What::Holds { pid, start, inode: of, .. }) => {
                *process == ProcessKey::new(*pid, *start) && inode == of
            }
            (Self::Unix { pid, path, .. }, What::UnixState(state)) => *pid == state.pid && *path == state.path,
            (Self::LastWords { process, .. }, What::LastWords { pid, start, .. }) => {
                *process == ProcessKey::new(*pid, *start)
            }
            (Self::Files { process, .. }, What::Files(files)) => *process == files.process(),
            (Self::Standing { process, port, .. }, What::Standing(standing)) => {
                (*process, *port) == (standing.process(), standing.port)
            }
            (Self::Firewall { flow, isn, wanted, .. }, What::Suspected(suspected)) => {
                (flow.netns, *isn, *wanted) == (suspected.netns, suspected.isn, suspected.wanted)
            }
            (Self::LsmPrograms, What::LsmPrograms { .. }) => true,
            (Self::Route { netns, to }, What::Route { netns: of, to: leads, .. }) => netns == of && to == leads,
            (Self::Audited { pid, call, time }, What::Audited { pid: of, call: on, time: at, .. }) => {
                (pid, call, time) == (of, on, at)
            }
            (Self::Oom(pid), What::OomReport { pid: of, .. }) => pid == of,
            (question, What::Unreadable { netns, .. }) => question.netns() == Some(*netns),
            _ => false,
        }
    }
}
