//! Calls that were denied, and by whom.

use super::cause::Code;
use super::fact::{BpfProgram, Call, Module, Process};
use super::flow::Endpoint;
use super::known::{FailedBind, FailedStart};
use super::text::Text;

/// A call that was denied.
#[derive(Clone, Debug, PartialEq)]
pub struct Denied {
    /// Which.
    pub call: Call,
    /// Who denied it.
    pub by: By,
    /// Others who may have, where nobody was seen to.
    pub others: Vec<By>,
    /// It was not seen: the kernel's audit has recorded it.
    pub recorded: bool,
    /// What a server could not do for it, when it was one's.
    pub failed: Option<Failed>,
}

/// What a server cannot listen without.
#[derive(Clone, Debug, PartialEq)]
pub enum Failed {
    /// Its bind or listen.
    Bind(FailedBind),
    /// Its start, for want of a socket.
    Start(FailedStart),
}

impl Failed {
    /// Whose it was.
    pub fn process(&self) -> &Process {
        match self {
            Self::Bind(failed) => &failed.process,
            Self::Start(failed) => &failed.process,
        }
    }

    /// The address that was asked for, when one was.
    pub fn local(&self) -> Option<Endpoint> {
        match self {
            Self::Bind(failed) => Some(failed.socket.local),
            Self::Start(_) => None,
        }
    }

    /// The errno of the call.
    pub fn errno(&self) -> u32 {
        match self {
            Self::Bind(failed) => failed.errno,
            Self::Start(failed) => failed.socket.as_ref().map_or(0, |socket| socket.errno),
        }
    }

    /// When the call failed, boottime nanoseconds.
    pub fn time(&self) -> u64 {
        match self {
            Self::Bind(failed) => failed.time,
            Self::Start(failed) => failed.socket.as_ref().map_or(failed.time, |socket| socket.time),
        }
    }
}

/// Who denies.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// A security module.
    Module {
        /// Which.
        module: Module,
        /// The caller's context, profile or domain.
        subject: Option<Text>,
        /// The context of what it wanted.
        object: Option<Text>,
        /// It denied the capability that the call needs, not the call itself.
        capability: bool,
    },
    /// A cgroup's BPF program.
    Program {
        /// The first of those that have a say.
        program: Option<BpfProgram>,
        /// How many have.
        programs: u32,
    },
    /// A seccomp filter.
    Filter {
        /// It was seen to keep the call out.
        heard: bool,
    },
}

impl Denied {
    /// The code of the call that was denied.
    pub fn code(&self) -> Code {
        match (&self.by, self.call) {
            (By::Filter { .. }, _) => Code::RT3021,
            (By::Program { .. }, _) => Code::RT3020,
            (By::Module { capability: true, .. }, _) => Code::RT3014,
            (By::Module { .. }, Call::Bind) => Code::RT3010,
            (By::Module { .. }, Call::Create | Call::Listen) => Code::RT3011,
            (By::Module { .. }, Call::Connect) => Code::RT3012,
            (By::Module { .. }, Call::Accept) => Code::RT3013,
        }
    }
}
