//! What stands between this process and its probes: capabilities, lockdown, security modules, seccomp, the kernel itself.

use std::fs;

use caps::Capability;

use super::error::{Error, Fault};

/// Everything that the kernel's "no" may be explained by.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    /// `uname -r`.
    kernel: String,
    /// Of the capabilities needed, those that this process has.
    have: Vec<&'static str>,
    /// And those that it lacks.
    missing: Vec<&'static str>,
    /// Kernel lockdown: `none`, `integrity`, `confidentiality`; empty when the kernel has no lockdown.
    lockdown: String,
    /// This process's context or profile, when a security module confines it.
    confined_by: Option<String>,
    /// A seccomp filter is on this process.
    seccomp: bool,
    /// Its user namespace is not the host's, so its capabilities do not count.
    in_user_namespace: bool,
    /// `kernel.unprivileged_bpf_disabled`.
    unprivileged: String,
    /// The kernel describes its types.
    btf: bool,
}

impl Environment {
    /// Looks.
    pub(super) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let (status, users) = (read("/proc/self/status"), read("/proc/self/uid_map"));
        let (have, missing) = capabilities(&status);
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            have,
            missing,
            lockdown: chosen(&read("/sys/kernel/security/lockdown")),
            confined_by: confinement(&read("/proc/self/attr/current")),
            seccomp: status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])),
            // What a security module lets nobody read proves nothing.
            in_user_namespace: !users.is_empty() && !users.split_whitespace().eq(["0", "0", "4294967295"]),
            unprivileged: read("/proc/sys/kernel/unprivileged_bpf_disabled"),
            btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
        }
    }

    /// The error for an attempt that ended with this errno; `detail` is what the kernel said besides.
    pub(super) fn explain(&self, attempt: &str, errno: Option<i32>, detail: &str) -> Error {
        let (fault, why, remedies) = self.reason(errno, detail);
        Error { fault, headline: format!("cannot {attempt}: {why}"), facts: self.facts(), remedies }
    }

    /// Nobody may read the kernel's memory, whatever he may do else.
    pub(super) fn is_locked_down(&self) -> bool {
        self.lockdown == "confidentiality"
    }

    /// The error for a kernel that does not describe its types, or not so that they can be read.
    pub(super) fn no_btf(&self, why: &str) -> Error {
        Error {
            fault: Fault::Kernel,
            headline: format!("cannot read the kernel's types from /sys/kernel/btf/vmlinux: {why}"),
            facts: self.facts(),
            remedies: vec!["boot a kernel of 5.10 or newer built with CONFIG_DEBUG_INFO_BTF=y".to_owned()],
        }
    }

    fn facts(&self) -> Vec<String> {
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        vec![
            format!("kernel {}", or(&self.kernel, "unknown")),
            format!("unprivileged_bpf_disabled={}", or(&self.unprivileged, "unknown")),
            format!("lockdown={}", or(&self.lockdown, "none")),
            format!("BTF {}", if self.btf { "ok" } else { "missing" }),
        ]
    }

    /// Whose fault it is, why, and what to do.
    fn reason(&self, errno: Option<i32>, detail: &str) -> (Fault, String, Vec<String>) {
        let permission = |why: String, remedies: &[&str]| {
            (Fault::Permission, why, remedies.iter().map(|remedy| (*remedy).to_owned()).collect())
        };
        match errno {
            Some(EPERM | EACCES) if !self.missing.is_empty() => self.missing_capability(),
            Some(EPERM | EACCES) if self.in_user_namespace => permission(
                "this process is in a user namespace, whose capabilities do not reach the kernel".to_owned(),
                &["run it as root outside of the container, or in one without a user namespace"],
            ),
            Some(EPERM | EACCES | EINVAL) if self.is_locked_down() => (
                Fault::Kernel,
                "the kernel is locked down (confidentiality) and lets nobody read its memory".to_owned(),
                vec!["boot with lockdown=integrity, or without lockdown=".to_owned()],
            ),
            Some(EPERM | EACCES | ENOSYS) if self.seccomp => permission(
                format!("bpf(2) is refused ({detail}), most likely by the seccomp filter that is on this process"),
                &["run it without the filter (docker run --security-opt seccomp=unconfined)"],
            ),
            Some(EPERM | EACCES) if self.confined_by.is_some() => permission(
                format!(
                    "bpf(2) is refused ({detail}), most likely by the security module that confines this process as {}",
                    self.confined_by.as_deref().unwrap_or_default()
                ),
                &["look for the denial: sudo dmesg | grep -i denied", "run it unconfined"],
            ),
            Some(ENOSYS) => (
                Fault::Kernel,
                "this kernel has no bpf(2)".to_owned(),
                vec!["boot a kernel built with CONFIG_BPF_SYSCALL=y".to_owned()],
            ),
            _ => (
                Fault::Kernel,
                detail.to_owned(),
                vec!["redis-trace check shows what this kernel allows, hook by hook".to_owned()],
            ),
        }
    }

    fn missing_capability(&self) -> (Fault, String, Vec<String>) {
        let verb = if self.missing.len() == 1 { "is" } else { "are" };
        let have = if self.have.is_empty() { "neither".to_owned() } else { self.have.join(", ") };
        let why = format!("{} {verb} missing (have {have})", self.missing.join(" and "));
        let program =
            std::env::current_exe().map_or_else(|_| "redis-trace".to_owned(), |exe| exe.display().to_string());
        let setcap = format!("sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep {program}");
        let without = "redis-trace watch --no-bpf, which tells of full queues alone".to_owned();
        (Fault::Permission, why, vec!["sudo redis-trace watch".to_owned(), setcap, without])
    }
}

/// `EPERM`, include/uapi/asm-generic/errno-base.h.
const EPERM: i32 = 1;
/// `EINVAL`: what the verifier says of a program that calls a helper which a locked down kernel has taken away
/// (bpf_tracing_func_proto(), kernel/trace/bpf_trace.c).
const EINVAL: i32 = 22;
/// `EACCES`.
const EACCES: i32 = 13;
/// `ENOSYS`.
const ENOSYS: i32 = 38;

/// Of the capabilities that probes need since Linux 5.8, those that a process with this status has, and those that it lacks. Its
/// own call for them, capget(2), a security module may forbid.
fn capabilities(status: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let has = |capability: Capability| effective.is_none_or(|effective| effective & capability.bitmask() != 0);
    let all = has(Capability::CAP_SYS_ADMIN);
    let needed = [("CAP_BPF", Capability::CAP_BPF), ("CAP_PERFMON", Capability::CAP_PERFMON)];
    let (have, missing): (Vec<_>, Vec<_>) = needed.into_iter().partition(|(_, capability)| all || has(*capability));
    let names = |list: Vec<(&'static str, Capability)>| list.into_iter().map(|(name, _)| name).collect();
    (names(have), names(missing))
}

/// Of `none [integrity] confidentiality`, the one in brackets.
fn chosen(text: &str) -> String {
    text.split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or_else(String::new, |(word, _)| word.to_owned())
}

/// The context or profile of a process that is confined; `unconfined` and the kernel's own are not.
fn confinement(context: &str) -> Option<String> {
    let context = context.trim_end_matches('\0');
    let free = context.is_empty() || context.contains("unconfined") || context == "kernel";
    (!free).then(|| context.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> Environment {
        Environment { kernel: "6.18.44".to_owned(), unprivileged: "2".to_owned(), btf: true, ..Environment::default() }
    }

    #[test]
    fn a_missing_capability_is_named_with_those_that_are_there() {
        let environment = Environment { missing: vec!["CAP_PERFMON"], have: vec!["CAP_BPF"], ..able() };
        let error = environment.explain("load probes", Some(EPERM), "Operation not permitted");
        assert_eq!(error.fault, Fault::Permission);
        assert_eq!(error.headline, "cannot load probes: CAP_PERFMON is missing (have CAP_BPF)");
        assert_eq!(error.facts, ["kernel 6.18.44", "unprivileged_bpf_disabled=2", "lockdown=none", "BTF ok"]);
    }

    #[test]
    fn capabilities_are_read_from_the_status_and_none_is_missing_where_that_is_not_to_be_read() {
        assert_eq!(capabilities("CapPrm:\t0\nCapEff:\t0000008000000000\n"), (vec!["CAP_BPF"], vec!["CAP_PERFMON"]));
        assert_eq!(capabilities("CapEff:\t0000000000200000\n"), (vec!["CAP_BPF", "CAP_PERFMON"], vec![]));
        assert_eq!(capabilities(""), (vec!["CAP_BPF", "CAP_PERFMON"], vec![]));
    }

    #[test]
    fn lockdown_seccomp_and_security_modules_are_told_apart() {
        let say = |environment: Environment| environment.explain("load probes", Some(EPERM), "EPERM");
        for errno in [EPERM, EINVAL] {
            let locked = Environment { lockdown: "confidentiality".to_owned(), ..able() };
            let locked = locked.explain("load probes", Some(errno), "unknown func bpf_probe_read_kernel#113");
            assert!(locked.fault == Fault::Kernel && locked.headline.contains("locked down"), "{locked}");
        }
        let filtered = say(Environment { seccomp: true, ..able() });
        assert!(filtered.fault == Fault::Permission && filtered.headline.contains("seccomp"), "{filtered}");
        let confined = say(Environment { confined_by: Some("redis-trace (enforce)".to_owned()), ..able() });
        assert!(confined.headline.contains("redis-trace (enforce)"), "{confined}");
    }

    #[test]
    fn a_kernel_without_btf_is_not_a_question_of_permission() {
        let error = Environment { btf: false, ..able() }.no_btf("No such file or directory");
        assert_eq!(error.fault, Fault::Kernel);
        assert!(error.facts.contains(&"BTF missing".to_owned()), "{error}");
        assert!(error.remedies[0].contains("CONFIG_DEBUG_INFO_BTF=y"), "{error}");
    }

    #[test]
    fn the_chosen_lockdown_is_the_one_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality"), "integrity");
        assert_eq!(chosen(""), "");
    }
}
