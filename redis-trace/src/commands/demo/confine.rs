//! Actors that confine themselves before they play their part, or become another program.

use std::collections::BTreeMap;
use std::io::{Write as _, stdin};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use caps::{CapSet, Capability};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _, RulesetError,
};
use rustix::io::dup;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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

/// Denies itself bind or connect by Landlock, or device files only, then goes on.
pub(super) fn landlock(what: &str, rest: &[&str]) -> Result<()> {
    let sandbox = match what {
        "bind" => ruleset(AccessNet::BindTcp),
        "connect" => ruleset(AccessNet::ConnectTcp),
        "devices" => Ruleset::default().handle_access(AccessFs::MakeBlock).and_then(Ruleset::create),
        unknown => bail!("Landlock denies bind, connect or devices, not {unknown}"),
    };
    sandbox.and_then(landlock::RulesetCreated::restrict_self).context("cannot confine the process by Landlock")?;
    go_on(rest)
}

/// Whether AppArmor is at work and profiles can be loaded.
pub(super) fn has_apparmor() -> bool {
    let is_enabled =
        std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|it| it.trim() == "Y");
    is_enabled && Command::new("apparmor_parser").arg("--version").output().is_ok()
}

/// Becomes a program under an AppArmor profile.
pub(super) fn apparmor(profile: &[u8], rest: &[&str]) -> Result<()> {
    std::fs::write("/proc/self/attr/apparmor/exec", [b"exec ", profile].concat())
        .with_context(|| format!("cannot ask for the AppArmor profile {}", profile.escape_ascii()))?;
    go_on(rest)
}

/// Comes under an AppArmor profile at once: aa_change_profile(2).
pub(super) fn change_profile(profile: &str) -> Result<()> {
    std::fs::write("/proc/self/attr/apparmor/current", format!("changeprofile {profile}"))
        .with_context(|| format!("cannot change to the AppArmor profile {profile}"))
}

/// A profile's name that would forge a line, a field or a sequence of a terminal's; brackets are not for names.
pub(super) const HOSTILE_PROFILE: &[u8] = b"redis-trace-demo\x1bc\n\",\xff\xc2\x85";

/// An AppArmor profile that is loaded, and no longer when this value is gone.
pub(crate) struct Profile {
    name: Vec<u8>,
    /// As the parser reads it.
    text: Vec<u8>,
}

impl Profile {
    /// Loads one with these flags and rules; files, signals and unix sockets are free to it.
    pub(crate) fn load(name: &[u8], flags: &str, rules: &str) -> Result<Self> {
        let escaped = name.iter().flat_map(|byte| match byte {
            b'"' | b'\\' => vec![b'\\', *byte],
            byte => vec![*byte],
        });
        let head = [b"abi <abi/3.0>,\nprofile \"", escaped.collect::<Vec<u8>>().as_slice(), b"\""].concat();
        let rest = format!(" {flags} {{\n  file,\n  signal,\n  unix,\n  {rules}\n}}\n");
        let profile = Self { name: name.to_vec(), text: [head, rest.into_bytes()].concat() };
        profile.parse("--replace")?;
        Ok(profile)
    }

    fn parse(&self, what: &str) -> Result<()> {
        let mut parser = Command::new("apparmor_parser")
            .args([what, "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run apparmor_parser: install apparmor")?;
        parser.stdin.take().context("the parser has a standard input")?.write_all(&self.text)?;
        let status = parser.wait()?;
        ensure!(status.success(), "apparmor_parser {what} of {} ended with {status}", self.name.escape_ascii());
        Ok(())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Err(error) = self.parse("--remove") {
            eprintln!("redis-trace: {error:#}");
        }
    }
}

/// Where the kernel says whether SELinux enforces its policy, and is told to.
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Whether SELinux enforces a policy that knows Redis.
pub(super) fn has_selinux() -> bool {
    let is_enforcing = std::fs::read_to_string(ENFORCE).is_ok_and(|it| it.trim() == "1");
    is_enforcing && std::fs::write("/sys/fs/selinux/context", REDIS_DOMAIN).is_ok()
}

/// What Redis runs as under the policies that know it.
pub(super) const REDIS_DOMAIN: &str = "system_u:system_r:redis_t:s0";

/// Becomes a program in a domain of SELinux's.
pub(super) fn selinux(domain: &str, rest: &[&str]) -> Result<()> {
    std::fs::write("/proc/self/attr/exec", domain)
        .with_context(|| format!("cannot ask for the SELinux domain {domain}"))?;
    go_on(rest)
}

/// While this lives, SELinux logs what it would deny, and denies nothing.
pub(crate) struct Lenience(());

impl Lenience {
    /// Begins now.
    pub(crate) fn begin() -> Result<Self> {
        std::fs::write(ENFORCE, "0").with_context(|| format!("cannot write {ENFORCE}"))?;
        Ok(Self(()))
    }
}

impl Drop for Lenience {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(ENFORCE, "1") {
            eprintln!("redis-trace: cannot write {ENFORCE}: {error}");
        }
    }
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

/// May open so many files, has taken some of them for what goes on as it, then goes on.
pub(super) fn files(most: u64, taken: usize, rest: &[&str]) -> Result<()> {
    let limit = Rlimit { current: Some(most), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).context("cannot limit the open files")?;
    // These are not closed on exec.
    let _taken = (0..taken).map(|_| dup(stdin())).collect::<Result<Vec<OwnedFd>, _>>().context("cannot take files")?;
    go_on(rest)
}

/// May open so many files, and may not raise that limit, nor may whatever it becomes; then goes on.
pub(super) fn files_at_most(most: u64, rest: &[&str]) -> Result<()> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(Resource::Nofile, limit).context("cannot limit the open files")?;
    caps::drop(None, CapSet::Bounding, Capability::CAP_SYS_RESOURCE).context("cannot give up CAP_SYS_RESOURCE")?;
    go_on(rest)
}

/// Plays a part, or becomes a program: `part dial …`, `exec redis-server …`.
pub(super) fn go_on(rest: &[&str]) -> Result<()> {
    match rest {
        ["part", part @ ..] => play(&part.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ["exec", program, arguments @ ..] => {
            Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot become {program}"))
        }
        unknown => bail!("nobody can go on as {unknown:?}"),
    }
}
