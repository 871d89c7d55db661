//! Files that a server may open, and an accept that failed for want of one.

use serde::{Deserialize, Serialize};

use super::{ProcessKey, Socket, Task};
use crate::trace::errno;
use crate::trace::text::Text;

/// accept(2) failed for want of a file, or was denied: the connection stays in the queue, and its client believes that it is
/// served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcceptFailed {
    /// The listener.
    pub socket: Socket,
    /// Who called.
    pub task: Task,
    /// `EMFILE`: the process may open no more; `ENFILE`: nobody on this host may; `EPERM` or `EACCES`: it may not accept.
    pub errno: u32,
    /// Connections that wait to be accepted.
    pub queued: u32,
    /// How many may before the queue is full.
    pub backlog: u32,
    /// How many files the process may open (`RLIMIT_NOFILE`, soft); absent when that is not limited.
    pub limit: Option<u64>,
    /// To what it may raise that limit itself.
    pub hard: Option<u64>,
}

impl AcceptFailed {
    /// Somebody said no to it.
    pub fn is_denied(&self) -> bool {
        errno::is_denial(self.errno)
    }
}

/// How many files are open, and what may have set the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// Which process.
    pub pid: u32,
    /// When it started.
    pub start: u64,
    /// Its open files; absent when it is gone or they may not be counted.
    pub open: Option<u64>,
    /// Its unit's own limit.
    pub unit: Option<UnitLimit>,
    /// `maxclients` of its configuration, for a server that was seen to start.
    pub maxclients: Option<u64>,
    /// Files open on this host.
    pub host_open: Option<u64>,
    /// How many may be: `fs.file-max`.
    pub host_limit: Option<u64>,
}

/// What systemd sets for a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitLimit {
    /// The unit.
    pub unit: Text,
    /// Its `LimitNOFILE=`, soft.
    pub files: u64,
}

impl Files {
    /// Whose they are.
    pub fn process(&self) -> ProcessKey {
        ProcessKey::new(self.pid, self.start)
    }
}
