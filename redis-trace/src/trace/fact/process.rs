//! Processes, and the tasks that made system calls.

use serde::{Deserialize, Serialize};

use crate::trace::flow::Netns;
use crate::trace::text::Text;

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
