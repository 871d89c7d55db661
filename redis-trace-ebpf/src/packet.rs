//! Headers of a packet, as they travel.

use core::hint::black_box;

use crate::kernel::{mapped, peek};

/// Bytes of a `struct iphdr` without options, and of a `struct ipv6hdr`.
const IPV4_HEADER: u64 = 20;
const IPV6_HEADER: u64 = 40;
/// SYN and ACK among the flags of a TCP header.
const TH_SYN_ACK: u8 = 0x12;
/// SYN alone.
const TH_SYN: u8 = 0x02;
/// `IPPROTO_TCP`, include/uapi/linux/in.h.
const TCP: u8 = 6;

/// The beginning of a TCP header: `struct tcphdr`, include/uapi/linux/tcp.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct TcpHeader {
    /// Port it comes from, network byte order.
    pub(crate) source: u16,
    /// Port it goes to.
    pub(crate) dest: u16,
    /// Sequence number.
    pub(crate) seq: u32,
    /// The sequence number that is expected next of the other end.
    ack_seq: u32,
    offset: u8,
    /// SYN, ACK and others.
    pub(crate) flags: u8,
    window: u16,
}

/// What is read of a packet at once: a `struct ipv6hdr` and a TCP header, or less and what follows it.
type Beginning = [u32; 15];

/// The headers of a TCP packet whose places in its buffer the kernel has found already.
#[inline(always)]
pub(crate) fn headers(head: u64, network: u16, transport: u16) -> (IpHeader, TcpHeader) {
    let start: Beginning = peek(head + u64::from(network));
    let ip =
        IpHeader([start[0], start[1], start[2], start[3], start[4], start[5], start[6], start[7], start[8], start[9]]);
    let tcp = match u64::from(transport).wrapping_sub(u64::from(network)) {
        IPV4_HEADER => TcpHeader::of([start[5], start[6], start[7], start[8]]),
        IPV6_HEADER => TcpHeader::of([start[10], start[11], start[12], start[13]]),
        _ => peek(head + u64::from(transport)),
    };
    (ip, tcp)
}

impl TcpHeader {
    /// By its words.
    #[inline(always)]
    fn of([ports, seq, ack_seq, rest]: [u32; 4]) -> Self {
        let ([a, b, c, d], [offset, flags, e, f]) = (ports.to_ne_bytes(), rest.to_ne_bytes());
        let [source, dest, window] = [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes);
        Self { source, dest, seq, ack_seq, offset, flags, window }
    }

    /// Whether it is the first packet of a connection.
    #[inline(always)]
    pub(crate) fn is_syn(&self) -> bool {
        self.flags & TH_SYN_ACK == TH_SYN
    }

    /// Whether it is the first packet of a connection, or the answer that takes it.
    #[inline(always)]
    pub(crate) fn is_of_handshake(&self) -> bool {
        self.flags & TH_SYN != 0
    }

    /// Whether a packet of a handshake is the answer, in every bit: what goes by it is chosen by arithmetic, or the verifier would
    /// look at all that follows once for a SYN and once for an answer.
    #[inline(always)]
    pub(crate) fn answers(&self) -> u32 {
        black_box(u32::from(self.flags) >> 4 & 1).wrapping_neg()
    }

    /// The sequence number of the SYN that it is, or answers: joins both ends.
    #[inline(always)]
    pub(crate) fn isn(&self) -> u32 {
        choose(self.answers(), u32::from_be(self.ack_seq).wrapping_sub(1), u32::from_be(self.seq))
    }

    /// The ports of the client and of the server, host byte order.
    #[inline(always)]
    pub(crate) fn ports(&self) -> [u32; 2] {
        let [from, to] = [self.source, self.dest].map(|port| u32::from(u16::from_be(port)));
        [choose(self.answers(), to, from), choose(self.answers(), from, to)]
    }
}

/// The first where all bits are set, the second where none is.
#[inline(always)]
pub(crate) fn choose(bits: u32, first: u32, second: u32) -> u32 {
    second ^ (first ^ second) & bits
}

/// A `struct ipv6hdr`, or a `struct iphdr` and what follows it.
#[repr(transparent)]
#[derive(Clone, Copy, Default)]
pub(crate) struct IpHeader([u32; 10]);

impl IpHeader {
    /// Whether it is of version 4.
    #[inline(always)]
    pub(crate) fn is_v4(&self) -> bool {
        self.0[0] as u8 >> 4 == 4
    }

    /// Time to live, or hop limit: the 9th byte of an IPv4 header, the 8th of an IPv6 header.
    #[inline(always)]
    pub(crate) fn ttl(&self) -> u32 {
        u32::from(if self.is_v4() { self.0[2].to_ne_bytes()[0] } else { self.0[1].to_ne_bytes()[3] })
    }

    /// The TCP header behind it, when the IP header at this place has one right behind it.
    #[inline(always)]
    pub(crate) fn tcp(&self, at: u64) -> Option<TcpHeader> {
        let (protocol, length) = if self.is_v4() {
            (self.0[2].to_ne_bytes()[1], u64::from(self.0[0] as u8 & 0xf) * 4)
        } else {
            (self.0[1].to_ne_bytes()[2], IPV6_HEADER)
        };
        if protocol == TCP { Some(peek(at + length)) } else { None }
    }

    /// Takes the addresses: where it comes from, and where it goes to.
    #[inline(always)]
    pub(crate) fn fill_addresses(&self, source: *mut [u8; 16], destination: *mut [u8; 16]) {
        if self.is_v4() {
            mapped(source, self.0[3].to_ne_bytes());
            mapped(destination, self.0[4].to_ne_bytes());
            return;
        }
        for word in 0..4 {
            unsafe {
                source.cast::<u32>().add(word).write(self.0[2 + word]);
                destination.cast::<u32>().add(word).write(self.0[6 + word]);
            }
        }
    }
}
