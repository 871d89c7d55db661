//! Every hook, declared once: the kernel point, how a probe is put on it, and what is lost without it.
//!
//! Hooks that tell the same thing share a [`Role`]. For each role the program tries the first tier, and where this kernel
//! refuses any of it, the second: decided by trying, never by version number.

use core::ops::RangeInclusive;

/// How a probe is put on a kernel point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On a function's entry, by its BTF.
    Fentry,
    /// On a function's return, by its BTF.
    Fexit,
    /// On the entry of a function that may be in a module, by its name.
    Kprobe,
    /// On a tracepoint, with its arguments as the kernel has them.
    RawTracepoint {
        /// How many arguments it must have for the probe to be of use.
        arguments: u32,
    },
    /// On a tracepoint whose arguments the verifier knows the types of: what they point to is read without a call. For those
    /// that a flood of refusals passes.
    TypedTracepoint {
        /// How many arguments it must have for the probe to be of use.
        arguments: u32,
    },
    /// On a system call's tracepoint, which every call of every task then passes a little slower.
    Syscall,
}

/// Which of two ways to see the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Trampolines on kernel functions: sees most, hardened kernels refuse it.
    T1,
    /// Tracepoints, which every kernel has.
    T2,
}

impl Kind {
    /// The tier it belongs to.
    pub const fn tier(self) -> Tier {
        match self {
            Self::Fentry | Self::Fexit | Self::Kprobe => Tier::T1,
            Self::RawTracepoint { .. } | Self::TypedTracepoint { .. } | Self::Syscall => Tier::T2,
        }
    }
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The kernel's name of the function or tracepoint.
    pub target: &'static str,
    /// The probe's name in the object.
    pub probe: &'static str,
    /// How it is attached.
    pub kind: Kind,
    /// What it is for.
    pub role: Role,
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident { essential: $essential:literal, causes: [$($cause:ident),*], })*) => {
        /// What a hook is for. Hooks of the same role and another tier are alternatives.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Role { $($(#[$doc])* $name,)* }

        impl Role {
            /// Every role.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Without any essential role there is nothing to tell.
            pub const fn essential(self) -> bool {
                match self { $(Self::$name => $essential,)* }
            }

            /// The causes that need it.
            pub const fn causes(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$(stringify!($cause)),*],)* }
            }
        }
    };
}

roles! {
    /// The server end: resets that the kernel sends to a SYN without a socket.
    Resets {
        essential: true,
        causes: [RT1001, RT1002, RT1003, RT1004, RT1005, RT1006, RT1007, RT1008, RT1009, RT1010, RT1014, RT1018, RT1019],
    }
    /// The client end, and listeners that come and go.
    States {
        essential: true,
        causes: [
            RT1001, RT1002, RT1003, RT1004, RT1005, RT1006, RT1018, RT4001, RT5001, RT5002, RT6001, RT6002, RT6003,
            RT6004, RT6005, RT6006, RT6008, RT6009
        ],
    }
    /// SYNs that the kernel drops on their way.
    Drops { essential: false, causes: [RT2006, RT3001, RT3002, RT3003, RT3004, RT3020, RT3032], }
    /// The very rule that rejects, as the kernel evaluates it; without it the same is deduced from the rules.
    Rules { essential: false, causes: [], }
    /// bind(2) that failed.
    Binds { essential: false, causes: [RT1011, RT1012, RT1013, RT1014, RT3010, RT3014, RT3020, RT3021], }
    /// listen(2) that failed, and unix sockets that listen.
    Listens { essential: false, causes: [RT1011, RT1016, RT1020, RT1021], }
    /// accept(2) that failed for want of a file, or was denied.
    Accepts { essential: false, causes: [RT2003, RT3013], }
    /// connect(2) that failed at once: on a unix socket, or before any SYN was sent.
    Connects { essential: false, causes: [RT1015, RT1016, RT1017, RT2007, RT3012, RT3020, RT3021, RT3030, RT3031], }
    /// socket(2) that failed.
    Sockets { essential: false, causes: [RT3011, RT3020, RT3021], }
    /// The same calls made through io_uring.
    Rings { essential: false, causes: [], }
    /// What each security module and each cgroup's program denies, by its own functions; without it the same is deduced.
    Modules { essential: false, causes: [], }
    /// Calls that seccomp filters keep from being entered, where the tracepoints of calls do not tell.
    Filters { essential: false, causes: [RT3021], }
    /// What SELinux denies.
    Selinux { essential: false, causes: [RT3010, RT3011, RT3012, RT3013, RT3014], }
    /// Questions for capabilities that were answered by no.
    Capabilities { essential: false, causes: [RT1013, RT3014], }
    /// Connections that find a listener's queue full.
    Queues { essential: false, causes: [RT2001, RT2002], }
    /// SYNs that are sent again.
    Retransmits { essential: false, causes: [RT4003], }
    /// ICMP errors that answer a SYN.
    IcmpErrors { essential: false, causes: [RT4002], }
    /// What is said on a connection, as it is said, where the kernel keeps it nowhere: before Linux 5.16.
    Words { essential: false, causes: [RT5002, RT5003, RT6001, RT6003, RT6004, RT6005, RT6006, RT6007], }
    /// How far resets and answers have travelled.
    Distances { essential: false, causes: [RT4004], }
    /// Servers that are started.
    Execs { essential: false, causes: [RT1020, RT1021], }
    /// Processes that servers fork, such as their daemon.
    Forks { essential: false, causes: [RT1020], }
    /// How servers end.
    Exits { essential: false, causes: [RT1002, RT1003, RT1004, RT1005, RT1020], }
    /// Who sent the signal that ended a server.
    Signals { essential: false, causes: [RT1003], }
    /// The OOM killer's choice.
    OomVictims { essential: false, causes: [RT1004], }
}

macro_rules! hooks {
    ($($role:ident: $kind:ident $({ $field:ident: $value:literal })? $target:literal by $probe:literal;)*) => {
        /// Every hook, in the order they are attached.
        pub const HOOKS: &[Hook] = &[$(
            Hook { target: $target, probe: $probe, kind: Kind::$kind $({ $field: $value })?, role: Role::$role },
        )*];
    };
}

hooks! {
    // net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c: called with the listener, the socket, or none.
    Resets: Fentry "tcp_v4_send_reset" by "reset_v4";
    Resets: Fentry "tcp_v6_send_reset" by "reset_v6";
    // net/ipv4/tcp_output.c: the resets of a socket's own, counted with the others.
    Resets: Fentry "tcp_send_active_reset" by "reset_active";
    // include/trace/events/tcp.h: silent without a socket until it got its `reason`, since Linux 6.10.
    Resets: TypedTracepoint { arguments: 3 } "tcp_send_reset" by "reset";
    // include/trace/events/sock.h
    States: TypedTracepoint { arguments: 3 } "inet_sock_set_state" by "state";
    // include/trace/events/skb.h: with the reason since Linux 5.17, where it is called from always.
    Drops: RawTracepoint { arguments: 2 } "kfree_skb" by "dropped";
    // net/netfilter/nft_reject_inet.c and its kin; net/ipv4/netfilter/ipt_REJECT.c, net/ipv6/netfilter/ip6t_REJECT.c, which
    // nft_compat calls too.
    Rules: Kprobe "nft_reject_inet_eval" by "rejected_inet";
    Rules: Kprobe "nft_reject_ipv4_eval" by "rejected_ipv4";
    Rules: Kprobe "nft_reject_ipv6_eval" by "rejected_ipv6";
    Rules: Kprobe "nft_reject_bridge_eval" by "rejected_bridge";
    Rules: Kprobe "reject_tg" by "rejected_xt_v4";
    Rules: Kprobe "reject_tg6" by "rejected_xt_v6";
    // net/ipv4/af_inet.c, net/ipv6/af_inet6.c
    Binds: Fexit "inet_bind" by "bound_v4";
    Binds: Fexit "inet6_bind" by "bound_v6";
    Binds: Fexit "security_socket_bind" by "denied_bind";
    Binds: Syscall "sys_exit_bind" by "exit_bind";
    Listens: Fexit "inet_listen" by "listened";
    Listens: Fexit "unix_listen" by "unix_listened";
    Listens: Fexit "security_socket_listen" by "denied_listen";
    Listens: Syscall "sys_exit_listen" by "exit_listen";
    // net/socket.c: without a file nothing below is called.
    Accepts: Fexit "__x64_sys_accept4" by "accepted4";
    Accepts: Fexit "__x64_sys_accept" by "accepted";
    Accepts: Syscall "sys_exit_accept4" by "exit_accept4";
    Accepts: Syscall "sys_exit_accept" by "exit_accept";
    // net/unix/af_unix.c
    Connects: Fexit "unix_stream_connect" by "unix_connected";
    // net/ipv4/af_inet.c; security/security.c: modules are asked before the protocol family is.
    Connects: Fexit "inet_stream_connect" by "stream_connected";
    Connects: Fexit "security_socket_connect" by "denied_connect";
    Connects: Syscall "sys_exit_connect" by "exit_connect";
    // security/landlock/net.c, security/apparmor/lsm.c, security/selinux/hooks.c, security/tomoyo/tomoyo.c, kernel/bpf/cgroup.c.
    // Every dial and every accept passes those for connect and accept: not hooked of modules whose denials are known without,
    // by what they keep of a task or by the kernel's audit.
    Modules: Fexit "hook_socket_bind" by "landlock_bind";
    Modules: Fexit "apparmor_socket_create" by "apparmor_create";
    Modules: Fexit "apparmor_socket_bind" by "apparmor_bind";
    Modules: Fexit "apparmor_socket_listen" by "apparmor_listen";
    Modules: Fexit "apparmor_capable" by "apparmor_capability";
    Modules: Fexit "selinux_socket_create" by "selinux_create";
    Modules: Fexit "selinux_socket_bind" by "selinux_bind";
    Modules: Fexit "selinux_socket_listen" by "selinux_listen";
    Modules: Fexit "selinux_capable" by "selinux_capability";
    Modules: Fexit "tomoyo_socket_bind" by "tomoyo_bind";
    Modules: Fexit "tomoyo_socket_listen" by "tomoyo_listen";
    Modules: Fexit "tomoyo_socket_connect" by "tomoyo_connect";
    // security/smack/smack_lsm.c: of IPv4 it has a say in connect alone, and in what comes in.
    Modules: Fexit "smack_socket_connect" by "smack_connect";
    Modules: Fexit "bpf_lsm_socket_create" by "bpf_lsm_create";
    Modules: Fexit "bpf_lsm_socket_bind" by "bpf_lsm_bind";
    Modules: Fexit "bpf_lsm_socket_listen" by "bpf_lsm_listen";
    Modules: Fexit "bpf_lsm_socket_connect" by "bpf_lsm_connect";
    Modules: Fexit "bpf_lsm_socket_accept" by "bpf_lsm_accept";
    // A SYN for a listener, once for each that is not sent again.
    Modules: Fexit "selinux_inet_conn_request" by "selinux_syn";
    Modules: Fexit "bpf_lsm_inet_conn_request" by "bpf_lsm_syn";
    Modules: Fexit "__cgroup_bpf_run_filter_sock_addr" by "program_on_address";
    Modules: Fexit "__cgroup_bpf_run_filter_sk" by "program_on_sock";
    // kernel/seccomp.c
    Filters: Fexit "__seccomp_filter" by "filtered";
    // include/trace/events/avc.h; include/trace/events/capability.h since Linux 6.16.
    Selinux: RawTracepoint { arguments: 4 } "selinux_audited" by "selinux_audited";
    Capabilities: Fexit "cap_capable" by "capability_checked";
    Capabilities: RawTracepoint { arguments: 5 } "cap_capable" by "capable";
    // net/socket.c
    Sockets: Fexit "__sys_socket" by "socket_made";
    Sockets: Syscall "sys_exit_socket" by "exit_socket";
    // io_uring/net.c since Linux 6.0: what comes past no function above. include/trace/events/io_uring.h: everything that was
    // made through it.
    Rings: Fexit "io_accept" by "ring_accepted";
    Rings: Fexit "io_socket" by "ring_socket_made";
    Rings: TypedTracepoint { arguments: 3 } "io_uring_complete" by "ring_completed";
    // net/ipv4/tcp_input.c, tcp_ipv4.c, net/ipv6/tcp_ipv6.c. No tracepoint tells of a SYN that found a queue full: it is
    // consumed, not dropped. Without these the kernel's counters and socket dumps stand in.
    Queues: Fentry "tcp_conn_request" by "syn_came";
    Queues: Fexit "tcp_conn_request" by "syn_answered";
    Queues: Fentry "tcp_v4_syn_recv_sock" by "ack_came_v4";
    Queues: Fentry "tcp_v6_syn_recv_sock" by "ack_came_v6";
    // include/trace/events/tcp.h: with a third argument since Linux 6.18.
    Retransmits: TypedTracepoint { arguments: 2 } "tcp_retransmit_skb" by "retransmitted";
    // net/ipv4/tcp_ipv4.c, net/ipv6/tcp_ipv6.c: no tracepoint tells of an ICMP error that came.
    IcmpErrors: Fentry "tcp_v4_err" by "icmp_error_v4";
    IcmpErrors: Fentry "tcp_v6_err" by "icmp_error_v6";
    // net/ipv4/tcp.c: everything that is sent.
    Words: Fentry "tcp_sendmsg" by "spoken";
    // net/ipv4/tcp_input.c: an answer that takes a SYN, and a reset. Before Linux 5.12 the latter does not come with its packet:
    // there everything that comes to a socket that is not established is looked at.
    Distances: Fentry "tcp_finish_connect" by "answer_received";
    Distances: Fentry "tcp_reset" by "reset_received";
    Distances: Fentry "tcp_rcv_state_process" by "segment_received";
    // include/trace/events/sched.h, signal.h, oom.h
    Execs: RawTracepoint { arguments: 3 } "sched_process_exec" by "exec";
    Forks: RawTracepoint { arguments: 2 } "sched_process_fork" by "fork";
    Exits: RawTracepoint { arguments: 1 } "sched_process_exit" by "exit";
    Signals: RawTracepoint { arguments: 5 } "signal_generate" by "signal";
    OomVictims: RawTracepoint { arguments: 1 } "mark_victim" by "oom_victim";
}

impl Hook {
    /// The security module whose function it is on, as the kernel lists it; such a hook is of use where that is at work.
    pub fn module(&self) -> Option<&'static str> {
        const PREFIXES: &[(&str, &str)] = &[
            ("hook_socket_", "landlock"),
            ("apparmor_", "apparmor"),
            ("selinux_socket_", "selinux"),
            ("selinux_inet_", "selinux"),
            ("selinux_capable", "selinux"),
            ("selinux_audited", "selinux"),
            ("tomoyo_", "tomoyo"),
            ("smack_socket_", "smack"),
            ("bpf_lsm_", "bpf"),
        ];
        PREFIXES.iter().find(|(prefix, _)| self.target.starts_with(prefix)).map(|(_, module)| *module)
    }

    /// A function that the running kernel must have, with so many arguments, where this hook is of use; others need none.
    pub fn beside(&self) -> Option<(&'static str, RangeInclusive<u32>)> {
        match self.target {
            "tcp_sendmsg" => Some((ARGUMENTS[SK_STREAM_ALLOC_SKB].name(), 0..=u32::MAX)),
            "tcp_reset" => Some(("tcp_reset", 2..=2)),
            "tcp_rcv_state_process" => Some(("tcp_reset", 1..=1)),
            _ => None,
        }
    }

    /// The member that a kernel has whose tracepoint tells of what it is called: here of a request, with its result.
    pub fn member(&self) -> Option<&'static str> {
        (self.target == "io_uring_complete").then_some("io_kiocb.cqe.res")
    }
}

/// Whose arguments are counted.
#[derive(Clone, Copy, Debug)]
pub enum Called {
    /// A function.
    Function(&'static str),
    /// A tracepoint.
    Tracepoint(&'static str),
}

impl Called {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Function(name) | Self::Tracepoint(name) => name,
        }
    }
}

/// Kernel points whose arguments changed: how many the running kernel's have tells the probe which they are.
pub const ARGUMENTS: &[Called] = &[
    Called::Function("tcp_v4_send_reset"),
    Called::Function("tcp_v6_send_reset"),
    Called::Tracepoint("mark_victim"),
    Called::Tracepoint("kfree_skb"),
    Called::Function("bpf_task_pt_regs"),
    Called::Function("__cgroup_bpf_run_filter_sock_addr"),
    Called::Function("sk_stream_alloc_skb"),
    Called::Tracepoint("io_uring_complete"),
];

/// Place in [`ARGUMENTS`] of `tcp_v4_send_reset(sk, skb[, reason])`; `reason` since Linux 6.10.
pub const TCP_V4_SEND_RESET: usize = 0;
/// Place in [`ARGUMENTS`] of `tcp_v6_send_reset(sk, skb[, reason])`.
pub const TCP_V6_SEND_RESET: usize = 1;
/// Place in [`ARGUMENTS`] of `mark_victim(pid)`, since Linux 6.8 `mark_victim(task, uid)`.
pub const MARK_VICTIM: usize = 2;
/// Place in [`ARGUMENTS`] of `kfree_skb(skb, location[, reason[, rx_sk]])`; `reason` since Linux 5.17.
pub const KFREE_SKB: usize = 3;

/// Why a SYN is dropped that is worth telling: names in `enum skb_drop_reason` without their prefix. What is not among them
/// costs its packet next to nothing.
pub const DROP_REASONS: &[&str] = &[
    "NETFILTER_DROP",
    "XFRM_POLICY",
    // fib_validate_source() in net/ipv4/fib_frontend.c, ip_route_input_slow() in net/ipv4/route.c: those but the first since
    // Linux 6.16.
    "IP_RPFILTER",
    "IP_LOCAL_SOURCE",
    "IP_INVALID_SOURCE",
    "IP_LOCALNET",
    "IP_INVALID_DEST",
    // sk_filter_trim_cap() in net/core/filter.c, sch_handle_ingress(), sch_handle_egress() and do_xdp_generic() in
    // net/core/dev.c.
    "SOCKET_FILTER",
    "SECURITY_HOOK",
    // ip_finish_output() in net/ipv4/ip_output.c, ip6_finish_output() in net/ipv6/ip6_output.c.
    "BPF_CGROUP_EGRESS",
    "TC_INGRESS",
    "TC_EGRESS",
    "XDP",
    // tcp_inbound_hash() and tcp_v4_rcv() in net/ipv4.
    "TCP_MD5NOTFOUND",
    "TCP_MD5UNEXPECTED",
    "TCP_MD5FAILURE",
    "TCP_AONOTFOUND",
    "TCP_AOUNEXPECTED",
    "TCP_AOKEYNOTFOUND",
    "TCP_AOFAILURE",
    "TCP_MINTTL",
];
/// Functions that drop for these reasons, for kernels that have no names for them: ip_rcv_finish_core() where a packet's
/// source is refused.
pub const DROP_PLACES: &[&str] = &["nf_hook_slow", "ip_rcv_finish_core"];
/// Functions that drop what a socket's filter or a security module does not take, and much else, for the same kernels.
pub const SOCKET_PLACES: &[&str] = &["tcp_v4_rcv", "tcp_v6_rcv"];
/// Place in [`ARGUMENTS`] of a helper that not every kernel has, since Linux 5.15: absent where it is.
pub const TASK_PT_REGS: usize = 4;
/// Place in [`ARGUMENTS`] of `__cgroup_bpf_run_filter_sock_addr(sk, uaddr[, uaddrlen], atype, t_ctx[, flags])`: 4 on Linux
/// 5.10, 5 with `flags`, 6 with `uaddrlen` since 6.7.
pub const RUN_FILTER_SOCK_ADDR: usize = 5;
/// Place in [`ARGUMENTS`] of `sk_stream_alloc_skb`, gone since Linux 5.16: where it is, what is sent is not copied to a task's
/// own pages.
pub const SK_STREAM_ALLOC_SKB: usize = 6;
/// Place in [`ARGUMENTS`] of `io_uring_complete(ctx, req, cqe)`, on older kernels `io_uring_complete(ctx, req, user_data, res,
/// …)`.
pub const IO_URING_COMPLETE: usize = 7;

/// Names of server programs, as the kernel cuts them: what they are started with, and how they end, is worth knowing.
pub const SERVERS: &[&str] = &[
    "redis-server",
    "redis-sentinel",
    "redis-check-rdb",
    "redis-check-aof",
    "redis-stack-server",
    "valkey-server",
    "valkey-sentinel",
    "valkey-check-rdb",
    "valkey-check-aof",
    "keydb-server",
    "keydb-sentinel",
    "dragonfly",
    "kvrocks",
    "garnet-server",
];
