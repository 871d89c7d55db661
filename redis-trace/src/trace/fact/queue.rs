//! Queues of listeners: what is in them, what fits, and what keeps whoever should empty them.

use serde::{Deserialize, Serialize};

use super::{BoundSocket, Socket};
use crate::trace::flow::{Flow, Netns};
use crate::trace::text::Text;

/// Which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueKind {
    /// Connections that stand and wait to be accepted.
    Accept,
    /// Connections whose handshake is not over.
    Syn,
    /// Connections to a unix socket that wait to be accepted.
    Unix,
}

impl QueueKind {
    /// As written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Syn => "syn",
            Self::Unix => "unix",
        }
    }
}

/// A connection that found a queue full, as the kernel saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overflow {
    /// Who dialled what.
    pub flow: Flow,
    /// The listener.
    pub socket: Socket,
    /// The SYN's sequence number.
    pub isn: u32,
    /// Which queue.
    pub queue: QueueKind,
    /// Found by the handshake's last ACK: the client believes that it is connected.
    pub by_ack: bool,
    /// It was answered with a reset (`tcp_abort_on_overflow`).
    pub reset: bool,
    /// How many were in the queue.
    pub length: u32,
    /// How many may be before it is full.
    pub limit: u32,
}

/// What the kernel's counters say of full queues, and which queues are full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overflows {
    /// Where.
    pub netns: Netns,
    /// Which queue: `ListenOverflows` counts those who found the accept queue full, `TCPReqQFullDrop` the SYN queue.
    pub queue: QueueKind,
    /// How many packets have, since this was said last.
    pub number: u64,
    /// The listeners whose queue is full, with what is in that queue.
    pub full: Vec<BoundSocket>,
}

/// The queues of the listeners on one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queues {
    /// Where.
    pub netns: Netns,
    /// Which port.
    pub port: u16,
    /// `net.core.somaxconn`: no accept queue has a higher limit.
    pub somaxconn: Option<u32>,
    /// They.
    pub queues: Vec<Queue>,
}

/// A listener's queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The listener, with its owner.
    #[serde(flatten)]
    pub bound: BoundSocket,
    /// How long the connection that has waited longest has: nobody has accepted since. Nanoseconds.
    pub oldest: Option<u64>,
    /// What its owner is doing, when it is full.
    pub serving: Option<Serving>,
}

/// What a process that should accept is doing instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// State of its first thread.
    pub state: TaskState,
    /// Of so many looks in a row, in how many it ran; the first member of `looks`.
    pub ran: u32,
    /// How many looks there were.
    pub looks: u32,
    /// The system call that its first thread is in.
    pub call: Option<Text>,
    /// Its cgroup is frozen: it does not run until that is thawed.
    #[serde(default)]
    pub frozen: bool,
    /// Its open files.
    pub files: Option<u64>,
    /// How many it may open; absent when that is not limited.
    pub files_limit: Option<u64>,
}

/// State of a thread, as `ps` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// R: it runs, or could.
    Running,
    /// S or I: it waits for something that may take for ever.
    Sleeping,
    /// D: it waits for a device, and no signal reaches it.
    Blocked,
    /// T: a signal stopped it.
    Stopped,
    /// t: a debugger stopped it.
    Traced,
    /// Z or X: it is over.
    Ended,
}

impl TaskState {
    /// As a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running (R)",
            Self::Sleeping => "asleep (S)",
            Self::Blocked => "in an uninterruptible wait (D)",
            Self::Stopped => "stopped (T)",
            Self::Traced => "held by a debugger (t)",
            Self::Ended => "gone (Z)",
        }
    }
}
