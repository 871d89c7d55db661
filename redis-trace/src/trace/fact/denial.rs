//! Who may have said no to a call on a socket.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::trace::text::Text;

/// A security module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Module {
    /// Landlock: a program confined itself, or those that it starts.
    Landlock,
    /// SELinux.
    Selinux,
    /// AppArmor.
    Apparmor,
    /// TOMOYO.
    Tomoyo,
    /// Smack.
    Smack,
    /// A BPF program on a hook of security modules.
    Bpf,
}

impl Module {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Landlock => "Landlock",
            Self::Selinux => "SELinux",
            Self::Apparmor => "AppArmor",
            Self::Tomoyo => "TOMOYO",
            Self::Smack => "Smack",
            Self::Bpf => "a BPF LSM program",
        }
    }

    /// Every one.
    pub const ALL: [Self; 6] = [Self::Landlock, Self::Selinux, Self::Apparmor, Self::Tomoyo, Self::Smack, Self::Bpf];

    /// As `/sys/kernel/security/lsm` lists it.
    pub fn listed(self) -> &'static str {
        match self {
            Self::Landlock => "landlock",
            Self::Selinux => "selinux",
            Self::Apparmor => "apparmor",
            Self::Tomoyo => "tomoyo",
            Self::Smack => "smack",
            Self::Bpf => "bpf",
        }
    }
}

/// A system call that can be denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// socket(2).
    Create,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// connect(2).
    Connect,
    /// accept(2).
    Accept,
}

impl Call {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Create, Self::Bind, Self::Listen, Self::Connect, Self::Accept];

    /// Its name, which JSON has as the operation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Accept => "accept",
        }
    }
}

/// Who was seen to say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// A security module.
    Module(Module),
    /// A cgroup's BPF program.
    CgroupBpf,
    /// A seccomp filter.
    Filter,
}

/// What became of a question for `CAP_NET_BIND_SERVICE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The caller has not got it.
    Lacked,
    /// The caller has it, and a security module denied its use.
    Denied,
}

/// What the kernel's audit recorded of a call that a security module denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Which module.
    pub module: Module,
    /// It denied the capability that the call needs, not the call itself.
    pub capability: bool,
    /// The caller's context or profile.
    pub subject: Option<Text>,
    /// The context of what it wanted.
    pub object: Option<Text>,
}

/// A BPF program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BpfProgram {
    /// Its number, as `bpftool` shows it.
    pub id: u32,
    /// Its name.
    pub name: Text,
}

/// What may have said no to a call that a thread made; the fact of the call itself comes right after.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The thread.
    pub tid: u32,
    /// Who was seen to say no.
    pub said: Option<Said>,
    /// What became of a question for a capability, when it was seen.
    pub capability: Option<Asked>,
    /// A seccomp filter may have kept the call from being entered: one that does not always let such calls pass.
    pub seccomp: bool,
    /// The caller is in a Landlock domain.
    pub landlock: bool,
    /// The number of that domain, since Linux 6.15.
    pub domain: Option<u64>,
    /// How many programs have a say in such calls in the caller's cgroup.
    pub programs: u32,
    /// The first of them.
    pub program: Option<BpfProgram>,
    /// The caller's context or profile.
    pub subject: Option<Text>,
    /// The context of what it wanted.
    pub object: Option<Text>,
}
