//! How far the answers to SYNs have travelled: the time to live of resets, and of the answers by which the same peer took others.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use redis_trace_common::member::{
    NET_INUM, NET_MIX, SK_DADDR, SK_FAMILY, SK_NET, SK_RCV_SADDR, SK_STATE, SK_V6_DADDR, SK_V6_RCV_SADDR, SKB_HEAD,
    SKB_NETWORK_HEADER, SKB_TRANSPORT_HEADER,
};
use redis_trace_common::record::Flow;

use crate::kernel::{AF_INET6, load, mapped, peek};
use crate::maps::{PEER_TTL, Peer, RESET_TTL};

/// `TCP_SYN_SENT`, include/net/tcp_states.h.
const SYN_SENT: u8 = 2;
/// Where the flags are in a TCP header.
const FLAGS: u64 = 13;
/// The flag of a reset.
const TH_RST: u8 = 0x04;

/// `void tcp_finish_connect(struct sock *sk, struct sk_buff *skb)`, net/ipv4/tcp_input.c: an answer takes the SYN.
#[fentry(function = "tcp_finish_connect")]
pub(crate) fn answer_received(ctx: FEntryContext) -> u32 {
    let sk = ctx.arg(0);
    if !is_own(sk) {
        let _ = PEER_TTL.insert(&peer(sk), &u32::from(ttl(ctx.arg(1))), 0);
    }
    0
}

/// `void tcp_reset(struct sock *sk, struct sk_buff *skb)`, net/ipv4/tcp_input.c, since Linux 5.12.
#[fentry(function = "tcp_reset")]
pub(crate) fn reset_received(ctx: FEntryContext) -> u32 {
    reset(ctx.arg(0), ctx.arg(1));
    0
}

/// `int tcp_rcv_state_process(struct sock *sk, struct sk_buff *skb)`, net/ipv4/tcp_input.c: a segment for a socket that is not
/// established.
#[fentry(function = "tcp_rcv_state_process")]
pub(crate) fn segment_received(ctx: FEntryContext) -> u32 {
    let (sk, skb) = (ctx.arg(0), ctx.arg(1));
    let flags: u8 = unsafe { peek(load(skb, SKB_HEAD) + u64::from(load(skb, SKB_TRANSPORT_HEADER)) + FLAGS) };
    if flags & TH_RST != 0 {
        reset(sk, skb);
    }
    0
}

/// A reset has come to a sock that the verifier knows for one.
#[inline(always)]
fn reset(sk: u64, skb: u64) {
    if unsafe { load(sk, SK_STATE) } == SYN_SENT && !is_own(sk) {
        if let Some(last) = RESET_TTL.get_ptr_mut(0) {
            unsafe { *last = [sk, u64::from(ttl(skb))] };
        }
    }
}

/// The time to live of a packet that the verifier knows for one: the 9th byte of an IPv4 header, the 8th of an IPv6 header.
#[inline(always)]
fn ttl(skb: u64) -> u8 {
    let ip: [u8; 9] = unsafe { peek(load(skb, SKB_HEAD) + u64::from(load(skb, SKB_NETWORK_HEADER))) };
    if ip[0] >> 4 == 4 { ip[8] } else { ip[7] }
}

/// Time to live of the reset that ended a dial, 0 when not known.
#[inline(always)]
pub(super) fn of_reset(sk: u64) -> u32 {
    // The compiler must not take the number that was kept for the pointer that it equals: the verifier would not.
    let sk = core::hint::black_box(sk);
    match RESET_TTL.get(0) {
        Some([of, ttl]) if *of == sk => *ttl as u32,
        _ => 0,
    }
}

/// Time to live of the last answer by which the server of a flow took a SYN, 0 when not known.
#[inline(always)]
pub(super) unsafe fn of_peer(flow: *const Flow) -> u32 {
    let peer = unsafe { Peer { address: (*flow).server, netns: (*flow).netns, netns_mix: (*flow).netns_mix } };
    unsafe { PEER_TTL.get(&peer) }.copied().unwrap_or(0)
}

/// Whether the peer's address is the sock's own: nothing travels then.
#[inline(always)]
fn is_own(sk: u64) -> bool {
    unsafe {
        if load(sk, SK_FAMILY) == AF_INET6 {
            let (peer, own): ([u8; 16], [u8; 16]) = (load(sk, SK_V6_DADDR), load(sk, SK_V6_RCV_SADDR));
            u128::from_ne_bytes(peer) == u128::from_ne_bytes(own)
        } else {
            let (peer, own): ([u8; 4], [u8; 4]) = (load(sk, SK_DADDR), load(sk, SK_RCV_SADDR));
            u32::from_ne_bytes(peer) == u32::from_ne_bytes(own)
        }
    }
}

/// The host that a sock is connected to.
#[inline(always)]
fn peer(sk: u64) -> Peer {
    unsafe {
        let net = load(sk, SK_NET);
        let mut peer = Peer { address: [0; 16], netns: load(net, NET_INUM), netns_mix: load(net, NET_MIX) };
        if load(sk, SK_FAMILY) == AF_INET6 {
            peer.address = load(sk, SK_V6_DADDR);
        } else {
            mapped(&raw mut peer.address, load(sk, SK_DADDR));
        }
        peer
    }
}
