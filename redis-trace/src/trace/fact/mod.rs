//! Facts: everything the tool ever knows, each with the time it was true. A recording is a list of them.
//!
//! A fact comes from a record of a probe, or from the host as the answer to a [`Question`](super::question::Question). Nothing else enters the pure
//! core: no clock, no file, no socket. Times are `CLOCK_BOOTTIME` nanoseconds.
mod counters;
mod denial;
mod dial;
mod dropped;
mod early;
mod fault;
mod files;
mod folded;
mod process;
mod queue;
mod route;
mod socket;
mod standing;
mod unix;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use counters::{Counters, Watched};
pub use denial::{Asked, Audited, BpfProgram, Call, Denial, Module, Said};
pub use dial::{ConnectFailed, IcmpError, Phase};
pub use dropped::{DeniedPacket, Dropped, Filters, Passing, Rejected, Suspected};
pub use early::{EarlyEnd, Parting};
pub use fault::{ConfigLine, Fault};
pub use files::{AcceptFailed, Files, UnitLimit};
pub use folded::{Alike, Folded};
pub use process::{Ending, Process, ProcessKey, Task};
pub use queue::{Overflow, Overflows, Queue, QueueKind, Queues, Serving, TaskState};
pub use route::{Ports, Way, WayTo};
pub use socket::{Bind, BoundSocket, Socket, Source};
pub use standing::{Decisive, RESERVED_FILES, Settings, Standing};
pub use unix::{Forbidden, UnixListener, UnixPath, UnixQueue, UnixState};

use super::flow::{Endpoint, Flow, Netns};
use super::text::Text;

/// One observation and when it was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// When, boottime nanoseconds.
    pub time: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What was observed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum What {
    /// The wall clock read `unix_ns` at this fact's time; sent first, and again after a step.
    Clock {
        /// Nanoseconds since 1970, UTC.
        unix_ns: i64,
    },
    /// What can be seen on this host, sent once before all else but the clock.
    Sight(Sight),
    /// Time passed: what waited for a partner waits no longer.
    Tick,

    /// The kernel sent a reset to a SYN for which it found no socket.
    Reset(Reset),
    /// A client's connect failed.
    ConnectFailed(ConnectFailed),
    /// A SYN was dropped on its way, for the first time.
    Dropped(Dropped),
    /// A thread that was refused a moment ago dialled again and was connected.
    Connected {
        /// What was dialled this time.
        flow: Flow,
        /// Who.
        task: Task,
    },
    /// A TCP socket began to listen.
    ListenUp {
        /// The socket.
        socket: Socket,
        /// Who called listen(2).
        task: Task,
        /// The accept queue's limit.
        backlog: u32,
    },
    /// A TCP socket stopped listening.
    ListenDown {
        /// The socket.
        socket: Socket,
        /// Who let go of it last.
        task: Task,
        /// How that process was ending, when it was.
        ending: Option<Ending>,
        /// Connections that waited to be accepted.
        #[serde(default)]
        queued: u32,
        /// How many may wait before the queue is full.
        #[serde(default)]
        backlog: u32,
    },
    /// bind(2) or listen(2) on a TCP socket returned.
    Bind(Bind),
    /// What may have said no to the call whose fact comes next of that thread.
    Denial(Denial),
    /// socket(2) for TCP failed.
    SocketDenied {
        /// Who called.
        task: Task,
        /// For IPv6.
        ipv6: bool,
        /// The errno.
        errno: u32,
    },
    /// connect(2) on a unix stream socket failed.
    UnixConnect {
        /// Who called.
        task: Task,
        /// The errno.
        errno: u32,
        /// What was dialled.
        path: UnixPath,
    },
    /// A unix stream socket began to listen.
    UnixListen {
        /// Who called listen(2).
        task: Task,
        /// Where.
        path: UnixPath,
    },
    /// A connection found a listener's queue full.
    QueueFull(Overflow),
    /// accept(2) failed for want of a file.
    AcceptFailed(AcceptFailed),
    /// How many files a process has open and may open.
    Files(Files),
    /// How a running server stands.
    Standing(Standing),
    /// Connections have found queues full, as the kernel counts them.
    Overflows(Overflows),
    /// A connection ended when its server had said no, or next to nothing.
    EarlyEnd(EarlyEnd),
    /// The queues of the listeners on a port.
    Queues(Queues),
    /// The number of a network namespace that is gone was given to a new one.
    NetnsReborn {
        /// The number.
        netns: Netns,
    },
    /// A server program was executed.
    Exec {
        /// Its task after the exec.
        task: Task,
        /// Who started it.
        parent: u32,
        /// Its arguments as given, perhaps cut at the end.
        argv: Vec<Text>,
    },
    /// A watched process ended.
    Exit {
        /// Which.
        task: Task,
        /// How.
        ending: Ending,
    },
    /// A watched process was sent a signal.
    Signal {
        /// Who sent it; means nothing when `by_kernel`.
        sender: Task,
        /// To whom.
        target: u32,
        /// Which.
        signal: u32,
        /// True when the kernel made it (a fault, the OOM killer), not a process.
        by_kernel: bool,
    },
    /// The OOM killer chose this process.
    OomVictim {
        /// Which.
        pid: u32,
    },
    /// Refusals that were counted where they happened and not told one by one.
    Folded(Folded),
    /// How the kernel's counters stand, and what was seen of what they count.
    Counted {
        /// The kernel's, of each namespace.
        counters: Vec<Counters>,
        /// The probes', of each namespace in which they saw any.
        watched: Vec<Watched>,
        /// Resets that refused a connection.
        refusals: u64,
    },
    /// What a process is.
    Process(Process),

    /// Every listening TCP socket of a namespace (`port` absent), or every socket bound to one port there.
    Sockets {
        /// The namespace.
        netns: Netns,
        /// The port asked for; absent when all listeners were.
        port: Option<u16>,
        /// What there is.
        sockets: Vec<BoundSocket>,
        /// How it was read: `sock_diag` or `/proc/PID/net/tcp`.
        source: Source,
    },
    /// A namespace could not be read, and why.
    Unreadable {
        /// The namespace.
        netns: Netns,
        /// A full sentence.
        why: Text,
    },
    /// A namespace's name and a way to it.
    NetnsName {
        /// The namespace.
        netns: Netns,
        /// `/run/netns` name, when it has one.
        name: Option<Text>,
        /// A process that lives in it.
        pid: Option<u32>,
    },
    /// The addresses that a namespace's interfaces have.
    Addresses {
        /// The namespace.
        netns: Netns,
        /// All of them.
        addresses: Vec<IpAddr>,
    },
    /// Where the kernel would send a packet, or that it would not.
    Way(WayTo),
    /// How many of the ports that the kernel may choose from are taken.
    Ports(Ports),
    /// What is known of a process by asking `/proc` (its owner may be gone: then `alive` is false).
    ProcessState {
        /// Process id.
        pid: u32,
        /// When the process with this id that was asked about started.
        start: u64,
        /// Whether that very process lives.
        alive: bool,
    },
    /// Whether a process still holds a socket.
    Holds {
        /// Process id.
        pid: u32,
        /// When it started.
        start: u64,
        /// The socket's inode.
        inode: u64,
        /// It does.
        holds: bool,
    },
    /// What stands behind a unix socket path.
    UnixState(UnixState),
    /// The unix sockets that server programs listen on.
    UnixListeners {
        /// In the namespace that was asked about.
        netns: Netns,
        /// What there is.
        listeners: Vec<UnixListener>,
    },
    /// What a server that failed left behind: the last lines that name a fatal fault.
    LastWords {
        /// Which process.
        pid: u32,
        /// When it started.
        start: u64,
        /// The fault, when one was found.
        fault: Option<Fault>,
        /// The ports it would have listened on.
        ports: Vec<u16>,
        /// The addresses it would have listened on; empty for all.
        addresses: Vec<IpAddr>,
    },
    /// The firewall's rules that can have done something to a packet.
    Suspected(Suspected),
    /// The BPF programs on hooks of security modules.
    LsmPrograms {
        /// All of them.
        programs: Vec<BpfProgram>,
    },
    /// Whether a route leads somewhere: 0, or the errno that a dial gets for want of one.
    Route {
        /// The namespace.
        netns: Netns,
        /// Where to.
        to: Endpoint,
        /// The errno.
        errno: u32,
    },
    /// What the kernel's audit says of a call.
    Audited {
        /// Whose.
        pid: u32,
        /// Which call.
        call: Call,
        /// When it ended, boottime nanoseconds.
        time: u64,
        /// Who denied it; absent when nothing was recorded.
        denial: Option<Audited>,
    },
    /// What the kernel's log says of an OOM kill.
    OomReport {
        /// The victim.
        pid: u32,
        /// True for a memory cgroup's limit, false for the whole host; absent when the log does not say.
        cgroup: Option<bool>,
    },
}

/// What this host lets us see.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// `uname -r`.
    pub kernel: Text,
    /// The tool's version.
    pub version: Text,
    /// When observation began, boottime nanoseconds: nothing older is known but by snapshot.
    pub since: u64,
    /// The kernel's own resets to unmatched SYNs are seen (server end).
    pub resets: bool,
    /// Clients' failed connects are seen.
    pub connects: bool,
    /// SYNs that are dropped on their way are seen.
    #[serde(default)]
    pub drops: bool,
    /// bind and listen failures are seen.
    pub binds: bool,
    /// Failed unix connects are seen.
    pub unix: bool,
    /// Whoever says no to a call on a socket is heard, but for the modules below.
    #[serde(default)]
    pub module_hooks: bool,
    /// Modules of which it is not heard when they say no to these calls.
    #[serde(default)]
    pub unheard: Vec<(Module, Call)>,
    /// Questions for capabilities that are answered by no are seen.
    #[serde(default)]
    pub capabilities: bool,
    /// The security modules that are at work; absent where that cannot be read.
    #[serde(default)]
    pub modules: Option<Vec<Text>>,
    /// The inode of the namespace the tool runs in.
    pub netns: Netns,
}

impl Sight {
    /// Whether it is heard when a module says no to such a call.
    pub fn hears(&self, module: Module, call: Call) -> bool {
        self.module_hooks && !self.unheard.contains(&(module, call))
    }

    /// Whether a security module is at work, by its name in the kernel's list.
    pub fn has_module(&self, name: &str) -> bool {
        self.modules.as_ref().is_some_and(|modules| modules.iter().any(|module| module.as_str() == name))
    }
}

/// A reset that answered a SYN because no socket matched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reset {
    /// Of the SYN.
    pub flow: Flow,
    /// The SYN's sequence number.
    pub isn: u32,
    /// The kernel's own reason name (`NO_SOCKET`), where the kernel has one.
    pub reason: Option<Text>,
    /// An `sk_lookup` BPF program is attached to the namespace.
    pub sk_lookup: bool,
    /// Time to live of the SYN.
    pub ttl: u32,
}
