//! Which rule of the firewall rejects a packet, read from where the kernel evaluates it: nothing in the ruleset is touched.
//!
//! A rule of nf_tables is a header of one word and its expressions right behind it; the expression that rejects is its last.
//! So the header is a word before that expression which says that the rule is exactly so long. Words within other expressions
//! can say so too: all of them are told, and the program knows the handles that the namespace's rules really have. Behind the
//! rule come the others of its chain, and at their end, since Linux 6.4, what leads to its table. An entry of ip_tables has no
//! handle; how many follow it in its table tells which one it is.
//!
//! What loops, and what a loop does at a turn, are global functions: the verifier looks at each once, by itself, and not once more
//! for every turn and every way that a turn can take.

use aya_ebpf::macros::kprobe;
use aya_ebpf::programs::ProbeContext;
use redis_trace_common::hook::KFREE_SKB;
use redis_trace_common::member::{NFT_CHAIN_TABLE, NFT_LAST_CHAIN, NFT_TABLE_HANDLE};
use redis_trace_common::record::{Dropped, HANDLES, MANY};
use redis_trace_common::tally::{WHOLE_BUDGET, WINDOW_SHIFT};

use crate::emit::tick;
use crate::kernel::{arguments, copy, peek, read};
use crate::maps::REJECTED;

/// A rule's expressions take no more bytes: `dlen` of `struct nft_rule_dp`, include/net/netfilter/nf_tables.h, has 12 bits.
const MOST_BYTES: u64 = 1 << 12;
/// So many bytes are read at once, and none of them lie on another page than the rest.
const CHUNK: u64 = 64;
/// Chunks that the header can be in.
const CHUNKS: u64 = MOST_BYTES / CHUNK + 1;
/// Where `struct nft_expr_ops` has the size of its expressions.
const OPS_SIZE: u64 = 16;
/// Where `struct xt_action_param` has the target's data, include/linux/netfilter/x_tables.h.
const PAR_TARGINFO: u64 = 8;
/// Bytes of a `struct xt_entry_target` before its data, include/uapi/linux/netfilter/x_tables.h.
const TARGET: u64 = 32;
/// Where it has its name.
const TARGET_NAME: u64 = 2;
/// The name of the target that ends a table, and of the entry that has it: `XT_ERROR_TARGET`.
const ERROR: u64 = u64::from_le_bytes(*b"ERROR\0\0\0");
/// Words of matches that an entry of ip_tables is looked for across.
const MATCH_WORDS: u64 = 96;
/// Of what follows a rule, so much is gone through at a turn.
const TURN: u32 = 64;
/// So many turns are taken: nothing is told of what is longer.
const TURNS: u32 = 64;
/// Set in the address of what nothing follows.
const END: u64 = 1;
/// How long after its rejection a packet is dropped, nanoseconds: what is older was another packet.
const AT_ONCE: u64 = 20_000_000;

/// What is known of the rule that rejected the last packet on a processor.
#[repr(C)]
pub(crate) struct Rejected {
    /// The packet, 0 once one was dropped.
    skb: u64,
    /// When it was rejected.
    time: u64,
    /// Which window `used` counts in, and how many were looked into in it.
    window: u32,
    used: u32,
    /// 1 when it is this packet that was dropped last.
    is_dropped: u32,
    /// How many words were found that can be the rule's header.
    found: u32,
    /// What was gone through that follows it.
    passed: u32,
    /// How many rules of its chain follow, or entries of its ip_tables; [`MANY`] when that is not known.
    followers: u32,
    /// Handles that these words give, the last ones found where they are too many; 0 where there is none.
    handles: [u64; HANDLES],
    /// The handle of its table; 0 when that is not known.
    table: u64,
    /// What is looked at.
    chunk: [u64; CHUNK as usize / 8],
}

/// `void nft_reject_inet_eval(const struct nft_expr *expr, struct nft_regs *regs, const struct nft_pktinfo *pkt)`,
/// net/netfilter/nft_reject_inet.c.
#[kprobe]
pub(crate) fn rejected_inet(ctx: ProbeContext) -> u32 {
    by_nf_tables(&ctx)
}

/// `nft_reject_ipv4_eval`, net/ipv4/netfilter/nft_reject_ipv4.c.
#[kprobe]
pub(crate) fn rejected_ipv4(ctx: ProbeContext) -> u32 {
    by_nf_tables(&ctx)
}

/// `nft_reject_ipv6_eval`, net/ipv6/netfilter/nft_reject_ipv6.c.
#[kprobe]
pub(crate) fn rejected_ipv6(ctx: ProbeContext) -> u32 {
    by_nf_tables(&ctx)
}

/// `nft_reject_bridge_eval`, net/bridge/netfilter/nft_reject_bridge.c.
#[kprobe]
pub(crate) fn rejected_bridge(ctx: ProbeContext) -> u32 {
    by_nf_tables(&ctx)
}

/// `unsigned int reject_tg(struct sk_buff *skb, const struct xt_action_param *par)`, net/ipv4/netfilter/ipt_REJECT.c.
#[kprobe]
pub(crate) fn rejected_xt_v4(ctx: ProbeContext) -> u32 {
    // `struct ipt_entry`: its size, and where it has `target_offset` and, right behind, `next_offset`.
    by_xtables(&ctx, 112, 88)
}

/// `reject_tg6`, net/ipv6/netfilter/ip6t_REJECT.c.
#[kprobe]
pub(crate) fn rejected_xt_v6(ctx: ProbeContext) -> u32 {
    by_xtables(&ctx, 168, 140)
}

#[inline(always)]
fn by_nf_tables(ctx: &ProbeContext) -> u32 {
    let (Some(expr), Some(pkt)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(2)) else { return 0 };
    // The first member of `struct nft_pktinfo`.
    if begin(peek(pkt)) {
        look_into_rule(expr);
    }
    0
}

#[inline(always)]
fn by_xtables(ctx: &ProbeContext, size: u64, offsets: u64) -> u32 {
    let (Some(skb), Some(par)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    if !begin(skb) {
        return 0;
    }
    let targinfo: u64 = peek(par + PAR_TARGINFO);
    let entry = entry_before(targinfo - TARGET, size, offsets);
    if entry == 0 {
        // Today's iptables: the data of an expression of nft_compat.
        look_into_rule(targinfo - 8);
    } else {
        follow(entry, offsets);
    }
    0
}

/// Begins to look into a rejection, unless there were enough of late.
#[inline(always)]
fn begin(skb: u64) -> bool {
    let Some(rejected) = REJECTED.get_ptr_mut(0) else { return false };
    let (now, window) = (tick(), (tick() >> WINDOW_SHIFT) as u32);
    unsafe {
        (*rejected).skb = 0;
        if (*rejected).window != window {
            (*rejected).window = window;
            (*rejected).used = 0;
        }
        if (*rejected).used >= WHOLE_BUDGET {
            return false;
        }
        (*rejected).used += 1;
        (*rejected).skb = skb;
        (*rejected).time = now;
        (*rejected).found = 0;
        (*rejected).passed = 0;
        (*rejected).followers = MANY;
        (*rejected).table = 0;
        (*rejected).handles = [0; HANDLES];
    }
    true
}

/// Looks for words before an expression that can be the header of its rule, and at what comes after the rule.
#[inline(always)]
fn look_into_rule(expr: u64) {
    let size = u64::from(peek::<u32>(peek::<u64>(expr) + OPS_SIZE));
    if size < 8 || size >= MOST_BYTES {
        return;
    }
    let (end, first) = (expr + size, (expr - 8) & !(CHUNK - 1));
    for nth in 0..CHUNKS {
        look_for_headers(first - nth * CHUNK, end);
    }
    if !has_blobs() {
        return;
    }
    let last = follow(end, 0);
    if last != 0
        && let Some(rejected) = REJECTED.get_ptr_mut(0)
    {
        let table = read(read(last, NFT_LAST_CHAIN), NFT_CHAIN_TABLE);
        unsafe { (*rejected).table = read(table, NFT_TABLE_HANDLE) };
    }
}

/// Whether the rules of a chain lie one behind the other: since Linux 5.17, which gave kfree_skb its reason as well.
#[inline(always)]
fn has_blobs() -> bool {
    arguments(KFREE_SKB) > 2
}

/// Looks for words in a chunk that can be the header of a rule with this end.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_for_headers(start: u64, end: u64) -> u64 {
    let Some(rejected) = REJECTED.get_ptr_mut(0) else { return 0 };
    copy(unsafe { &raw mut (*rejected).chunk }, start);
    for word in 0..CHUNK / 8 {
        // The rule's length if this is its header; no length is like it behind the expression.
        take(word, end.wrapping_sub(start + word * 8 + 8));
    }
    0
}

/// Takes a word of the chunk for a header if it says this length.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take(word: u64, length: u64) -> u64 {
    let Some(rejected) = REJECTED.get_ptr_mut(0) else { return 0 };
    let header = unsafe { (&raw const (*rejected).chunk[word as usize & (CHUNK as usize / 8 - 1)]).read_volatile() };
    // struct nft_rule_dp: is_last:1, dlen:12, handle:42; struct nft_rule before there were blobs: handle:42, genmask:2, dlen:12.
    let (said, handle) =
        if has_blobs() { (header & 0x1fff, header >> 13) } else { (header >> 44 << 1 & 0x1fff, header) };
    if length >= MOST_BYTES || said != length << 1 {
        return 0;
    }
    unsafe {
        let found = (&raw const (*rejected).found).read_volatile();
        let into = (&raw mut (*rejected).handles).cast::<u64>().add(found as usize & (HANDLES - 1));
        into.write_volatile(handle & ((1 << 42) - 1));
        (&raw mut (*rejected).found).write_volatile(found.wrapping_add(1));
    }
    0
}

/// Counts what follows, from the rule behind one or from an entry on: where the last is, 0 when that is not known.
#[inline(always)]
fn follow(first: u64, offsets: u64) -> u64 {
    let mut at = first;
    for _ in 0..TURNS {
        at = go_on(at, offsets);
        if at == 0 || at & END != 0 {
            break;
        }
    }
    if at & END == 0 {
        return 0;
    }
    if let Some(rejected) = REJECTED.get_ptr_mut(0) {
        unsafe { (*rejected).followers = (*rejected).passed };
    }
    at & !END
}

/// Counts a turn's worth of what follows, and says from where to go on: an address with [`END`] set where nothing follows.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn go_on(first: u64, offsets: u64) -> u64 {
    let mut at = first;
    for _ in 0..TURN {
        at = behind(at, offsets);
        if at == 0 || at & END != 0 {
            break;
        }
    }
    at
}

/// What is behind a rule, or an entry, which is counted; the address itself with [`END`] set where that is nothing.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn behind(at: u64, offsets: u64) -> u64 {
    let to = if offsets == 0 { rule_behind(at) } else { entry_behind(at, offsets) };
    if to != 0
        && to & END == 0
        && let Some(rejected) = REJECTED.get_ptr_mut(0)
    {
        unsafe { (*rejected).passed += 1 };
    }
    to
}

/// The rule behind a rule of a chain.
#[inline(always)]
fn rule_behind(rule: u64) -> u64 {
    let header: u64 = peek(rule);
    match header {
        0 => 0,
        _ if header & 1 != 0 => rule | END,
        _ => rule + 8 + (header >> 1 & (MOST_BYTES - 8)),
    }
}

/// The entry behind an entry of ip_tables.
#[inline(always)]
fn entry_behind(entry: u64, offsets: u64) -> u64 {
    let [to_target, to_next]: [u16; 2] = peek(entry + offsets);
    let target = entry + u64::from(to_target);
    if peek::<u64>(target + TARGET_NAME) == ERROR && peek::<u64>(target + TARGET) == ERROR {
        return entry | END;
    }
    if to_next == 0 { 0 } else { entry + u64::from(to_next) }
}

/// The entry of ip_tables that has this target, 0 when it is of none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn entry_before(target: u64, size: u64, offsets: u64) -> u64 {
    let bytes = u32::from(peek::<u16>(target));
    for word in 0..MATCH_WORDS {
        let before = size + word * 8;
        // Where its target begins, and where the next entry does.
        if peek::<u32>(target - before + offsets) == before as u32 | (before as u32 + bytes) << 16 {
            return target - before;
        }
    }
    0
}

/// A packet is dropped: says whether it is the one that was rejected last on this processor. What that says goes by the map, or
/// the verifier would look at all that follows twice.
#[inline(always)]
pub(super) fn settle(skb: u64) {
    if let Some(rejected) = REJECTED.get_ptr_mut(0) {
        unsafe {
            (*rejected).is_dropped = u32::from((*rejected).skb == skb && tick() - (*rejected).time <= AT_ONCE);
            (*rejected).skb = 0;
        }
    }
}

/// Adds what is known of the rule that rejected the packet that is dropped.
#[inline(always)]
pub(super) fn fill(record: *mut Dropped) {
    let Some(rejected) = REJECTED.get_ptr(0) else { return };
    unsafe {
        let is_known = (*rejected).is_dropped != 0;
        for place in 0..HANDLES {
            let handle = if is_known { (*rejected).handles[place] } else { 0 };
            (&raw mut (*record).handles[place]).write_volatile(handle);
        }
        (&raw mut (*record).table).write(if is_known { (*rejected).table } else { 0 });
        (&raw mut (*record).followers).write(if is_known { (*rejected).followers } else { MANY });
    }
}
