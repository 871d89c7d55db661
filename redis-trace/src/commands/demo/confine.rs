//! Actors that confine themselves before they play their part, or become another program.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use landlock::{ABI, Access as _, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetError};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::actor::play;

/// `__NR_bind`, arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
const BIND: i64 = if cfg!(target_arch = "x86_64") { 49 } else { 200 };
/// `EPERM`.
const EPERM: u32 = 1;

/// Whether this kernel's Landlock has a say in TCP ports: since Linux 6.7, where it is at work.
pub(super) fn has_landlock() -> bool {
    ruleset(AccessNet::from_all(ABI::V4)).is_ok()
}

/// A sandbox that denies this, of every port.
fn ruleset(denied: impl Into<landlock::BitFlags<AccessNet>>) -> Result<landlock::RulesetCreated, RulesetError> {
    Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(denied.into())?.create()
}

/// Denies itself bind or connect by Landlock, then goes on.
pub(super) fn landlock(what: &str, rest: &[&str]) -> Result<()> {
    let denied = match what {
        "bind" => AccessNet::BindTcp,
        "connect" => AccessNet::ConnectTcp,
        unknown => bail!("Landlock denies bind or connect, not {unknown}"),
    };
    ruleset(denied)
        .and_then(landlock::RulesetCreated::restrict_self)
        .context("cannot confine the process by Landlock")?;
    go_on(rest)
}

/// Denies itself bind by a seccomp filter, then goes on.
pub(super) fn seccomp(rest: &[&str]) -> Result<()> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).context("no filter can be made for this architecture")?;
    let rules = BTreeMap::from([(BIND, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(EPERM), arch)?;
    let program = BpfProgram::try_from(filter)?;
    apply_filter(&program).context("cannot set the seccomp filter")?;
    go_on(rest)
}

/// Enters a cgroup by this file, then goes on.
pub(super) fn cgroup(door: &str, rest: &[&str]) -> Result<()> {
    std::fs::write(door, std::process::id().to_string())
        .with_context(|| format!("cannot enter the cgroup by {door}"))?;
    go_on(rest)
}

/// Plays a part, or becomes a program: `part dial …`, `exec redis-server …`.
fn go_on(rest: &[&str]) -> Result<()> {
    match rest {
        ["part", part @ ..] => play(&part.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ["exec", program, arguments @ ..] => {
            Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot become {program}"))
        }
        unknown => bail!("nobody can go on as {unknown:?}"),
    }
}
