//! Why there are no probes, told so that it can be mended.

use std::fmt;

use aya::maps::MapError;

/// Whose fault it is that there are no probes; each has an exit code of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This kernel cannot: too old, no BTF, locked down.
    Kernel,
    /// This process may not: a capability is missing, a security module or a seccomp filter says no.
    Permission,
    /// Ours.
    Bug,
}

/// What was attempted, what the facts are, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Whose fault it is.
    pub fault: Fault,
    /// What was attempted and what happened, in one line.
    pub headline: String,
    /// What is known of this host.
    pub facts: Vec<String>,
    /// What to do: a command, or a sentence; the best first.
    pub remedies: Vec<String>,
}

impl Error {
    /// The kernel did something to a map of ours that it never does.
    pub(super) fn map(name: &str, error: &MapError) -> Self {
        Self::bug(format!("cannot use the probes' map {name}: {}", deepest(error)))
    }

    /// The object and the program do not fit together.
    pub(super) fn bug(headline: String) -> Self {
        let remedies = vec!["report this line as a bug of redis-trace".to_owned()];
        Self { fault: Fault::Bug, headline, facts: Vec::new(), remedies }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        if !self.facts.is_empty() {
            write!(f, "\n  facts {}", self.facts.join(", "))?;
        }
        for (index, remedy) in self.remedies.iter().enumerate() {
            write!(f, "\n  {:<5} {remedy}", if index == 0 { "try" } else { "or" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The innermost cause, which says most: aya wraps the kernel's answer several times.
pub(super) fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// The errno somewhere inside.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    chain(error).find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error())
}

/// An error and all its causes.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_happened_what_the_facts_are_and_what_to_do() {
        let error = Error {
            fault: Fault::Permission,
            headline: "cannot load probes: CAP_PERFMON is missing (have CAP_BPF)".to_owned(),
            facts: vec!["kernel 6.18.44".to_owned(), "BTF ok".to_owned()],
            remedies: vec!["sudo redis-trace watch".to_owned(), "sudo setcap …".to_owned()],
        };
        assert_eq!(
            error.to_string(),
            "cannot load probes: CAP_PERFMON is missing (have CAP_BPF)\n  facts kernel 6.18.44, BTF ok\n  try   sudo \
             redis-trace watch\n  or    sudo setcap …"
        );
    }
}
