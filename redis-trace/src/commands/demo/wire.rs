//! Another host at the end of a wire, whose answer to every SYN is a reset that no TCP stack of ours has sent.
//!
//! The namespace at the far end of a veth pair does not own the address that is dialled, so its kernel ignores the SYN; this
//! actor reads it from the wire and writes the reset by hand. To the dialling side that is what another host looks like.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result};
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
/// TCP flags.
const SYN: u8 = 0x02;
/// Reset and acknowledge.
const RST_ACK: u8 = 0x14;

/// Answers SYNs to this address with a reset, until it is killed.
pub(super) fn answer_with_reset(server: Ipv4Addr) -> Result<()> {
    let protocol = std::num::NonZeroU32::new(ETH_P_IP).map(Protocol::from_raw);
    let wire = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, protocol)
        .context("cannot read from the wire: CAP_NET_RAW is needed")?;
    let out = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))
        .context("cannot write to the wire: CAP_NET_RAW is needed")?;
    say("ready")?;
    let mut packet = [0; 2048];
    loop {
        let length = rustix::io::read(&wire, &mut packet).context("cannot read from the wire")?;
        if let Some((reset, client)) = packet.get(..length).and_then(|packet| reset_for(packet, server)) {
            sendto(&out, &reset, SendFlags::empty(), &client).context("cannot write to the wire")?;
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

/// A SYN without options.
fn syn(source: Ipv4Addr, port: u16, server: SocketAddrV4, isn: u32) -> [u8; IP_HEADER + TCP_HEADER] {
    let mut syn = [0; IP_HEADER + TCP_HEADER];
    syn[0] = 0x45;
    syn[3] = 40;
    syn[8] = 64;
    syn[9] = TCP;
    syn[12..16].copy_from_slice(&source.octets());
    syn[16..20].copy_from_slice(&server.ip().octets());
    syn[20..22].copy_from_slice(&port.to_be_bytes());
    syn[22..24].copy_from_slice(&server.port().to_be_bytes());
    syn[24..28].copy_from_slice(&isn.to_be_bytes());
    syn[32] = 0x50;
    syn[33] = SYN;
    syn[34..36].copy_from_slice(&1024_u16.to_be_bytes());
    let checksum = checksum(&syn);
    syn[36..38].copy_from_slice(&checksum.to_be_bytes());
    syn
}

/// The reset that answers this packet, and where it goes; `None` unless the packet is a SYN to that address.
fn reset_for(packet: &[u8], server: Ipv4Addr) -> Option<([u8; IP_HEADER + TCP_HEADER], SocketAddrV4)> {
    let tcp = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    if packet[9] != TCP || packet.get(16..20)? != server.octets() || tcp.get(13)? & RST_ACK != 0 || tcp[13] & SYN == 0 {
        return None;
    }
    let isn = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let mut reset = [0; IP_HEADER + TCP_HEADER];
    reset[0] = 0x45;
    reset[3] = 40;
    reset[8] = 64;
    reset[9] = TCP;
    reset[12..16].copy_from_slice(&server.octets());
    reset[16..20].copy_from_slice(&source);
    reset[20..22].copy_from_slice(&tcp[2..4]);
    reset[22..24].copy_from_slice(&tcp[..2]);
    reset[28..32].copy_from_slice(&isn.wrapping_add(1).to_be_bytes());
    reset[32] = 0x50;
    reset[33] = RST_ACK;
    let checksum = checksum(&reset);
    reset[36..38].copy_from_slice(&checksum.to_be_bytes());
    let port = u16::from_be_bytes([tcp[0], tcp[1]]);
    Some((reset, SocketAddrV4::new(source.into(), port)))
}

/// The TCP checksum of a segment without data behind an IPv4 header; the kernel fills in the header's own.
fn checksum(packet: &[u8; IP_HEADER + TCP_HEADER]) -> u16 {
    let words = packet[12..].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let pseudo_header = u32::from(TCP) + 20;
    let mut sum = words.sum::<u32>() + pseudo_header;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_syn_is_answered_with_a_reset_that_acknowledges_it() {
        let (reset, client) = reset_for(&syn(), Ipv4Addr::new(10, 77, 0, 2)).expect("an answer");
        assert_eq!(client, "10.77.0.1:40000".parse().expect("an address"));
        assert_eq!(&reset[20..34], &[0x18, 0xeb, 0x9c, 0x40, 0, 0, 0, 0, 0, 0, 0, 8, 0x50, RST_ACK]);
        let carried = u16::from_be_bytes([reset[36], reset[37]]);
        let mut blank = reset;
        blank[36..38].fill(0);
        assert_eq!(checksum(&blank), carried);
    }

    #[test]
    fn what_is_not_a_syn_to_that_address_is_left_alone() {
        assert!(reset_for(&syn(), Ipv4Addr::new(10, 77, 0, 3)).is_none());
        let mut ack = syn();
        ack[33] = RST_ACK;
        assert!(reset_for(&ack, Ipv4Addr::new(10, 77, 0, 2)).is_none());
        assert!(reset_for(&[], Ipv4Addr::new(10, 77, 0, 2)).is_none());
    }
}
