//! How a run ends: the exit code, and the error that says what was attempted, what the facts are and what to do.

use std::fmt;

use crate::kernel;

/// What the program's exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It ran, and nothing is wrong.
    Fine = 0,
    /// It ran, and found a problem.
    Found = 1,
    /// It was called in a way it does not understand.
    Usage = 2,
    /// This kernel or environment cannot support it.
    Unsupported = 3,
    /// A permission or a capability is missing.
    Forbidden = 4,
    /// The result is incomplete and `--strict` was given, or it could not be written out.
    Incomplete = 5,
    /// It ran, and the fault lies outside this host.
    Elsewhere = 6,
    /// A bug of ours.
    Bug = 70,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error as the user reads it: one screen, no backtrace.
///
/// ```text
/// error: cannot load probes: CAP_PERFMON is missing (have CAP_BPF)
///   facts kernel 6.18.44, unprivileged_bpf_disabled=2, lockdown=none, BTF ok
///   try   sudo redis-trace watch
///   or    sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep /usr/bin/redis-trace
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was attempted, and why it did not work: a sentence without a full stop.
    pub what: String,
    /// What is known that matters here.
    pub facts: Vec<String>,
    /// What to do; the first is the best.
    pub tries: Vec<String>,
    /// The exit code.
    pub exit: Exit,
}

impl Failure {
    /// A failure that can be told in one sentence.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { what: what.into(), facts: Vec::new(), tries: Vec::new(), exit }
    }

    /// Adds something that is known.
    #[must_use]
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn attempt(mut self, command: impl Into<String>) -> Self {
        self.tries.push(command.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if !self.facts.is_empty() {
            write!(f, "\n  facts {}", self.facts.join(", "))?;
        }
        for (nth, command) in self.tries.iter().enumerate() {
            write!(f, "\n  {}{command}", if nth == 0 { "try   " } else { "or    " })?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl From<kernel::Error> for Failure {
    fn from(error: kernel::Error) -> Self {
        let exit = match error.fault {
            kernel::Fault::Kernel => Exit::Unsupported,
            kernel::Fault::Permission => Exit::Forbidden,
            kernel::Fault::Bug => Exit::Bug,
        };
        Self { what: error.headline, facts: error.facts, tries: error.remedies, exit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_contract_says() {
        let failure = Failure::new(Exit::Forbidden, "cannot load probes: CAP_PERFMON is missing (have CAP_BPF)")
            .fact("kernel 6.18.44")
            .fact("lockdown=none")
            .attempt("sudo redis-trace watch")
            .attempt("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep /usr/bin/redis-trace");
        insta::assert_snapshot!(failure.to_string(), @r"
        error: cannot load probes: CAP_PERFMON is missing (have CAP_BPF)
          facts kernel 6.18.44, lockdown=none
          try   sudo redis-trace watch
          or    sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep /usr/bin/redis-trace
        ");
    }
}
