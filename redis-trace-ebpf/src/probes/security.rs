//! Security modules and capabilities that say no while a call is under way.

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::{fexit, raw_tracepoint};
use aya_ebpf::programs::{FExitContext, RawTracePointContext};
use redis_trace_common::denial::{Asked, Said};
use redis_trace_common::hook::RUN_FILTER_SOCK_ADDR;
use redis_trace_common::member::{AVC_REQUESTED, AVC_RESULT, AVC_TARGET};

use super::dropped;
use crate::denial::{saw, saw_packet, saw_unless_known, smack_label, tomoyo_domain};
use crate::kernel::{arguments, read};

/// `CAP_NET_BIND_SERVICE`, include/uapi/linux/capability.h.
const CAP_NET_BIND_SERVICE: u32 = 10;

/// `selinux_audited(struct selinux_audit_data *sad, char *scontext, char *tcontext, const char *tclass)`,
/// include/trace/events/avc.h.
#[raw_tracepoint(tracepoint = "selinux_audited")]
pub(crate) fn selinux_audited(ctx: RawTracePointContext) -> i32 {
    let (sad, scontext, tcontext) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2));
    // A permissive domain's is told too, and passes.
    if read(sad, AVC_RESULT) == 0 {
        return 0;
    }
    let mut class = [0_u8; 16];
    let into = (&raw mut class).cast::<c_void>();
    unsafe { bpf_probe_read_kernel_str(into, class.len() as u32, ctx.arg::<u64>(3) as *const c_void) };
    let start = u64::from_ne_bytes([class[0], class[1], class[2], class[3], class[4], class[5], class[6], class[7]]);
    if start == u64::from_ne_bytes(*b"tcp_sock") {
        saw(Said::Selinux, Asked::Unseen, scontext, tcontext);
    } else if start == u64::from_ne_bytes(*b"capabili") && read(sad, AVC_REQUESTED) == 1 << CAP_NET_BIND_SERVICE {
        saw(Said::Selinux, Asked::Denied, scontext, tcontext);
    } else if start == u64::from_ne_bytes(*b"packet\0\0") {
        saw_packet(Said::Selinux, read(sad, AVC_TARGET), scontext, tcontext);
    }
    0
}

/// `cap_capable(const struct cred *cred, struct user_namespace *target_ns, const struct user_namespace *capable_ns, int cap,
/// int ret)`, include/trace/events/capability.h, since Linux 6.16.
#[raw_tracepoint(tracepoint = "cap_capable")]
pub(crate) fn capable(ctx: RawTracePointContext) -> i32 {
    if ctx.arg::<u32>(3) == CAP_NET_BIND_SERVICE && ctx.arg::<u32>(4) != 0 {
        saw(Said::Nobody, Asked::Lacked, 0, 0);
    }
    0
}

/// `int cap_capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)`, security/commoncap.c.
#[fexit(function = "cap_capable")]
pub(crate) fn capability_checked(ctx: FExitContext) -> u32 {
    if ctx.arg::<u32>(2) == CAP_NET_BIND_SERVICE && ctx.arg::<i32>(4) != 0 {
        saw(Said::Nobody, Asked::Lacked, 0, 0);
    }
    0
}

/// `int __cgroup_bpf_run_filter_sock_addr(…)`, kernel/bpf/cgroup.c.
#[fexit(function = "__cgroup_bpf_run_filter_sock_addr")]
pub(crate) fn program_on_address(ctx: FExitContext) -> u32 {
    let count = arguments(RUN_FILTER_SOCK_ADDR);
    // The return value stands behind the arguments. Volatile: read by one instruction for all of them, it would be at an
    // address that the verifier does not take.
    let at = |index: usize| unsafe { read_volatile(ctx.as_ptr().cast::<i64>().add(index)) } as i32;
    let is_denied = (count == 4 && at(4) < 0) || (count == 5 && at(5) < 0) || (count == 6 && at(6) < 0);
    if is_denied {
        saw(Said::CgroupBpf, Asked::Unseen, 0, 0);
    }
    0
}

/// `int __cgroup_bpf_run_filter_sk(struct sock *sk, enum cgroup_bpf_attach_type atype)`, kernel/bpf/cgroup.c.
#[fexit(function = "__cgroup_bpf_run_filter_sk")]
pub(crate) fn program_on_sock(ctx: FExitContext) -> u32 {
    if ctx.arg::<i32>(2) < 0 {
        saw(Said::CgroupBpf, Asked::Unseen, 0, 0);
    }
    0
}

/// Probes on a module's own functions: what it said, and to whom where that is read here, when the call that is under way is
/// refused.
macro_rules! says {
    ($($module:ident to $subject:expr; $($function:literal by $probe:ident returns at $result:literal;)*)*) => {$($(
        #[doc = concat!("`int ", $function, "(…)`: what it returned.")]
        #[fexit(function = $function)]
        pub(crate) fn $probe(ctx: FExitContext) -> u32 {
            if ctx.arg::<i32>($result) < 0 {
                saw_unless_known(Said::$module, Asked::Unseen, $subject);
            }
            0
        }
    )*)*};
}

says! {
    Landlock to 0;
        "hook_socket_bind" by landlock_bind returns at 3;
    AppArmor to 0;
        "apparmor_socket_create" by apparmor_create returns at 4;
        "apparmor_socket_bind" by apparmor_bind returns at 3;
        "apparmor_socket_listen" by apparmor_listen returns at 2;
    Selinux to 0;
        "selinux_socket_create" by selinux_create returns at 4;
        "selinux_socket_bind" by selinux_bind returns at 3;
        "selinux_socket_listen" by selinux_listen returns at 2;
    Tomoyo to tomoyo_domain();
        "tomoyo_socket_bind" by tomoyo_bind returns at 3;
        "tomoyo_socket_listen" by tomoyo_listen returns at 2;
        "tomoyo_socket_connect" by tomoyo_connect returns at 3;
    Smack to smack_label();
        "smack_socket_connect" by smack_connect returns at 3;
    BpfLsm to 0;
        "bpf_lsm_socket_create" by bpf_lsm_create returns at 4;
        "bpf_lsm_socket_bind" by bpf_lsm_bind returns at 3;
        "bpf_lsm_socket_listen" by bpf_lsm_listen returns at 2;
        "bpf_lsm_socket_connect" by bpf_lsm_connect returns at 3;
        "bpf_lsm_socket_accept" by bpf_lsm_accept returns at 2;
}

/// Probes on what a module makes of a question for a capability: `int …(const struct cred *cred, struct user_namespace *ns,
/// int cap, unsigned int opts)`.
macro_rules! says_of_capabilities {
    ($($module:ident: $function:literal by $probe:ident;)*) => {$(
        #[doc = concat!("`int ", $function, "(cred, ns, cap, opts)`: what it returned.")]
        #[fexit(function = $function)]
        pub(crate) fn $probe(ctx: FExitContext) -> u32 {
            if ctx.arg::<u32>(2) == CAP_NET_BIND_SERVICE && ctx.arg::<i32>(4) < 0 {
                saw_unless_known(Said::$module, Asked::Denied, 0);
            }
            0
        }
    )*};
}

says_of_capabilities! {
    AppArmor: "apparmor_capable" by apparmor_capability;
    Selinux: "selinux_capable" by selinux_capability;
}

/// Probes on what a module makes of a SYN: `int …(const struct sock *sk, struct sk_buff *skb, struct request_sock *req)`.
macro_rules! says_of_syns {
    ($($module:ident: $function:literal by $probe:ident;)*) => {$(
        #[doc = concat!("`int ", $function, "(sk, skb, req)`: what it returned.")]
        #[fexit(function = $function)]
        pub(crate) fn $probe(ctx: FExitContext) -> u32 {
            if ctx.arg::<i32>(3) != 0 {
                dropped::denied(ctx.arg(0), ctx.arg(1), Said::$module);
            }
            0
        }
    )*};
}

says_of_syns! {
    Selinux: "selinux_inet_conn_request" by selinux_syn;
    BpfLsm: "bpf_lsm_inet_conn_request" by bpf_lsm_syn;
}
