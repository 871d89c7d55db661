//! A verdict: the cause of a refusal with all that its sentence needs, and how sure it is.

use crate::firewall::{Backend, Candidate, Effect};

use super::cause::{Code, Confidence};
use super::denied::Denied;
use super::dialling::Dialling;
use super::fact::{
    BoundSocket, Dropped, Ending, Forbidden, Process, QueueKind, Socket, Standing, UnixListener, UnixPath,
};
use super::files::NoFile;
use super::flow::Endpoint;
use super::known::{EndedListener, FailedBind, FailedStart, Listener, OomLimit, Redirect, Sent};
use super::queue::FullQueue;

/// Why a refusal happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The cause.
    pub cause: Cause,
    /// How sure.
    pub confidence: Confidence,
}

impl Verdict {
    /// The kernel or the server said so.
    pub fn certain(cause: Cause) -> Self {
        Self { cause, confidence: Confidence::Certain }
    }

    /// Two independent facts say so.
    pub fn likely(cause: Cause) -> Self {
        Self { cause, confidence: Confidence::Likely }
    }

    /// One fact says so.
    pub fn possible(cause: Cause) -> Self {
        Self { cause, confidence: Confidence::Possible }
    }

    /// No surer than this.
    #[must_use]
    pub fn at_most(self, confidence: Confidence) -> Self {
        Self { confidence: self.confidence.min(confidence), ..self }
    }
}

/// Every cause, with what makes it true.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// Nothing that was seen explains it.
    Unknown {
        /// What was missing, a clause.
        missing: String,
    },
    /// Nothing listens there and nothing explains it.
    NoListener,
    /// The last listener exited by itself.
    ListenerExited {
        /// The listener.
        ended: EndedListener,
        /// When its process ended, boottime nanoseconds.
        time: u64,
        /// The exit code; absent when the exit was not seen.
        code: Option<u8>,
        /// The request to end that it was sent.
        asked: Option<Sent>,
    },
    /// The last listener was killed.
    ListenerKilled {
        /// The listener.
        ended: EndedListener,
        /// When its process ended, boottime nanoseconds.
        time: u64,
        /// The signal.
        signal: u8,
        /// Who sent it.
        by: Option<Sent>,
    },
    /// The last listener was killed by the OOM killer.
    ListenerOomKilled {
        /// The listener.
        ended: EndedListener,
        /// When its process ended, boottime nanoseconds.
        time: u64,
        /// Whose memory limit.
        limit: OomLimit,
    },
    /// The last listener crashed.
    ListenerCrashed {
        /// The listener.
        ended: EndedListener,
        /// When its process ended, boottime nanoseconds.
        time: u64,
        /// The signal.
        signal: u8,
        /// It left a core dump.
        core: bool,
        /// Who sent the signal, when a process did.
        by: Option<Sent>,
    },
    /// The last listener was closed by a process that lives.
    ListenerClosed {
        /// The listener.
        ended: EndedListener,
    },
    /// Listeners on that port miss the address or the device.
    BoundToOtherAddress {
        /// They.
        listeners: Vec<Listener>,
    },
    /// Redis-like servers listen on other ports only.
    BoundToOtherPort {
        /// Their listeners.
        listeners: Vec<Listener>,
    },
    /// Listeners on that port are of the other address family.
    OtherAddressFamily {
        /// They.
        listeners: Vec<Listener>,
    },
    /// Listeners on that port live in other namespaces.
    ListenerInOtherNetns {
        /// They.
        listeners: Vec<Listener>,
    },
    /// bind failed: the address is in use.
    AddressInUse {
        /// The attempt.
        failed: FailedBind,
        /// Who holds the address.
        holder: Option<BoundSocket>,
    },
    /// bind failed: the address is on no interface.
    AddressNotAvailable {
        /// The attempt.
        failed: FailedBind,
    },
    /// bind failed: the port is privileged and the capability is missing.
    PrivilegedPort {
        /// The attempt.
        failed: FailedBind,
    },
    /// A socket is bound there and does not listen.
    BoundNotListening {
        /// The socket.
        socket: Socket,
        /// Who holds it.
        owner: Option<Process>,
    },
    /// Nobody is behind the unix path or name.
    UnixSocketStale {
        /// What was dialled.
        path: UnixPath,
        /// What exists there is a socket.
        is_socket: bool,
    },
    /// The unix path does not exist.
    UnixSocketMissing {
        /// What was dialled.
        path: UnixPath,
        /// The sockets that servers really have.
        real: Vec<UnixListener>,
    },
    /// The unix path may not be used by this user.
    UnixSocketPermission {
        /// What was dialled.
        path: UnixPath,
        /// Where permission ends.
        forbidden: Forbidden,
    },
    /// An `sk_lookup` program refused it though a listener matches.
    SkLookupRefused {
        /// The listener.
        listener: Listener,
    },
    /// A call was denied.
    Denied(Box<Denied>),
    /// What a server needed to listen was denied, and so nothing listens there.
    StartDenied(Box<Denied>),
    /// The server runs but lacks this address: its bind was denied and it went on.
    PartlyDenied {
        /// What was denied.
        denied: Box<Denied>,
        /// Where it does listen.
        listeners: Vec<Listener>,
    },
    /// A server was started and ended before it listened.
    StartFailed {
        /// The start.
        failed: FailedStart,
    },
    /// The server runs but lacks this address: its bind failed and it went on.
    PartialListen {
        /// What it lacks.
        failed: FailedBind,
        /// Where it does listen.
        listeners: Vec<Listener>,
    },
    /// The server runs with a unix socket only.
    UnixSocketOnly {
        /// Its socket.
        listener: UnixListener,
    },
    /// The listener's accept queue is full.
    AcceptQueueFull {
        /// The queue.
        queue: FullQueue,
    },
    /// Some queue of the namespace was full, and it cannot be told whose.
    SomeQueueFull {
        /// Which queue.
        kind: QueueKind,
        /// Where those listen whose queues are full, unless it is over.
        places: Vec<String>,
    },
    /// The listener's SYN queue is full.
    SynQueueFull {
        /// The queue.
        queue: FullQueue,
    },
    /// accept failed for want of a file.
    FdLimit {
        /// It.
        no_file: NoFile,
    },
    /// The listener went while connections waited.
    ListenerClosedWithQueue {
        /// Its queue.
        queue: FullQueue,
        /// How its process was ending, when it was.
        ending: Option<Ending>,
    },
    /// The unix socket's queue is full.
    UnixBacklogFull {
        /// The queue.
        queue: FullQueue,
    },
    /// A rule or a policy of the firewall.
    Firewall {
        /// Which.
        filtered: Filtered,
    },
    /// Conntrack's table is full.
    ConntrackFull {
        /// Connections that it has.
        count: u32,
        /// The most that it takes.
        most: u32,
    },
    /// The kernel dropped it for a reason of its own: a filter that is no firewall's rule.
    PacketFiltered {
        /// What was dropped, where, and for which reason.
        dropped: Box<Dropped>,
    },
    /// Address translation led it to where nobody listens.
    NatToNowhere {
        /// What was dialled.
        dialled: Endpoint,
        /// Where it arrived.
        arrived: Endpoint,
        /// The rule that translated it, where it is known.
        rule: Option<Candidate>,
    },
    /// Only the end that dialled tells.
    Dialling(Dialling),
    /// The server took the connection and said no.
    Rejected(Box<Rejected>),
    /// A server had sent the client there.
    Redirected(Box<Redirected>),
}

/// A server sent a client to where nobody serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirected {
    /// Who sent it, and how.
    pub redirect: Redirect,
    /// What the dial there would have been told as.
    pub code: Code,
}

/// What a server did that took a connection and did not serve it; the attempt has its words and its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// The code of what it said.
    pub code: Code,
    /// The server, where it is on this host.
    pub server: Option<Process>,
    /// How it stands, as far as the host showed.
    pub standing: Option<Standing>,
}

/// A rule of the firewall that did it, or can have.
#[derive(Clone, Debug, PartialEq)]
pub struct Filtered {
    /// The first that the packet met.
    pub by: Candidate,
    /// Others that can have done it.
    pub others: Vec<Candidate>,
    /// The rules were changed before they could be read.
    pub changed: bool,
    /// What it met was the answer to the SYN.
    pub answer: bool,
}

impl Filtered {
    /// The code of what was done.
    fn code(&self) -> Code {
        match self.by.effect {
            // Whoever sent the answer is told of it: the client hears nothing.
            _ if self.answer => Code::RT3003,
            _ if self.by.site.service.is_some() || self.by.site.backend == Backend::Ipvs => Code::RT3004,
            Effect::Reset => Code::RT3001,
            Effect::Icmp(_) => Code::RT3002,
            Effect::Drop | Effect::Elsewhere | Effect::Translate { .. } => Code::RT3003,
        }
    }
}

impl Cause {
    /// Its code.
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown { .. } => Code::RT0000,
            Self::NoListener => Code::RT1001,
            Self::ListenerExited { .. } => Code::RT1002,
            Self::ListenerKilled { .. } => Code::RT1003,
            Self::ListenerOomKilled { .. } => Code::RT1004,
            Self::ListenerCrashed { .. } => Code::RT1005,
            Self::ListenerClosed { .. } => Code::RT1006,
            Self::BoundToOtherAddress { .. } => Code::RT1007,
            Self::BoundToOtherPort { .. } => Code::RT1008,
            Self::OtherAddressFamily { .. } => Code::RT1009,
            Self::ListenerInOtherNetns { .. } => Code::RT1010,
            Self::AddressInUse { .. } => Code::RT1011,
            Self::AddressNotAvailable { .. } => Code::RT1012,
            Self::PrivilegedPort { .. } => Code::RT1013,
            Self::BoundNotListening { .. } => Code::RT1014,
            Self::UnixSocketStale { .. } => Code::RT1015,
            Self::UnixSocketMissing { .. } => Code::RT1016,
            Self::UnixSocketPermission { .. } => Code::RT1017,
            Self::SkLookupRefused { .. } => Code::RT1019,
            Self::StartFailed { .. } | Self::StartDenied(_) => Code::RT1020,
            Self::Denied(denied) => denied.code(),
            Self::PartialListen { .. } | Self::PartlyDenied { .. } | Self::UnixSocketOnly { .. } => Code::RT1021,
            Self::SynQueueFull { .. } | Self::SomeQueueFull { kind: QueueKind::Syn, .. } => Code::RT2002,
            Self::AcceptQueueFull { .. } | Self::SomeQueueFull { .. } => Code::RT2001,
            Self::FdLimit { .. } => Code::RT2003,
            Self::ListenerClosedWithQueue { .. } => Code::RT2004,
            Self::UnixBacklogFull { .. } => Code::RT2005,
            Self::Dialling(cause) => cause.code(),
            Self::Rejected(rejected) => rejected.code,
            Self::Redirected(_) => Code::RT6007,
            Self::Firewall { filtered } => filtered.code(),
            Self::NatToNowhere { .. } => Code::RT3005,
            Self::ConntrackFull { .. } => Code::RT2006,
            Self::PacketFiltered { dropped } if dropped.denied().is_some() => Code::RT3013,
            Self::PacketFiltered { dropped } if dropped.is_by_ipsec() => Code::RT3031,
            Self::PacketFiltered { dropped } if dropped.is_by_cgroup() => Code::RT3020,
            Self::PacketFiltered { .. } => Code::RT3032,
        }
    }
}
