//! Security modules that are at work, and where they keep what belongs to a task.

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use aya::programs::loaded_programs;
use redis_trace_common::hook::{HOOKS, Hook};
use redis_trace_common::member::ABSENT;

use super::btf::Btf;
use super::tracefs::mount_apart;
use crate::trace::fact::BpfProgram;
use crate::trace::text::Text;

/// Where the kernel lists them.
const LIST: &str = "/sys/kernel/security/lsm";

/// The security modules that are at work, in the order in which they are asked; absent where that cannot be read.
pub(super) fn modules() -> Option<Vec<String>> {
    let read = || fs::read_to_string(LIST).ok();
    let list = read().or_else(|| {
        // A container has the file system not mounted: a thread of its own mounts it for itself.
        thread::scope(|scope| {
            let apart = scope.spawn(|| mount_apart("securityfs", "/sys/kernel/security").ok().and_then(|()| read()));
            apart.join().ok().flatten()
        })
    })?;
    Some(list.trim().split(',').map(str::to_owned).collect())
}

/// `BPF_PROG_TYPE_LSM`, include/uapi/linux/bpf.h.
const BPF_PROG_TYPE_LSM: u32 = 29;

/// The BPF programs that were loaded for hooks of security modules.
pub fn lsm_programs() -> Vec<BpfProgram> {
    let loaded = loaded_programs().filter_map(Result::ok);
    let of_lsm = loaded.filter(|program| program.program_type() as u32 == BPF_PROG_TYPE_LSM);
    of_lsm.map(|program| BpfProgram { id: program.id(), name: Text::new(program.name()) }).collect()
}

/// The security modules that are at work and may deny something while they are watched.
pub fn judges() -> Option<Vec<String>> {
    // A program may come at any time.
    Some(modules()?.into_iter().filter(|module| module == "bpf" || may_deny(module)).collect())
}

/// Whether a security module that is at work may deny anything as it stands: BPF by a program that was loaded, TOMOYO by a profile
/// that enforces. What cannot be known, which takes CAP_SYS_ADMIN, may be.
pub(super) fn may_deny(module: &str) -> bool {
    match module {
        "bpf" => loaded_programs()
            .any(|program| program.map_or(true, |program| program.program_type() as u32 == BPF_PROG_TYPE_LSM)),
        "tomoyo" => fs::read_to_string("/sys/kernel/security/tomoyo/profile")
            .map_or(true, |profiles| profiles.contains("mode=enforcing")),
        _ => true,
    }
}

/// How many of our probes' names tell another one of us: some are words that others might use as well.
const ANOTHER: usize = 10;

/// Whether another one of us has its probes loaded. Not known, and no, without CAP_SYS_ADMIN.
pub fn has_company() -> bool {
    let loaded = loaded_programs().filter_map(Result::ok);
    let names: BTreeSet<Vec<u8>> = loaded.map(|program| program.name().to_vec()).collect();
    // The kernel keeps fifteen bytes of a name.
    let is_loaded = |hook: &&Hook| names.contains(&hook.probe.as_bytes()[..hook.probe.len().min(15)]);
    HOOKS.iter().filter(is_loaded).count() >= ANOTHER
}

/// Modules that keep something beside a task's credentials, and the structures it may be: lsm_set_blob_size(),
/// security/security.c, gives them room in their order.
pub(super) const CREDENTIALS: &[(&str, Part)] = &[
    ("landlock", Part::Structure(&["landlock_cred_security"])),
    ("selinux", Part::Structure(&["cred_security_struct", "task_security_struct"])),
    ("smack", Part::Structure(&["task_smack"])),
    // A label: security/apparmor/include/cred.h.
    ("apparmor", Part::Pointer),
];

/// Those that keep something beside a task itself. SELinux does on newer kernels, and programs on hooks of security modules do
/// since Linux 5.11.
pub(super) const TASK: &[(&str, Part)] =
    &[("apparmor", Part::Structure(&["aa_task_ctx"])), ("selinux", Part::Unknown), ("bpf", Part::Unknown)];

/// What a module keeps in one place.
pub(super) enum Part {
    /// A pointer.
    Pointer,
    /// The first of these structures that the kernel has.
    Structure(&'static [&'static str]),
    /// Something, or nothing: it depends.
    Unknown,
}

impl Part {
    fn size(&self, btf: &Btf) -> Option<u32> {
        match self {
            Self::Pointer => Some(8),
            Self::Structure(names) => names.iter().find_map(|name| btf.structure_size(name)),
            Self::Unknown => None,
        }
    }
}

/// Where a module's part begins among those that are kept in one place; [`ABSENT`] where that is not known.
pub(super) fn part_of(module: &str, parts: &[(&str, Part)], modules: &[String], btf: &Btf) -> u32 {
    let mut at = 0_u32;
    for other in modules {
        if other == module {
            return at;
        }
        if let Some((_, part)) = parts.iter().find(|(name, _)| name == other) {
            let Some(size) = part.size(btf) else { return ABSENT };
            at += size.next_multiple_of(8);
        }
    }
    ABSENT
}
