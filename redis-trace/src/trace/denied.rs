//! Calls that were denied, and by whom.

use super::cause::Code;
use super::fact::{BpfProgram, Module};
use super::known::FailedBind;
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
    /// The bind or listen, when it was one.
    pub failed: Option<FailedBind>,
}

/// A system call that can be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// socket(2).
    Create,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// connect(2).
    Connect,
}

impl Call {
    /// Its name, which JSON has as the operation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Connect => "connect",
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
    Filter,
}

impl Denied {
    /// The code of the call that was denied.
    pub fn code(&self) -> Code {
        match (&self.by, self.call) {
            (By::Filter, _) => Code::RT3021,
            (By::Program { .. }, _) => Code::RT3020,
            (By::Module { capability: true, .. }, _) => Code::RT3014,
            (By::Module { .. }, Call::Bind) => Code::RT3010,
            (By::Module { .. }, Call::Create | Call::Listen) => Code::RT3011,
            (By::Module { .. }, Call::Connect) => Code::RT3012,
        }
    }
}
