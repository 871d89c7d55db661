//! Facts: everything the tool ever knows, each with the time it was true. A recording is a list of them.
//!
//! A fact comes from a record of a probe, or from the host as the answer to a [`Question`](super::question::Question). Nothing else enters the pure
//! core: no clock, no file, no socket. Times are `CLOCK_BOOTTIME` nanoseconds.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

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
    },
    /// bind(2) or listen(2) on a TCP socket returned.
    Bind(Bind),
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
        why: String,
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
    pub kernel: String,
    /// The tool's version.
    pub version: String,
    /// When observation began, boottime nanoseconds: nothing older is known but by snapshot.
    pub since: u64,
    /// The kernel's own resets to unmatched SYNs are seen (server end).
    pub resets: bool,
    /// Clients' failed connects are seen.
    pub connects: bool,
    /// bind and listen failures are seen.
    pub binds: bool,
    /// Failed unix connects are seen.
    pub unix: bool,
    /// The inode of the namespace the tool runs in.
    pub netns: Netns,
}

/// A reset that answered a SYN because no socket matched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reset {
    /// Of the SYN.
    pub flow: Flow,
    /// The SYN's sequence number.
    pub isn: u32,
    /// The kernel's own reason name (`NO_SOCKET`), where the kernel has one.
    pub reason: Option<String>,
    /// An `sk_lookup` BPF program is attached to the namespace.
    pub sk_lookup: bool,
    /// Time to live of the SYN.
    pub ttl: u32,
}

/// A connect(2) that failed after the SYN was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectFailed {
    /// From the client's socket.
    pub flow: Flow,
    /// Who dialled.
    pub task: Task,
    /// When it dialled, boottime nanoseconds.
    pub dialled: u64,
    /// The errno the client gets.
    pub errno: u32,
    /// Its SYN's sequence number.
    pub isn: u32,
}

/// A task at the moment of a system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Its network namespace.
    pub netns: Netns,
    /// When the process started, boottime nanoseconds.
    pub start: u64,
    /// Its cgroup's id.
    pub cgroup: u64,
    /// Its name.
    pub comm: Text,
    /// It descends from the command that the tool runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub family: bool,
}

impl Task {
    /// What tells this process from another that had or will have the same id.
    pub fn key(&self) -> ProcessKey {
        ProcessKey::new(self.pid, self.start)
    }
}

/// A process for all time: its id, and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessKey {
    /// Process id.
    pub pid: u32,
    /// When it started, boottime nanoseconds, rounded down to a clock tick (10 ms), which is all that `/proc` tells.
    start: u64,
}

impl ProcessKey {
    /// From a start time as exact as its source has it.
    pub fn new(pid: u32, start: u64) -> Self {
        const TICK: u64 = 10_000_000;
        Self { pid, start: start / TICK * TICK }
    }

    /// When it started, boottime nanoseconds, to a clock tick.
    pub fn start(self) -> u64 {
        self.start
    }
}

impl Process {
    /// What tells this process from another that had or will have the same id.
    pub fn key(&self) -> ProcessKey {
        ProcessKey::new(self.pid, self.start)
    }
}

/// What a process is: from the kernel while it mattered, or from `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// When it started, boottime nanoseconds.
    pub start: u64,
    /// Its parent.
    pub parent: u32,
    /// Its name.
    pub comm: Text,
    /// Real user id.
    pub uid: Option<u32>,
    /// Path of its executable in its own mount namespace.
    pub exe: Option<Text>,
    /// Path of its cgroup below the unified hierarchy's root, or of the longest of its version 1 cgroups.
    pub cgroup: Option<Text>,
    /// Its command line, secrets redacted; empty when not known.
    #[serde(default)]
    pub cmdline: Vec<Text>,
}

/// A TCP socket, by what identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// Where.
    pub netns: Netns,
    /// Local address and port.
    pub local: Endpoint,
    /// Its family is `AF_INET6` (so `::` takes IPv4 too unless `v6only`).
    pub ipv6: bool,
    /// `IPV6_V6ONLY`.
    pub v6only: bool,
    /// Interface or VRF it is bound to; 0 for any.
    pub ifindex: u32,
    /// Inode of its file; 0 when not known.
    pub inode: u64,
}

/// A socket that `sock_diag` or `/proc` showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundSocket {
    /// The socket.
    #[serde(flatten)]
    pub socket: Socket,
    /// True for LISTEN, false for a socket that is bound and does nothing.
    pub listening: bool,
    /// Connections that wait to be accepted, when it listens.
    pub queued: Option<u32>,
    /// The accept queue's limit, where the source tells it.
    pub backlog: Option<u32>,
    /// Who holds it, as far as `/proc` shows.
    pub owner: Option<Process>,
}

/// bind(2) or listen(2) that returned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bind {
    /// The socket, with the address and port asked for.
    pub socket: Socket,
    /// Who called.
    pub task: Task,
    /// 0, or the errno.
    pub errno: u32,
    /// It was listen(2).
    pub listen: bool,
    /// The caller had CAP_NET_BIND_SERVICE.
    pub net_bind_service: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// By itself, with this exit code.
    Exited(u8),
    /// By this signal.
    Killed {
        /// Its number.
        signal: u8,
        /// It left a core dump.
        core: bool,
    },
}

/// A unix socket's address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnixPath {
    /// A path in the caller's mount namespace, perhaps relative to its working directory.
    File(Text),
    /// An abstract name, without its NUL.
    Abstract(Text),
}

/// What stands behind a unix socket path, seen with the eyes of the process that dialled it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixState {
    /// Who dialled.
    pub pid: u32,
    /// What it dialled.
    pub path: UnixPath,
    /// Something exists under that path (always true for an abstract name that is bound).
    pub exists: Option<bool>,
    /// It is a socket.
    pub is_socket: Option<bool>,
    /// Somebody listens behind it.
    pub listening: Option<bool>,
    /// The first part of the path that this user may not search or write, with its mode and owner, as a phrase.
    pub forbidden: Option<Forbidden>,
}

/// The part of a path that a user's permission ends at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forbidden {
    /// The directory or socket.
    pub path: Text,
    /// Permission bits, as in `0770`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A unix stream socket that a server program listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixListener {
    /// Where.
    pub path: UnixPath,
    /// By whom.
    pub owner: Process,
}

/// Why a server did not start, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where the words were found: a log file, its standard error, the journal; or the configuration file itself.
    pub source: Text,
    /// The words.
    pub line: Text,
    /// The configuration file and line that they name.
    pub config: Option<ConfigLine>,
    /// True when the server said so; false when the tool read the configuration and found the line itself.
    pub said: bool,
}

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigLine {
    /// The file, in the server's mount namespace.
    pub file: Text,
    /// Line number, from 1.
    pub line: u32,
    /// The line itself, secrets redacted.
    pub text: Text,
}

/// How sockets were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `sock_diag` netlink in that namespace: all there is.
    SockDiag,
    /// `/proc/PID/net/tcp` and `tcp6`: listeners only, no limit.
    ProcNet,
}
