//! What is told of a packet that was dropped by no rule: conntrack's table is full, or the kernel gave a reason of its own.

use crate::trace::container;
use crate::trace::denied::By;
use crate::trace::fact::{Call, DeniedPacket, Dropped, Filters, Process};
use crate::trace::known::{Known, accepts};
use crate::trace::report::{Evidence, Fix, LsmReport};
use crate::trace::text::Text;

use super::denial;
use super::evidence::seen;
use super::firewall::within;
use super::fix::advice;

/// The why of a connection that conntrack had no room for.
pub(super) fn tracked(target: &str, count: u32, most: u32) -> String {
    format!(
        "conntrack's table is full ({count} connections, limit {most}): what would be new, like the SYN to {target}, is dropped"
    )
}

/// How full the table is.
pub(super) fn table(count: u32, most: u32) -> Evidence {
    seen("net.netfilter", format!("nf_conntrack_count {count}, nf_conntrack_max {most}; no rule can have dropped it"))
}

/// What gives it room.
pub(super) fn track_more(most: u32) -> Vec<Fix> {
    vec![
        Fix {
            command: Some(format!("sysctl -w net.netfilter.nf_conntrack_max={}", u64::from(most) * 2)),
            risk: Some("each connection takes some 300 bytes of memory that cannot be swapped".to_owned()),
            ..advice("let conntrack take more connections, on the host itself")
        },
        Fix {
            command: Some("conntrack -L -o extended".to_owned()),
            ..advice("see who fills it: a flood, a scan, connections that are never closed")
        },
    ]
}

/// The why of a packet that the kernel dropped for a reason of its own.
pub(super) fn summary(target: &str, dropped: &Dropped) -> String {
    let reason = dropped.reason.as_ref().map(Text::as_str);
    let why = dropped.denied().map_or_else(|| by_reason(dropped), by_module);
    let said = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let (packet, of) = (dropped.packet(), if dropped.is_answer() { "of" } else { "to" });
    format!("the kernel dropped the {packet} {of} {target}{said}: {why}")
}

/// `SELinux for system_u:system_r:redis_t:s0 keeps it from the listener`.
fn by_module(denied: &DeniedPacket) -> String {
    let DeniedPacket { module, subject, object } = denied.clone();
    format!("{} keeps it from the listener", denial::who(&By::Module { module, subject, object, capability: false }))
}

/// What the kernel's reason means.
fn by_reason(dropped: &Dropped) -> String {
    let from = dropped.source();
    match dropped.reason.as_ref().map(Text::as_str) {
        _ if dropped.is_by_source() => {
            format!("the look-up of the way back to {from} refused it: rp_filter, or a source address that cannot be")
        }
        Some("IP_RPFILTER") => {
            format!("rp_filter is strict, and the way back to {from} is not by the interface that it came in by")
        }
        Some("IP_LOCAL_SOURCE") => format!("it came from outside, and {from} is an address of this namespace's own"),
        Some("IP_INVALID_SOURCE") => format!("{from} cannot be a source address"),
        Some("IP_LOCALNET") => "a loopback address came from outside".to_owned(),
        Some("IP_INVALID_DEST") => "its destination address cannot be".to_owned(),
        Some("XFRM_POLICY") => "a policy of IPsec (XFRM) blocks what comes in so".to_owned(),
        _ if dropped.is_by_cgroup() => by_cgroup(dropped),
        Some("SOCKET_FILTER") if dropped.is_by_one_of_several() => {
            "a filter on the listener's socket, a BPF program of its cgroup (IPAddressDeny=) or a security module \
             wants it not"
                .to_owned()
        }
        Some("SOCKET_FILTER") => "a filter on the listener's socket wants it not".to_owned(),
        Some("TC_INGRESS" | "TC_EGRESS") => "a filter of traffic control (tc) dropped it".to_owned(),
        Some("XDP") => "an XDP program dropped it".to_owned(),
        Some("TCP_MD5NOTFOUND") => "the listener wants TCP-MD5 signatures from there, and it has none".to_owned(),
        Some("TCP_MD5UNEXPECTED") => "it has a TCP-MD5 signature, and the listener has no key for it".to_owned(),
        Some("TCP_MD5FAILURE") => "its TCP-MD5 signature is wrong: the two ends have different keys".to_owned(),
        Some("TCP_AONOTFOUND") => "the listener wants TCP-AO signatures from there, and it has none".to_owned(),
        Some("TCP_AOUNEXPECTED") => "it has a TCP-AO signature, and the listener has no key for it".to_owned(),
        Some("TCP_AOKEYNOTFOUND") => "it names a TCP-AO key that the listener does not have".to_owned(),
        Some("TCP_AOFAILURE") => "its TCP-AO signature is wrong: the two ends have different keys".to_owned(),
        Some("TCP_MINTTL") => {
            format!("its time to live is {}, less than the listener demands (IP_MINTTL)", dropped.ttl)
        }
        Some("SECURITY_HOOK") => "a security module wants it not".to_owned(),
        _ => "no more is known".to_owned(),
    }
}

/// `the cgroup BPF program sd_fw_ingress (id 7) keeps it from the listener`.
fn by_cgroup(dropped: &Dropped) -> String {
    let Filters { programs, program, .. } = &dropped.filters;
    // Until Linux 6.11 the probe does not look for them.
    let by = match programs {
        0 => "a BPF program of its cgroup".to_owned(),
        programs => denial::who(&By::Program { programs: *programs, program: program.clone() }),
    };
    let keeps = match (is_leaving(dropped), dropped.is_answer()) {
        (true, false) => "does not let it leave the client",
        (true, true) => "does not let it leave the server",
        (false, false) => "keeps it from the listener",
        (false, true) => "keeps it from the client",
    };
    format!("{by} {keeps}")
}

/// Whether it was dropped when it left its socket, not when it came for one.
fn is_leaving(dropped: &Dropped) -> bool {
    dropped.reason.as_ref().map(Text::as_str) == Some("BPF_CGROUP_EGRESS")
}

/// Who has a say in it, by the programs of its cgroup or its context: the client for a SYN that leaves, the listener for one
/// that comes in.
pub(super) fn member<'a>(dropped: &Dropped, known: &'a Known) -> Option<&'a Process> {
    if is_leaving(dropped) != dropped.is_answer() {
        return known.process(dropped.caller.as_ref()?.0.key());
    }
    let listeners = known.listeners.on(dropped.flow.netns, dropped.flow.server.port);
    listeners.iter().find(|listener| accepts(&listener.socket, &dropped.flow))?.owner.as_deref()
}

/// What was seen of the security module, or of the programs that may have done it.
pub(super) fn evidence(dropped: &Dropped, known: &Known) -> Vec<Evidence> {
    if let Some(DeniedPacket { module, subject, object }) = dropped.denied() {
        let subject = subject.as_ref().map(|subject| format!("the listener runs as {subject}"));
        let object = object.as_ref().map(|object| format!("the packet is {object}"));
        return [subject, object].into_iter().flatten().map(|text| seen(module.listed(), text)).collect();
    }
    let Filters { programs, program, .. } = &dropped.filters;
    let what = if is_leaving(dropped) { "packets that leave" } else { "packets that come in" };
    let seen = (*programs > 0).then(|| denial::of_programs(*programs, program.as_ref(), member(dropped, known), what));
    seen.into_iter().collect()
}

/// The security module's part in it.
pub(super) fn lsm(dropped: &Dropped) -> Option<LsmReport> {
    let DeniedPacket { module, subject, object } = dropped.denied()?.clone();
    let object = object.unwrap_or_else(|| Text::from(format!("tcp {}", dropped.flow.server).as_str()));
    Some(LsmReport { module, operation: "recv".to_owned(), subject, object })
}

/// What would let the packet in.
pub(super) fn fix(dropped: &Dropped, known: &Known) -> Vec<Fix> {
    if let Some(DeniedPacket { module, subject, object }) = dropped.denied() {
        let label = Fix { command: Some("nft list secmarks".to_owned()), ..advice("or see which rule labels it so") };
        let fixes = denial::by_module(*module, Call::Accept, subject.as_ref(), object.as_ref(), false, None);
        return fixes.into_iter().chain(object.is_some().then_some(label)).collect();
    }
    if !dropped.is_by_cgroup() {
        return vec![against(dropped, known)];
    }
    let unit = member(dropped, known).and_then(|process| container::of(process.cgroup.as_ref()?).1);
    let is_of_client = is_leaving(dropped) != dropped.is_answer();
    let peer = if is_of_client { dropped.flow.server.ip } else { dropped.flow.client.ip };
    denial::by_program(dropped.filters.program.as_ref(), unit.as_ref(), &format!("IPAddressAllow={peer}"))
}

/// The same where the reason says enough.
fn against(dropped: &Dropped, known: &Known) -> Fix {
    let from = dropped.source();
    let (text, command, risk) = match dropped.reason.as_ref().map(Text::as_str) {
        None | Some("IP_RPFILTER") => (
            "give the namespace a route back by that interface, or loosen rp_filter on it (2)",
            format!("ip route get {from}"),
            Some("a loose rp_filter takes packets with forged sources"),
        ),
        Some("IP_LOCAL_SOURCE" | "IP_INVALID_SOURCE" | "IP_LOCALNET" | "IP_INVALID_DEST") => (
            "correct the addresses of the two hosts: one is given twice, or forged",
            format!("ip route get {from}"),
            None,
        ),
        Some("XFRM_POLICY") => {
            ("change or delete the policy, where your IPsec daemon keeps it", "ip xfrm policy".to_owned(), None)
        }
        Some("SOCKET_FILTER") => (
            "find a socket_filter program that the listener's process holds; one of classic BPF is not listed anywhere",
            "bpftool prog show".to_owned(),
            None,
        ),
        Some("TC_INGRESS") => ("find the filter and who put it there", "tc -s filter show ingress".to_owned(), None),
        Some("TC_EGRESS") => ("find the filter and who put it there", "tc -s filter show egress".to_owned(), None),
        Some("XDP") => ("find the program and who put it there", "bpftool net list".to_owned(), None),
        Some("TCP_MINTTL") => {
            ("let the client be nearer, or the listener demand less", "nstat -az TcpExtTCPMinTTLDrop".to_owned(), None)
        }
        _ => ("give both ends the same key", "nstat -az TcpExtTCPMD5* TcpExtTCPAO*".to_owned(), None),
    };
    Fix { command: within(dropped.flow.netns, known, &command), risk: risk.map(ToOwned::to_owned), ..advice(text) }
}
