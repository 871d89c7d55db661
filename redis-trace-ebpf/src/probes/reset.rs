//! The server end: the kernel sends a reset to a SYN because no socket wants it.

use aya_ebpf::macros::{fentry, raw_tracepoint};
use aya_ebpf::programs::{FEntryContext, RawTracePointContext};
use redis_trace_common::hook::{TCP_V4_SEND_RESET, TCP_V6_SEND_RESET};
use redis_trace_common::member::{
    DEV_IFINDEX, DEV_NET, NET_BPF, NET_INUM, NET_MIX, SKB_DEV, SKB_HEAD, SKB_NETWORK_HEADER, SKB_TRANSPORT_HEADER,
};
use redis_trace_common::record::{Flow, Reset};

use crate::emit::reserve;
use crate::kernel::{AF_INET, AF_INET6, IPPROTO_TCP, arguments, copy, mapped, peek, read};

/// Said where the kernel has no reasons.
const NO_REASON: u32 = u32::MAX;
/// `NETNS_BPF_SK_LOOKUP`, include/linux/bpf-netns.h.
const NETNS_BPF_SK_LOOKUP: usize = 1;
/// The flags in the 13th byte of a TCP header.
const TH_FLAGS: u64 = 13;
/// SYN and ACK among them.
const TH_SYN_ACK: u8 = 0x12;
/// SYN alone.
const TH_SYN: u8 = 0x02;

/// `void tcp_v4_send_reset(const struct sock *sk, struct sk_buff *skb[, enum sk_rst_reason reason])`, net/ipv4/tcp_ipv4.c.
#[fentry(function = "tcp_v4_send_reset")]
pub(crate) fn reset_v4(ctx: FEntryContext) -> u32 {
    // `reason` since Linux 6.10.
    let reason = if arguments(TCP_V4_SEND_RESET) == 3 { ctx.arg(2) } else { NO_REASON };
    reset_sent(ctx.arg(0), ctx.arg(1), reason);
    0
}

/// `void tcp_v6_send_reset(const struct sock *sk, struct sk_buff *skb[, enum sk_rst_reason reason])`, net/ipv6/tcp_ipv6.c.
#[fentry(function = "tcp_v6_send_reset")]
pub(crate) fn reset_v6(ctx: FEntryContext) -> u32 {
    let reason = if arguments(TCP_V6_SEND_RESET) == 3 { ctx.arg(2) } else { NO_REASON };
    reset_sent(ctx.arg(0), ctx.arg(1), reason);
    0
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb, const enum sk_rst_reason reason)`, since Linux 6.10;
/// attached only where it has all three.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
pub(crate) fn reset(ctx: RawTracePointContext) -> i32 {
    reset_sent(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// Tells of a reset if it answers a SYN for which there was no socket.
#[inline(always)]
fn reset_sent(sk: u64, skb: u64, reason: u32) {
    // An active reset (tcp_send_active_reset) has a sock and may have no packet.
    if sk != 0 || skb == 0 {
        return;
    }
    let head = read(skb, SKB_HEAD);
    let tcp = head + u64::from(read(skb, SKB_TRANSPORT_HEADER));
    if peek::<u8>(tcp + TH_FLAGS) & TH_SYN_ACK != TH_SYN {
        return;
    }
    let ip = head + u64::from(read(skb, SKB_NETWORK_HEADER));
    // Without a sock the packet still has its device: tcp_v4_rcv(), `no_tcp_socket`.
    let dev = read(skb, SKB_DEV);
    let net = read(dev, DEV_NET);
    let Some(mut slot) = reserve::<Reset>() else { return };
    let record = slot.record();
    unsafe {
        let flow = &raw mut (*record).flow;
        (&raw mut (*flow).netns).write(read(net, NET_INUM));
        (&raw mut (*flow).netns_mix).write(read(net, NET_MIX));
        (&raw mut (*flow).reserved).write(0);
        (&raw mut (*flow).protocol).write(IPPROTO_TCP);
        (&raw mut (*flow).client_port).write(u16::from_be(peek(tcp)));
        (&raw mut (*flow).server_port).write(u16::from_be(peek(tcp + 2)));
        (&raw mut (*flow).ifindex).write(read(dev, DEV_IFINDEX));
        (&raw mut (*record).ttl).write(u32::from(fill_addresses(flow, ip)));
        (&raw mut (*record).isn).write(u32::from_be(peek(tcp + 4)));
        (&raw mut (*record).reason).write(reason);
        (&raw mut (*record).sk_lookup).write(u32::from(read(net, NET_BPF)[NETNS_BPF_SK_LOOKUP] != 0));
    }
    slot.submit();
}

/// Takes the addresses from an IP header, `struct iphdr` or `struct ipv6hdr`; says how many hops are left.
#[inline(always)]
unsafe fn fill_addresses(flow: *mut Flow, ip: u64) -> u8 {
    unsafe {
        if peek::<u8>(ip) >> 4 == 4 {
            (&raw mut (*flow).family).write(AF_INET);
            mapped(&raw mut (*flow).client, peek(ip + 12));
            mapped(&raw mut (*flow).server, peek(ip + 16));
            peek(ip + 8)
        } else {
            (&raw mut (*flow).family).write(AF_INET6);
            copy(&raw mut (*flow).client, ip + 8);
            copy(&raw mut (*flow).server, ip + 24);
            peek(ip + 7)
        }
    }
}
