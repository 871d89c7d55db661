//! The server end: the kernel sends a reset to a SYN because no socket wants it.

use aya_ebpf::macros::{btf_tracepoint, fentry};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext};
use redis_trace_common::hook::{TCP_V4_SEND_RESET, TCP_V6_SEND_RESET};
use redis_trace_common::member::{
    DEV_IFINDEX, DEV_NET, NET_BPF, NET_INUM, NET_MIX, SK_NET, SKB_DEV, SKB_HEAD, SKB_NETWORK_HEADER,
    SKB_TRANSPORT_HEADER,
};
use redis_trace_common::record::Reset;
use redis_trace_common::tally::{End, Key};

use super::queue;
use crate::emit::reserve;
use crate::kernel::{AF_INET, AF_INET6, IPPROTO_TCP, arguments, load, read};
use crate::packet::{IpHeader, TcpHeader, headers};
use crate::tally::{self, Sight};

/// Said where the kernel has no reasons.
const NO_REASON: u32 = u32::MAX;
/// `NETNS_BPF_SK_LOOKUP`, include/linux/bpf-netns.h.
const NETNS_BPF_SK_LOOKUP: usize = 1;

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

/// `void tcp_send_active_reset(struct sock *sk, …)`, net/ipv4/tcp_output.c.
#[fentry(function = "tcp_send_active_reset")]
pub(crate) fn reset_active(ctx: FEntryContext) -> u32 {
    reset_sent(ctx.arg(0), 0, NO_REASON);
    0
}

/// `tcp_send_reset(const struct sock *sk, const struct sk_buff *skb, const enum sk_rst_reason reason)`, since Linux 6.10;
/// attached only where it has all three.
#[btf_tracepoint(function = "tcp_send_reset")]
pub(crate) fn reset(ctx: BtfTracePointContext) -> i32 {
    queue::reset_by_listener(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    reset_sent(ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// Counts a reset; as a refusal if it answers a SYN for which there was no socket, and tells of it if it is a sample.
#[inline(always)]
fn reset_sent(sk: u64, skb: u64, reason: u32) {
    if sk != 0 {
        // An ordinary one: of a socket's own (tcp_send_active_reset) or in answer to a packet that does not fit its state.
        let net = unsafe { load(sk, SK_NET) };
        tally::saw(unsafe { [load(net, NET_INUM), load(net, NET_MIX)] }, Sight::Reset);
        return;
    }
    if skb == 0 {
        return;
    }
    // Without a sock the packet still has its device: tcp_v4_rcv(), `no_tcp_socket`.
    let dev = unsafe { load(skb, SKB_DEV) };
    let net = unsafe { load(dev, DEV_NET) };
    let [netns, netns_mix] = unsafe { [load(net, NET_INUM), load(net, NET_MIX)] };
    tally::saw([netns, netns_mix], Sight::Reset);
    let head = unsafe { load(skb, SKB_HEAD) };
    let (ip, tcp) = unsafe { headers(head, load(skb, SKB_NETWORK_HEADER), load(skb, SKB_TRANSPORT_HEADER)) };
    if !tcp.is_syn() {
        return;
    }
    let key = tally::key(End::Server, [netns, netns_mix], &ip, &tcp);
    let is_sample = tally::is_sample(End::Server, &key);
    let is_told = is_sample && tell(&key, &tcp, &ip, dev, reason);
    if is_sample && !is_told {
        tally::lost(End::Server);
    }
    tally::decide(u32::from_be(tcp.seq), is_told);
}

/// Whether there was room to tell it.
#[inline(always)]
fn tell(key: &Key, tcp: &TcpHeader, ip: &IpHeader, dev: u64, reason: u32) -> bool {
    let Some(mut slot) = reserve::<Reset>() else { return false };
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
        (&raw mut (*flow).client_port).write(u16::from_be(tcp.source));
        (&raw mut (*flow).server_port).write(u16::from_be(tcp.dest));
        (&raw mut (*flow).ifindex).write(read(dev, DEV_IFINDEX));
        (&raw mut (*record).ttl).write(ip.ttl());
        (&raw mut (*record).isn).write(u32::from_be(tcp.seq));
        (&raw mut (*record).reason).write(reason);
        let sk_lookup = read(read(dev, DEV_NET), NET_BPF)[NETNS_BPF_SK_LOOKUP];
        (&raw mut (*record).sk_lookup).write(u32::from(sk_lookup != 0));
    }
    slot.submit();
    true
}
