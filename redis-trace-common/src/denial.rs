//! Who says no to a call on a socket, and where the kernel keeps what a probe asks of them.

/// Who was seen to say no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Said {
    /// Nobody that was looked at.
    Nobody = 0,
    /// Landlock.
    Landlock = 1,
    /// SELinux.
    Selinux = 2,
    /// AppArmor.
    AppArmor = 3,
    /// TOMOYO.
    Tomoyo = 4,
    /// A program on a hook of the BPF security module.
    BpfLsm = 5,
    /// A program of a cgroup.
    CgroupBpf = 6,
    /// A seccomp filter.
    Filter = 7,
    /// Smack.
    Smack = 8,
}

impl Said {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Nobody,
        Self::Landlock,
        Self::Selinux,
        Self::AppArmor,
        Self::Tomoyo,
        Self::BpfLsm,
        Self::CgroupBpf,
        Self::Filter,
        Self::Smack,
    ];
}

/// What became of a question for a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Asked {
    /// It was not asked for, as far as was seen.
    Unseen = 0,
    /// The caller has not got it.
    Lacked = 1,
    /// The caller has it, and a security module denied its use.
    Denied = 2,
}

impl Asked {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Unseen, Self::Lacked, Self::Denied];
}

/// Calls and packets in which cgroup programs have a say: places in the running kernel's table of a cgroup's programs.
pub const ATTACH_POINTS: &[(&str, &str)] = &[
    ("CGROUP_INET4_BIND", "BPF_CGROUP_INET4_BIND"),
    ("CGROUP_INET6_BIND", "BPF_CGROUP_INET6_BIND"),
    ("CGROUP_INET4_CONNECT", "BPF_CGROUP_INET4_CONNECT"),
    ("CGROUP_INET6_CONNECT", "BPF_CGROUP_INET6_CONNECT"),
    ("CGROUP_INET_SOCK_CREATE", "BPF_CGROUP_INET_SOCK_CREATE"),
    ("", ""),
    ("CGROUP_INET_INGRESS", "BPF_CGROUP_INET_INGRESS"),
    ("CGROUP_INET_EGRESS", "BPF_CGROUP_INET_EGRESS"),
];

/// Place in [`ATTACH_POINTS`] of bind(2) to IPv4; the next one is to IPv6.
pub const BIND: usize = 0;
/// Place in [`ATTACH_POINTS`] of connect(2) to IPv4; the next one is to IPv6.
pub const CONNECT: usize = 2;
/// Place in [`ATTACH_POINTS`] of socket(2).
pub const CREATE: usize = 4;
/// Place in [`ATTACH_POINTS`] of listen(2) and of accept(2), in which no program has a say.
pub const LISTEN: usize = 5;
/// Place in [`ATTACH_POINTS`] of a packet that comes in for a socket.
pub const INGRESS: usize = 6;
/// Place in [`ATTACH_POINTS`] of a packet that leaves a socket.
pub const EGRESS: usize = 7;

/// What Landlock calls the calls in [`ATTACH_POINTS`]: `LANDLOCK_ACCESS_NET_BIND_TCP` and `LANDLOCK_ACCESS_NET_CONNECT_TCP`,
/// include/uapi/linux/landlock.h; 0 for those in which it has no say.
pub const LANDLOCK_RIGHTS: [u32; ATTACH_POINTS.len()] = [1, 1, 2, 2, 0, 0, 0, 0];
