//! TOMOYO's policy while a scenario needs one: a domain whose members may not make some calls.

use std::fs;

use anyhow::{Context as _, Result};

use super::confine::go_on;

/// Where the kernel keeps it.
const PLACE: &str = "/sys/kernel/security/tomoyo";
/// The domain that an actor enters; what it becomes is in one below.
pub(super) const DOMAIN: &str = "<kernel> /redis-trace-demo";
/// What that domain has a say in: the last profile that there can be, which no host has for its own.
const PROFILE: &str = "255";

/// Whether TOMOYO is at work, and we are one of those who may write its policy.
pub(super) fn has_tomoyo() -> bool {
    let is_active = fs::read_to_string(format!("{PLACE}/profile")).is_ok_and(|profiles| profiles.contains("\n0-"));
    // A line that says nothing.
    is_active && write("profile", "\n").is_ok()
}

/// Lines that it does not understand the kernel passes over.
fn write(file: &str, lines: &str) -> Result<()> {
    let path = format!("{PLACE}/{file}");
    fs::write(&path, lines).with_context(|| format!("cannot write {path}"))
}

/// Lets the caller enter the domain, enters it, then goes on.
pub(super) fn enter(rest: &[&str]) -> Result<()> {
    let path = format!("{PLACE}/self_domain");
    let own = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    write("domain_policy", &format!("{}\n{}\n", own.trim_end(), permission()))?;
    write("self_domain", DOMAIN)?;
    go_on(rest)
}

/// The line that allows a domain's members to enter ours.
fn permission() -> String {
    format!("task manual_domain_transition {DOMAIN}")
}

/// A policy of ours, which is gone with this value.
pub(crate) struct Policy(());

impl Policy {
    /// TOMOYO treats bind and connect of the domain's members in this mode: `enforcing`, `permissive`.
    pub(crate) fn begin(mode: &str) -> Result<Self> {
        let calls = ["bind", "connect"];
        let of_calls = calls.map(|call| format!("{PROFILE}-CONFIG::network::inet_stream_{call}={{ mode={mode} }}\n"));
        let policy = Self(());
        write("profile", &format!("{PROFILE}-CONFIG={{ mode=disabled }}\n{}", of_calls.concat()))?;
        write("domain_policy", &format!("{DOMAIN}\nuse_profile {PROFILE}\n"))?;
        Ok(policy)
    }

    /// Takes our domains away, and the permission to enter them.
    fn end() -> Result<()> {
        let path = format!("{PLACE}/domain_policy");
        let policy = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let domains = policy.lines().filter(|line| line.starts_with('<'));
        let undone = domains.map(|domain| match domain.strip_prefix(DOMAIN) {
            Some(below) if below.is_empty() || below.starts_with(' ') => format!("delete {domain}\n"),
            _ => format!("{domain}\ndelete {}\n", permission()),
        });
        write("domain_policy", &undone.collect::<String>())
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Err(error) = Self::end() {
            eprintln!("redis-trace: {error:#}");
        }
    }
}
