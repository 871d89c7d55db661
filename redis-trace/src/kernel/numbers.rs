//! The running kernel's numbers of things that have names, and where it keeps tables by them: they change from series to series.

use redis_trace_common::denial::ATTACH_POINTS;
use redis_trace_common::hook::{ARGUMENTS, Called, DROP_PLACES, DROP_REASONS, KFREE_SKB, SOCKET_PLACES};
use redis_trace_common::member::ABSENT;

use super::btf::Btf;
use super::survey::by_name;
use super::symbols::List;
use crate::trace::decode::Names;
use crate::trace::text::Text;

/// The variables with the bases of the kernel's maps of memory, and with the number of nf_tables among what a network namespace
/// has.
pub(super) const MEMORY_BASES: [&str; 2] = ["page_offset_base", "vmemmap_base"];
pub(super) const NFT_NET_ID: [&str; 1] = ["nf_tables_net_id"];

/// Where the functions and variables are that are asked for by name.
pub(super) fn symbols() -> List {
    List::read(
        &[by_name().as_slice(), DROP_PLACES, SOCKET_PLACES].concat(),
        &[MEMORY_BASES.as_slice(), &NFT_NET_ID].concat(),
    )
}

/// Which drops are told: the numbers of their reasons, a bit each, or where the kernel has none, the functions that drop.
pub(super) fn drops(btf: &Btf, symbols: &List) -> ([u64; 4], Vec<[u64; 2]>, Vec<[u64; 2]>) {
    let mut bits = [0; 4];
    for (number, name) in drop_reasons(btf).iter().enumerate() {
        if name.as_ref().is_some_and(|name| DROP_REASONS.contains(&name.as_str())) {
            bits[number / 64] |= 1 << (number % 64);
        }
    }
    let has_reason = btf.tracepoint_arguments(ARGUMENTS[KFREE_SKB].name()).is_some_and(|count| count > 2);
    let ranges = |names: &[&str]| if has_reason { vec![[0; 2]; names.len()] } else { symbols.ranges(names) };
    (bits, ranges(DROP_PLACES), ranges(SOCKET_PLACES))
}

/// The names of `enum skb_drop_reason`, by number.
fn drop_reasons(btf: &Btf) -> Vec<Option<String>> {
    without_prefix(btf.enumerators("skb_drop_reason"), "SKB_DROP_REASON_")
}

/// Names without what all of them begin with.
fn without_prefix(names: Vec<Option<String>>, prefix: &str) -> Vec<Option<String>> {
    let short = |name: String| name.strip_prefix(prefix).map_or(name.clone(), str::to_owned);
    names.into_iter().map(|name| name.map(short)).collect()
}

/// Places in the running kernel's table of a cgroup's programs; its own numbers since Linux 5.15.
pub(super) fn attach_places(btf: &Btf) -> Vec<u32> {
    let own = btf.enumerators("cgroup_bpf_attach_type");
    let (is_own, names) = if own.is_empty() { (false, btf.enumerators("bpf_attach_type")) } else { (true, own) };
    let place = |(name, before): &(&str, &str)| {
        let wanted = if is_own { *name } else { *before };
        let at = names.iter().position(|name| name.as_deref() == Some(wanted));
        at.and_then(|at| u32::try_from(at).ok()).unwrap_or(ABSENT)
    };
    ATTACH_POINTS.iter().map(place).collect()
}

/// The number of the reason that the kernel gives when it resets a connection for which a listener had no room.
pub(super) fn invalid_syn(btf: &Btf) -> u32 {
    let reasons = btf.enumerators("sk_rst_reason");
    let place = reasons.iter().position(|name| name.as_deref() == Some("SK_RST_REASON_INVALID_SYN"));
    place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX)
}

/// How many arguments the running kernel's function or tracepoint has.
pub(super) fn arguments(btf: &Btf, called: Called) -> Option<u32> {
    match called {
        Called::Function(name) => btf.function_arguments(name),
        Called::Tracepoint(name) => btf.tracepoint_arguments(name),
    }
}

/// The running kernel's names of its numbers.
pub(super) fn names(btf: &Btf) -> Names {
    let texts = |names: Vec<Option<String>>| names.into_iter().map(|name| name.map(Text::from)).collect();
    let reset_reasons = texts(without_prefix(btf.enumerators("sk_rst_reason"), "SK_RST_REASON_"));
    Names { reset_reasons, drop_reasons: texts(drop_reasons(btf)), ..Names::default() }
}
