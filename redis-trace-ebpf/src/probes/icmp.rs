//! ICMP errors that come for a segment of ours: kept until it is told what they did to a dial.

use aya_ebpf::macros::fentry;
use aya_ebpf::programs::FEntryContext;
use redis_trace_common::member::{SKB_DATA, SKB_HEAD, SKB_NETWORK_HEADER, SKB_TRANSPORT_HEADER};

use crate::kernel::{load, mapped, peek};
use crate::maps::{ICMP_ERRORS, IcmpError};

/// `struct tcphdr` up to the sequence number, which is all that an ICMP error needs to quote.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Quoted {
    ports: u32,
    seq: u32,
}

/// `int tcp_v4_err(struct sk_buff *skb, u32 info)`, net/ipv4/tcp_ipv4.c: `data` is at the IP header that the error quotes.
#[fentry(function = "tcp_v4_err")]
pub(crate) fn icmp_error_v4(ctx: FEntryContext) -> u32 {
    let skb = ctx.arg::<u64>(0);
    let (head, data) = unsafe { (load(skb, SKB_HEAD), load(skb, SKB_DATA)) };
    let [kind, code]: [u8; 2] = peek(head + u64::from(unsafe { load(skb, SKB_TRANSPORT_HEADER) }));
    // Unreachable, time exceeded, parameter problem: RFC 792; that a packet is too big is no refusal.
    if !matches!((kind, code), (3, 0..=3 | 5..) | (11 | 12, _)) {
        return 0;
    }
    let length: u8 = peek(data);
    let mut from = [0; 16];
    mapped(&raw mut from, peek(head + u64::from(unsafe { load(skb, SKB_NETWORK_HEADER) }) + 12));
    keep(data + u64::from(length & 0x0f) * 4, IcmpError { from, kind: u32::from(kind), code: u32::from(code) });
    0
}

/// `int tcp_v6_err(struct sk_buff *skb, struct inet6_skb_parm *opt, u8 type, u8 code, int offset, __be32 info)`,
/// net/ipv6/tcp_ipv6.c: `offset` is from `data` to the TCP header that the error quotes.
#[fentry(function = "tcp_v6_err")]
pub(crate) fn icmp_error_v6(ctx: FEntryContext) -> u32 {
    let skb = ctx.arg::<u64>(0);
    let (kind, code) = (u32::from(ctx.arg::<u8>(2)), u32::from(ctx.arg::<u8>(3)));
    // Unreachable, time exceeded, parameter problem: RFC 4443.
    if !matches!(kind, 1 | 3 | 4) {
        return 0;
    }
    let (head, data) = unsafe { (load(skb, SKB_HEAD), load(skb, SKB_DATA)) };
    let from = peek(head + u64::from(unsafe { load(skb, SKB_NETWORK_HEADER) }) + 8);
    keep(data + u64::from(ctx.arg::<u32>(4)), IcmpError { from, kind, code });
    0
}

/// Keeps an error by the sequence number that it quotes: of a dial that is its SYN's.
#[inline(always)]
fn keep(tcp: u64, error: IcmpError) {
    let quoted: Quoted = peek(tcp);
    let _ = ICMP_ERRORS.insert(&u32::from_be(quoted.seq), &error, 0);
}
