//! The queues of listeners: who finds one full, when he dials or when he believes that he is connected.

use core::ptr::read_volatile;

use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};
use redis_trace_common::member::{
    CSK_HALF_OPEN, NET_ABORT_ON_OVERFLOW, NET_INUM, NET_MIX, NET_SYNCOOKIES, SK_ACK_BACKLOG, SK_MAX_ACK_BACKLOG,
    SK_NET, SK_STATE, SKB_HEAD, SKB_NETWORK_HEADER, SKB_TRANSPORT_HEADER,
};
use redis_trace_common::record::QueueFull;
use redis_trace_common::tally::{End, Key};

use crate::emit::reserve;
use crate::kernel::{AF_INET, AF_INET6, IPPROTO_TCP, fill_local, fill_socket, load, peek, read, tcp_sock};
use crate::maps::{SYN_MEETS, TURNED_AWAY};
use crate::packet::{TcpHeader, headers};
use crate::tally::{self, Sight};

/// `TCP_LISTEN`, include/net/tcp_states.h.
pub(super) const LISTEN: u8 = 10;

/// Why the kernel says that it resets a connection for which there was no room: `SK_RST_REASON_INVALID_SYN`, from the program.
#[unsafe(no_mangle)]
static INVALID_SYN: u32 = u32::MAX;

/// What was full, and when it was found to be.
#[derive(Clone, Copy)]
struct Found {
    /// The SYN queue, not the accept queue.
    syn_queue: bool,
    /// By the last ACK, not by the SYN.
    by_ack: bool,
    length: u32,
    limit: u32,
}

/// `int tcp_conn_request(struct request_sock_ops *rsk_ops, const struct tcp_request_sock_ops *af_ops, struct sock *sk,
/// struct sk_buff *skb)`, net/ipv4/tcp_input.c: a SYN has come to a listener. It looks at the queues in this order.
#[fentry(function = "tcp_conn_request")]
pub(crate) fn syn_came(ctx: FEntryContext) -> u32 {
    let (sk, skb) = (ctx.arg(2), ctx.arg(3));
    // What the verifier knows the type of is read without a call: every SYN passes here.
    let tcp = tcp_sock(sk);
    if tcp == 0 {
        return 0;
    }
    let (queued, limit) = unsafe { (load(sk, SK_ACK_BACKLOG), load(sk, SK_MAX_ACK_BACKLOG)) };
    let half_open = unsafe { load(tcp, CSK_HALF_OPEN) };
    if half_open >= limit && read(read(sk, SK_NET), NET_SYNCOOKIES) == 0 {
        // Whether one more fits at the limit itself changed within long-term series: the return tells.
        if let Some(syn) = SYN_MEETS.get_ptr_mut(0) {
            unsafe { *syn = [sk, u64::from(half_open)] };
        }
    } else if queued > limit {
        full(sk, skb, Found { syn_queue: false, by_ack: false, length: queued, limit });
    }
    0
}

/// Its return: a SYN that met a full SYN queue has left it as it was.
#[fexit(function = "tcp_conn_request")]
pub(crate) fn syn_answered(ctx: FExitContext) -> u32 {
    let (sk, skb): (u64, u64) = (ctx.arg(2), ctx.arg(3));
    let Some(syn) = SYN_MEETS.get_ptr_mut(0) else { return 0 };
    let [met, before] = unsafe { *syn };
    if met != sk {
        return 0;
    }
    unsafe { *syn = [0; 2] };
    let (queued, limit) = (read(sk, SK_ACK_BACKLOG), read(sk, SK_MAX_ACK_BACKLOG));
    let length = read(sk, CSK_HALF_OPEN);
    if u64::from(length) == before {
        let syn_queue = length > limit || queued <= limit;
        let length = if syn_queue { length } else { queued };
        full(sk, skb, Found { syn_queue, by_ack: false, length, limit });
    }
    0
}

/// `struct sock *tcp_v4_syn_recv_sock(const struct sock *sk, struct sk_buff *skb, …)`, net/ipv4/tcp_ipv4.c: the last ACK of a
/// handshake. It looks at the queue first.
#[fentry(function = "tcp_v4_syn_recv_sock")]
pub(crate) fn ack_came_v4(ctx: FEntryContext) -> u32 {
    ack_came(ctx.arg(0), ctx.arg(1), true);
    0
}

/// `tcp_v6_syn_recv_sock`, with the same arguments, net/ipv6/tcp_ipv6.c: calls the other for IPv4.
#[fentry(function = "tcp_v6_syn_recv_sock")]
pub(crate) fn ack_came_v6(ctx: FEntryContext) -> u32 {
    ack_came(ctx.arg(0), ctx.arg(1), false);
    0
}

/// The last ACK makes no connection where there is no room for one: sk_acceptq_is_full(), include/net/sock.h.
#[inline(always)]
fn ack_came(sk: u64, skb: u64, v4: bool) {
    let (length, limit) = unsafe { (load(sk, SK_ACK_BACKLOG), load(sk, SK_MAX_ACK_BACKLOG)) };
    if length <= limit {
        return;
    }
    let network: u32 = peek(read(skb, SKB_HEAD) + u64::from(read(skb, SKB_NETWORK_HEADER)));
    if (network as u8 >> 4 == 4) == v4 {
        full(sk, skb, Found { syn_queue: false, by_ack: true, length, limit });
    }
}

/// A listener answers a last ACK with a reset because of a full queue, where its functions cannot be hooked.
#[inline(always)]
pub(super) fn reset_by_listener(sk: u64, skb: u64, reason: u32) {
    let invalid_syn = unsafe { read_volatile(&raw const INVALID_SYN) };
    if sk == 0 || skb == 0 || reason != invalid_syn || unsafe { load(sk, SK_STATE) } != LISTEN {
        return;
    }
    let (length, limit) = unsafe { (load(sk, SK_ACK_BACKLOG), load(sk, SK_MAX_ACK_BACKLOG)) };
    if length > limit {
        full(sk, skb, Found { syn_queue: false, by_ack: true, length, limit });
    }
}

/// Counts a connection that found a queue full, and tells of it if it is a sample.
#[inline(always)]
fn full(sk: u64, skb: u64, found: Found) {
    let net = read(sk, SK_NET);
    let (netns, netns_mix) = (read(net, NET_INUM), read(net, NET_MIX));
    if !found.syn_queue {
        tally::saw([netns, netns_mix], Sight::Overflow);
    }
    let head = read(skb, SKB_HEAD);
    let (ip, tcp) = headers(head, read(skb, SKB_NETWORK_HEADER), read(skb, SKB_TRANSPORT_HEADER));
    // The ACK counts on from the SYN.
    let isn = u32::from_be(tcp.seq).wrapping_sub(u32::from(found.by_ack));
    let key = tally::key(End::Queue, [netns, netns_mix], &ip, &tcp);
    let [.., a, b, c, d] = key.client;
    let ports = u32::from(tcp.source) << 16 | u32::from(tcp.dest);
    let syn = [isn, ports, netns_mix, u32::from_ne_bytes([a, b, c, d])];
    if unsafe { TURNED_AWAY.get(&syn) }.is_some() {
        return;
    }
    let _ = TURNED_AWAY.insert(&syn, &0, 0);
    let is_sample = tally::is_sample(End::Queue, &key);
    let is_told = is_sample && tell(sk, &key, &tcp, ip.is_v4(), isn, found);
    if is_sample && !is_told {
        tally::lost(End::Queue);
    }
    tally::decide(isn, is_told);
}

/// Whether there was room to tell it.
#[inline(always)]
fn tell(sk: u64, key: &Key, tcp: &TcpHeader, v4: bool, isn: u32, found: Found) -> bool {
    let Some(mut slot) = reserve::<QueueFull>() else { return false };
    let record = slot.record();
    unsafe {
        let flow = &raw mut (*record).flow;
        (&raw mut (*flow).netns).write(key.netns);
        (&raw mut (*flow).netns_mix).write(key.netns_mix);
        (&raw mut (*flow).reserved).write(0);
        (&raw mut (*flow).protocol).write(IPPROTO_TCP);
        (&raw mut (*flow).family).write(if v4 { AF_INET } else { AF_INET6 });
        (&raw mut (*flow).client).write(key.client);
        (&raw mut (*flow).server).write(key.server);
        (&raw mut (*flow).client_port).write(u16::from_be(tcp.source));
        (&raw mut (*flow).server_port).write(u16::from_be(tcp.dest));
        (&raw mut (*flow).ifindex).write(0);
        fill_socket(&raw mut (*record).socket, sk);
        fill_local(&raw mut (*record).socket, sk);
        (&raw mut (*record).isn).write(isn);
        (&raw mut (*record).queue).write(u32::from(found.syn_queue));
        (&raw mut (*record).ack).write(u32::from(found.by_ack));
        let aborts = read(read(sk, SK_NET), NET_ABORT_ON_OVERFLOW) != 0;
        (&raw mut (*record).reset).write(u32::from(found.by_ack && aborts));
        (&raw mut (*record).length).write(found.length);
        (&raw mut (*record).limit).write(found.limit);
    }
    slot.submit();
    true
}
