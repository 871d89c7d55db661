//! Another host at the end of a wire, whose answers to SYNs no TCP stack of ours has sent.
//!
//! The namespace at the far end of a veth pair does not own the address that is dialled, so its kernel ignores the SYN; this
//! actor reads it from the wire and writes the answer by hand. To the dialling side that is what another host looks like, or a
//! router or middlebox on the way to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with};

use super::actor::say;

/// `ETH_P_IP`, in network byte order as a packet socket wants it.
const ETH_P_IP: u32 = 0x0800_u16.to_be() as u32;
/// Bytes of an IPv4 header without options.
const IP_HEADER: usize = 20;
/// Bytes of a TCP header without options.
const TCP_HEADER: usize = 20;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `IPPROTO_ICMP`.
const ICMP: u8 = 1;
/// TCP flags.
const SYN: u8 = 0x02;
/// Acknowledge.
const ACK: u8 = 0x10;
/// Synchronize and acknowledge.
const SYN_ACK: u8 = 0x12;
/// Reset and acknowledge.
const RST_ACK: u8 = 0x14;
/// What hosts commonly begin with.
const TTL: u8 = 64;

/// How a SYN to a port is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// As by a listener.
    Accept,
    /// By a reset with this time to live.
    Reset(u8),
    /// By an ICMP error "unreachable" with this code, from this address.
    Unreachable(u8, Ipv4Addr),
}

/// Answers SYNs to this address, port by port as the words say, until it is killed: `6379:accept`, `6380:reset:64`,
/// `6381:unreachable:13:10.77.0.254`.
pub(super) fn answer(server: Ipv4Addr, words: &[&str]) -> Result<()> {
    let answers = words.iter().map(|word| parse(word)).collect::<Result<BTreeMap<u16, Answer>>>()?;
    let protocol = std::num::NonZeroU32::new(ETH_P_IP).map(Protocol::from_raw);
    let wire = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)
        .context("cannot read from the wire: CAP_NET_RAW is needed")?;
    let out = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))
        .context("cannot write to the wire: CAP_NET_RAW is needed")?;
    say("ready")?;
    let mut packet = [0; 2048];
    loop {
        let length = rustix::io::read(&wire, &mut packet).context("cannot read from the wire")?;
        if let Some((answer, client)) = packet.get(..length).and_then(|packet| answer_to(packet, server, &answers)) {
            sendto(&out, &answer, SendFlags::empty(), &client).context("cannot write to the wire")?;
        }
    }
}

/// Sends so many SYNs that nobody will follow up, from an address that nobody has.
pub(super) fn flood(source: Ipv4Addr, server: SocketAddrV4, number: u16) -> Result<()> {
    let out = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))
        .context("cannot write to the wire: CAP_NET_RAW is needed")?;
    for nth in 0..number {
        let syn = syn(source, 10_000 + nth, server, u32::from(nth) * 65_537 + 1);
        sendto(&out, &syn, SendFlags::empty(), &server).context("cannot write to the wire")?;
    }
    say("done")
}

/// Begins connections that nobody will end, until conntrack has no room for another: three acknowledgements are one that it
/// takes to be established, and never throws out early.
pub(super) fn fill_conntrack() -> Result<()> {
    let out = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))
        .context("cannot write to the wire: CAP_NET_RAW is needed")?;
    let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
    for nth in 1..0x00ff_0000 {
        let client = SocketAddrV4::new(Ipv4Addr::from(0x7f00_0100 + nth), 9);
        for (from, to) in [(client, server), (server, client), (client, server)] {
            match sendto(&out, &acknowledgement(from, to), SendFlags::empty(), &to) {
                // What netfilter drops at output is told to its sender.
                Err(Errno::PERM) => return Ok(()),
                sent => sent.context("cannot write to the wire")?,
            };
        }
    }
    bail!("conntrack has more room than this host has loopback addresses")
}

/// An acknowledgement out of nowhere.
fn acknowledgement(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut packet = syn(*from.ip(), from.port(), to, 1);
    packet[28..32].copy_from_slice(&1_u32.to_be_bytes());
    packet[33] = ACK;
    packet[36..38].fill(0);
    sign(&mut packet);
    packet
}

/// A SYN without options.
fn syn(source: Ipv4Addr, port: u16, server: SocketAddrV4, isn: u32) -> Vec<u8> {
    let mut syn = ip_header(source, *server.ip(), TCP, TTL);
    syn.resize(IP_HEADER + TCP_HEADER, 0);
    syn[20..22].copy_from_slice(&port.to_be_bytes());
    syn[22..24].copy_from_slice(&server.port().to_be_bytes());
    syn[24..28].copy_from_slice(&isn.to_be_bytes());
    syn[32] = 0x50;
    syn[33] = SYN;
    syn[34..36].copy_from_slice(&1024_u16.to_be_bytes());
    sign(&mut syn);
    syn
}

fn parse(word: &str) -> Result<(u16, Answer)> {
    let parts: Vec<&str> = word.split(':').collect();
    Ok(match parts.as_slice() {
        [port, "accept"] => (port.parse()?, Answer::Accept),
        [port, "reset", ttl] => (port.parse()?, Answer::Reset(ttl.parse()?)),
        [port, "unreachable", code, from] => (port.parse()?, Answer::Unreachable(code.parse()?, from.parse()?)),
        _ => bail!("there is no answer {word:?}"),
    })
}

/// What answers this packet, and where it goes; `None` unless the packet is a SYN to that address and a port with an answer.
fn answer_to(packet: &[u8], server: Ipv4Addr, answers: &BTreeMap<u16, Answer>) -> Option<(Vec<u8>, SocketAddrV4)> {
    let tcp = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    if packet[9] != TCP || packet.get(16..20)? != server.octets() || tcp.get(13)? & RST_ACK != 0 || tcp[13] & SYN == 0 {
        return None;
    }
    let client = SocketAddrV4::new(source.into(), u16::from_be_bytes([tcp[0], tcp[1]]));
    let answer = match *answers.get(&u16::from_be_bytes([tcp[2], tcp[3]]))? {
        Answer::Accept => segment(server, client, tcp, SYN_ACK, TTL)?,
        Answer::Reset(ttl) => segment(server, client, tcp, RST_ACK, ttl)?,
        Answer::Unreachable(code, from) => unreachable(from, client, packet, code)?,
    };
    Some((answer, client))
}

/// An IPv4 header; the kernel fills in its length and checksum.
fn ip_header(from: Ipv4Addr, to: Ipv4Addr, protocol: u8, ttl: u8) -> Vec<u8> {
    let mut header = vec![0; IP_HEADER];
    header[0] = 0x45;
    header[8] = ttl;
    header[9] = protocol;
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    header
}

/// A segment that acknowledges the SYN.
fn segment(server: Ipv4Addr, client: SocketAddrV4, syn: &[u8], flags: u8, ttl: u8) -> Option<Vec<u8>> {
    let isn = u32::from_be_bytes(syn.get(4..8)?.try_into().ok()?);
    let mut packet = ip_header(server, *client.ip(), TCP, ttl);
    packet.resize(IP_HEADER + TCP_HEADER, 0);
    packet[20..22].copy_from_slice(&syn[2..4]);
    packet[22..24].copy_from_slice(&syn[..2]);
    packet[28..32].copy_from_slice(&isn.wrapping_add(1).to_be_bytes());
    packet[32] = 0x50;
    packet[33] = flags;
    // A window, for the one that is accepted.
    packet[34] = 0x10;
    sign(&mut packet);
    Some(packet)
}

/// Fills in the checksum of a segment without data.
fn sign(packet: &mut [u8]) {
    let checksum = checksum(&packet[12..], u32::from(TCP) + 20);
    packet[36..38].copy_from_slice(&checksum.to_be_bytes());
}

/// An ICMP error that quotes the header of the packet and 8 bytes more.
fn unreachable(from: Ipv4Addr, client: SocketAddrV4, syn: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut packet = ip_header(from, *client.ip(), ICMP, TTL);
    packet.extend([3, code, 0, 0, 0, 0, 0, 0]);
    packet.extend(syn.get(..usize::from(syn.first()? & 0x0f) * 4 + 8)?);
    let checksum = checksum(&packet[IP_HEADER..], 0);
    packet[22..24].copy_from_slice(&checksum.to_be_bytes());
    Some(packet)
}

/// The Internet checksum: RFC 1071.
fn checksum(bytes: &[u8], pseudo_header: u32) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum = words.sum::<u32>() + pseudo_header;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);

    /// A SYN from 10.77.0.1:40000 to 10.77.0.2:6379 with sequence number 7.
    fn syn() -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[0] = 0x45;
        packet[9] = TCP;
        packet[12..20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        packet[20..24].copy_from_slice(&[0x9c, 0x40, 0x18, 0xeb]);
        packet[24..28].copy_from_slice(&7_u32.to_be_bytes());
        packet[33] = SYN;
        packet
    }

    fn answers(word: &str) -> BTreeMap<u16, Answer> {
        BTreeMap::from([parse(word).expect("an answer")])
    }

    #[test]
    fn a_syn_is_answered_with_a_reset_that_acknowledges_it() {
        let (reset, client) = answer_to(&syn(), SERVER, &answers("6379:reset:200")).expect("an answer");
        assert_eq!(client, "10.77.0.1:40000".parse().expect("an address"));
        assert_eq!(reset[8], 200);
        assert_eq!(&reset[20..34], &[0x18, 0xeb, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 8, 0x50, RST_ACK]);
        // Over the checksum itself too the sum is 0.
        assert_eq!(checksum(&reset[12..], u32::from(TCP) + 20), 0);
    }

    #[test]
    fn an_icmp_error_quotes_the_packet_that_it_answers() {
        let (error, _) = answer_to(&syn(), SERVER, &answers("6379:unreachable:13:10.77.0.254")).expect("an answer");
        assert_eq!((&error[12..16], &error[20..22]), (&[10, 77, 0, 254][..], &[3, 13][..]));
        assert_eq!(error[28..], syn()[..28]);
        assert_eq!(checksum(&error[IP_HEADER..], 0), 0);
    }

    #[test]
    fn what_is_not_a_syn_to_that_address_and_port_is_left_alone() {
        let all = answers("6379:accept");
        assert!(answer_to(&syn(), Ipv4Addr::new(10, 77, 0, 3), &all).is_none());
        assert!(answer_to(&syn(), SERVER, &answers("6380:accept")).is_none());
        let mut ack = syn();
        ack[33] = RST_ACK;
        assert!(answer_to(&ack, SERVER, &all).is_none());
        assert!(answer_to(&[], SERVER, &all).is_none());
    }
}
