//! Between the ends: the kernel drops a SYN on its way, or the answer to one.

use core::hint::black_box;
use core::ptr::read_volatile;

use aya_ebpf::macros::raw_tracepoint;
use aya_ebpf::programs::RawTracePointContext;
use redis_trace_common::denial::{EGRESS, INGRESS, Said};
use redis_trace_common::hook::{DROP_PLACES, KFREE_SKB, SOCKET_PLACES};
use redis_trace_common::member::{
    DEV_IFINDEX, DEV_NET, DST_DEV, NET_GEN, NET_INUM, NET_MIX, NET_NFT_GENERATION, NFT_PERNET_GENERATION, SK_CGROUP,
    SK_FILTER, SK_NET, SKB_DEV, SKB_DST, SKB_HEAD, SKB_IIF, SKB_MARK, SKB_NETWORK_HEADER, SKB_NFCT, SKB_SECMARK,
    SKB_SK, TCP_SND_UNA,
};
use redis_trace_common::record::Dropped;
use redis_trace_common::tally::{ANSWERS, End, Key};

use super::rejected;
use super::who;
use crate::denial;
use crate::dials::{self, Dial};
use crate::emit::reserve;
use crate::kernel::{AF_INET, AF_INET6, IPPROTO_TCP, arguments, caller, fill_caller, has, peek, read};
use crate::packet::{IpHeader, TcpHeader, choose};
use crate::tally;

/// Reasons that are told, a bit each; from the program, which has the running kernel's numbers.
#[unsafe(no_mangle)]
static DROP_REASONS_TOLD: [u64; 4] = [0; 4];

/// Where the functions begin and end that drop for such reasons, for kernels without numbers.
#[unsafe(no_mangle)]
static DROP_PLACES_TOLD: [[u64; 2]; DROP_PLACES.len()] = [[0; 2]; DROP_PLACES.len()];

/// Where the functions begin and end that drop much, and what a security module denies, for the same kernels.
#[unsafe(no_mangle)]
static SOCKET_PLACES_TOLD: [[u64; 2]; SOCKET_PLACES.len()] = [[0; 2]; SOCKET_PLACES.len()];

/// Where nf_tables has the number by which it keeps something of each network namespace, 0 when that is not known.
#[unsafe(no_mangle)]
static NFT_NET_ID: u64 = 0;

/// Said where the kernel has no reasons, or conntrack no entry.
const NONE: u32 = u32::MAX;
/// What is no part of the address in `_nfct` and `_skb_refdst`: NFCT_PTRMASK, SKB_DST_PTRMASK of include/linux/skbuff.h.
const NFCT_INFO: u64 = 7;
const DST_NOREF: u64 = 1;

/// `kfree_skb(struct sk_buff *skb, void *location[, enum skb_drop_reason reason[, struct sock *rx_sk]])`,
/// include/trace/events/skb.h; `reason` since Linux 5.17, `rx_sk` since 6.11.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub(crate) fn dropped(ctx: RawTracePointContext) -> i32 {
    let (location, count) = (ctx.arg::<u64>(1), arguments(KFREE_SKB));
    let reason = if count == 3 || count == 4 { ctx.arg::<u32>(2) } else { NONE };
    let is_told = if reason == NONE {
        is_among(&raw const DROP_PLACES_TOLD, location)
            || (is_among(&raw const SOCKET_PLACES_TOLD, location) && denial::is_denied(read(ctx.arg(0), SKB_SECMARK)))
    } else {
        is_reason_told(reason)
    };
    if is_told {
        let receiver = if count == 4 { ctx.arg(3) } else { 0 };
        on_its_way(ctx.arg(0), receiver, location, reason);
        // Told or not: what was said of this one is not said of the next.
        denial::forget_packet();
    }
    0
}

#[inline(always)]
fn is_reason_told(reason: u32) -> bool {
    let words = (&raw const DROP_REASONS_TOLD).cast::<u64>();
    reason < 256 && unsafe { read_volatile(words.add((reason / 64 & 3) as usize)) } >> (reason % 64) & 1 != 0
}

#[inline(always)]
fn is_among<const N: usize>(places: *const [[u64; 2]; N], location: u64) -> bool {
    let places = places.cast::<[u64; 2]>();
    // Without a branch for each, or the verifier of Linux 5.10 looks at all that follows once for each.
    let mut is_told = 0;
    for place in 0..N {
        let [start, end] = unsafe { read_volatile(places.add(place)) };
        let into = location.wrapping_sub(start);
        is_told |= into.wrapping_sub(end - start) & !into;
    }
    is_told >> 63 != 0
}

/// A SYN that a security module denies a listener: the kernel forgets it without a word.
#[inline(always)]
pub(super) fn denied(sk: u64, skb: u64, said: Said) {
    denial::saw_packet(said, read(skb, SKB_SECMARK), 0, 0);
    on_its_way(skb, sk, 0, NONE);
    denial::forget_packet();
}

/// A packet where it was dropped.
struct Packet {
    skb: u64,
    net: u64,
    /// The socket that it came for, 0 when that is not known.
    receiver: u64,
    dev: u64,
    ip: IpHeader,
    tcp: TcpHeader,
}

/// Counts a SYN, or an answer that leaves its server, which is dropped for the first time, and tells of it if it is a sample.
/// An answer that comes in is told as often, but is no refusal by itself.
#[inline(always)]
fn on_its_way(skb: u64, receiver: u64, location: u64, reason: u32) {
    rejected::settle(skb);
    let at = read(skb, SKB_HEAD) + u64::from(read(skb, SKB_NETWORK_HEADER));
    let ip: IpHeader = peek(at);
    let Some(tcp) = ip.tcp(at) else { return };
    let (isn, answers) = (tcp.isn(), tcp.answers());
    if !tcp.is_of_handshake() || tally::is_dropped_again(isn, tcp.ports()) {
        return;
    }
    let dev = read(skb, SKB_DEV);
    // One that is only leaving its socket has no device yet: __tcp_transmit_skb(). One at its receiver may have none any more.
    let sk = if receiver == 0 { read(skb, SKB_SK) } else { receiver };
    let net = if dev == 0 { read(sk, SK_NET) } else { read(dev, DEV_NET) };
    // Of an answer that comes in nobody knows whether anybody waits for it.
    let is_counted = black_box(!answers & 1 | is_leaving(skb));
    let end = choose(is_counted.wrapping_neg(), End::Dropped as u32, ANSWERS);
    let mut key = tally::key(End::Dropped, [read(net, NET_INUM), read(net, NET_MIX)], &ip, &tcp);
    (key.end, key.port) = (end, tcp.ports()[1]);
    turn(&mut key, answers);
    let is_sample = tally::is_sample_of(end, &key);
    let packet = Packet { skb, net, receiver, dev, ip, tcp };
    let is_told = is_sample && tell(&key, &packet, location, reason);
    if is_sample && !is_told {
        tally::lost_of(end);
    }
    if is_counted != 0 {
        tally::decide_drop(isn, packet.tcp.ports(), is_told);
    }
}

/// Lets the addresses change places where all bits are set.
#[inline(always)]
fn turn(key: &mut Key, bits: u32) {
    for word in 0..4 {
        unsafe {
            let client = (&raw mut key.client).cast::<u32>().add(word);
            let server = (&raw mut key.server).cast::<u32>().add(word);
            let differs = (*client ^ *server) & bits;
            *client ^= differs;
            *server ^= differs;
        }
    }
}

/// 1 when a packet comes from a socket of this namespace: one that came in has an interface it came in by, see
/// `__netif_receive_skb_core`. Without a branch, or the verifier would look at all that follows twice.
#[inline(always)]
fn is_leaving(skb: u64) -> u32 {
    (u64::from(black_box(read(skb, SKB_IIF))).wrapping_sub(1) >> 63) as u32
}

/// Whether there was room to tell it.
#[inline(always)]
fn tell(key: &Key, packet: &Packet, location: u64, reason: u32) -> bool {
    let Packet { skb, net, receiver, dev, ip, tcp } = packet;
    let (isn, [client_port, server_port]) = (tcp.isn(), tcp.ports());
    // Nobody is all zero. Without a branch, or the verifiers of old kernels see something read that was never written.
    let dial = dial(isn).unwrap_or(Dial { task: 0, time: 0, tid: 0, pid: 0 });
    who::introduce(caller(&dial));
    let Some(mut slot) = reserve::<Dropped>() else { return false };
    let record = slot.record();
    unsafe {
        let flow = &raw mut (*record).flow;
        (&raw mut (*flow).netns).write(key.netns);
        (&raw mut (*flow).netns_mix).write(key.netns_mix);
        (&raw mut (*flow).reserved).write(0);
        (&raw mut (*flow).protocol).write(IPPROTO_TCP);
        (&raw mut (*flow).family).write(if ip.is_v4() { AF_INET } else { AF_INET6 });
        (&raw mut (*flow).client).write(key.client);
        (&raw mut (*flow).server).write(key.server);
        (&raw mut (*flow).client_port).write(client_port as u16);
        (&raw mut (*flow).server_port).write(server_port as u16);
        (&raw mut (*flow).ifindex).write(read(*dev, DEV_IFINDEX));
        (&raw mut (*record).location).write(location);
        (&raw mut (*record).isn).write(isn);
        (&raw mut (*record).reason).write(reason);
        (&raw mut (*record).flags).write(u32::from(tcp.flags));
        (&raw mut (*record).ttl).write(ip.ttl());
        fill_caller(&raw mut (*record).task, &dial);
        (&raw mut (*record).dialled).write(dial.time);
    }
    fill_way(record, *skb, *net);
    fill_filters(record, *skb, *receiver, tcp.answers());
    denial::fill_packet(record, read(*skb, SKB_SECMARK));
    rejected::fill(record);
    slot.submit();
    true
}

/// Adds where the packet came from, where it was to go, and what rules can see of it.
#[inline(always)]
fn fill_way(record: *mut Dropped, skb: u64, net: u64) {
    let (nfct, dst, input) = (read(skb, SKB_NFCT), read(skb, SKB_DST) & !DST_NOREF, read(skb, SKB_IIF));
    unsafe {
        (&raw mut (*record).generation).write(generation(net));
        (&raw mut (*record).mark).write(read(skb, SKB_MARK));
        (&raw mut (*record).tracking).write(if nfct == 0 { NONE } else { (nfct & NFCT_INFO) as u32 });
        (&raw mut (*record).input).write(input);
        (&raw mut (*record).output).write(if dst == 0 { 0 } else { read(read(dst, DST_DEV), DEV_IFINDEX) });
        (&raw mut (*record).outgoing).write(is_leaving(skb));
    }
}

/// Adds what else than rules has a say in it: the filter of the socket that it came for, and programs of a socket's cgroup.
/// Only where the kernel tells that socket, since Linux 6.11: the verifiers of older ones find this too much to follow. What
/// an answer leaves is no whole socket yet.
#[inline(always)]
fn fill_filters(record: *mut Dropped, skb: u64, receiver: u64, answers: u32) {
    let (mut filter, mut programs, mut first) = (NONE, 0, 0);
    if arguments(KFREE_SKB) == 4 {
        let left = read(skb, SKB_SK) & !(answers as i32 as u64);
        let (sk, point) = if receiver == 0 { (left, EGRESS) } else { (receiver, INGRESS) };
        filter = if receiver == 0 { NONE } else { u32::from(read(receiver, SK_FILTER) != 0) };
        (programs, first) = denial::programs(read(sk, SK_CGROUP), point);
    }
    unsafe {
        (&raw mut (*record).filter).write(filter);
        (&raw mut (*record).programs).write(programs);
        denial::fill_program(&raw mut (*record).program, &raw mut (*record).program_name, first);
    }
}

/// The generation of a namespace's nftables rules, 0 when it is not known.
#[inline(always)]
fn generation(net: u64) -> u32 {
    let id = unsafe { read_volatile(&raw const NFT_NET_ID) };
    if has(NET_NFT_GENERATION) || id == 0 {
        return read(net, NET_NFT_GENERATION);
    }
    // net_generic(), include/net/netns/generic.h: the array begins where the structure does.
    let pernet = peek(read(net, NET_GEN) + u64::from(peek::<u32>(id)) * 8);
    read(pernet, NFT_PERNET_GENERATION)
}

/// Who dialled: a SYN within a host mostly meets its end on the processor that dialled last. The sequence number, as good as
/// random, tells whether it is that one.
#[inline(always)]
fn dial(isn: u32) -> Option<Dial> {
    let (sk, dial) = dials::last()?;
    if read(sk, TCP_SND_UNA) == isn { Some(dial) } else { None }
}
