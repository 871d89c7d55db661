//! Whether a client's SYNs arrive on this host at all: heard where packets come in, before any firewall of this host.

use std::io::{self, Read as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::report::{Doctor, Finding, State, fix};

/// How long a SYN is waited for: a client that gets no answer sends it again after 1, 3 and 7 seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// `IPPROTO_TCP`.
const TCP: u32 = 6;
/// In a TCP header: the destination port and the flags.
const PORT_AT: u32 = 2;
const FLAGS_AT: u32 = 13;
/// Of the flags, those that tell a SYN from its answer; and how a SYN has them.
const SYN_AND_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// Waits for a SYN of this client's to a port, and tells whether one came.
pub(super) fn look(doctor: &mut Doctor, from: IpAddr, port: u16) -> anyhow::Result<()> {
    let began = Instant::now();
    let came = match heard(from, port, began + PATIENCE) {
        Ok(came) => came,
        Err(error) => {
            let why = format!("packets may not be heard here ({error}): CAP_NET_RAW is needed");
            return Ok(doctor.skip(&["arrivals"], &why)?);
        }
    };
    if let Some((client, to)) = came {
        let after = began.elapsed().as_secs_f64();
        let text = format!("a SYN from port {client} of {from} to {to} came in after {after:.1} s");
        return Ok(doctor.step("arrivals", State::Good, text)?);
    }
    let text = format!("no SYN from {from} to port {port} came in within {} s", PATIENCE.as_secs());
    doctor.step("arrivals", State::Bad, text.clone())?;
    let summary = format!(
        "{text}: if {from} dialled meanwhile, it is refused or lost before this host, by a security group, a network ACL or \
         a firewall on the way, or it dials another address"
    );
    let at_the_client = Some(format!("redis-trace watch --port {port}"));
    doctor.verdict(
        Finding::of_code("RT4003", "no-answer", "likely", summary)
            .elsewhere()
            .with(fix("see on the client what it dials and what it gets", at_the_client))
            .with(fix("look at the security groups, network ACLs and firewalls between the two", None)),
    );
    Ok(())
}

/// The first SYN that comes in until then: the client's port, and the address that it is sent to.
fn heard(from: IpAddr, port: u16, until: Instant) -> io::Result<Option<(u16, IpAddr)>> {
    let protocol = if from.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
    let protocol = u16::try_from(protocol).map_err(io::Error::other)?.to_be();
    let mut wire = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(protocol))))?;
    wire.attach_filter(&filter(from, port))?;
    let mut packet = [0; 128];
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        if retry_on_intr(|| poll(&mut [PollFd::new(&wire, PollFlags::IN)], Some(&left)))? == 0 {
            return Ok(None);
        }
        let length = wire.read(&mut packet)?;
        if let Some(syn) = packet.get(..length).and_then(|packet| syn(packet, from, port)) {
            return Ok(Some(syn));
        }
    }
}

/// Reads a SYN; what came in before the filter was there may be something else.
fn syn(packet: &[u8], from: IpAddr, port: u16) -> Option<(u16, IpAddr)> {
    let (source, to, tcp): (IpAddr, IpAddr, _) = if from.is_ipv4() {
        let tcp = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
        (bytes::<4>(packet, 12)?.into(), bytes::<4>(packet, 16)?.into(), tcp)
    } else {
        (bytes::<16>(packet, 8)?.into(), bytes::<16>(packet, 24)?.into(), packet.get(40..)?)
    };
    let [flags] = bytes(tcp, FLAGS_AT as usize)?;
    let is_it = source == from
        && u32::from(flags) & SYN_AND_ACK == SYN
        && u16::from_be_bytes(bytes(tcp, PORT_AT as usize)?) == port;
    is_it.then_some((u16::from_be_bytes(bytes(tcp, 0)?), to))
}

fn bytes<const N: usize>(packet: &[u8], at: usize) -> Option<[u8; N]> {
    packet.get(at..at + N)?.try_into().ok()
}

/// Classic BPF: `ld` and `ldx` of a word, a half word or a byte, at a fixed place or after the header; `and`; `jeq`; `ret`.
const LOAD_WORD: u16 = 0x20;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_AFTER: u16 = 0x48;
const LOAD_BYTE_AFTER: u16 = 0x50;
const HEADER_IS: u16 = 0x01;
const HEADER_OF_IP: u16 = 0xb1;
const AND: u16 = 0x54;
const EQUALS: u16 = 0x15;
const RETURN: u16 = 0x06;

/// Takes SYNs of this client to this port and nothing else: a busy host does not notice.
fn filter(from: IpAddr, port: u16) -> Vec<SockFilter> {
    let load = |code, at| SockFilter::new(code, 0, 0, at);
    let (protocol, source, header) = match from {
        IpAddr::V4(ip) => (9, vec![(12, u32::from(ip))], load(HEADER_OF_IP, 0)),
        IpAddr::V6(ip) => {
            let words = ip
                .octets()
                .chunks_exact(4)
                .map(|word| word.iter().fold(0, |all, &byte| all << 8 | u32::from(byte)))
                .collect::<Vec<_>>();
            (6, (8..).step_by(4).zip(words).collect(), load(HEADER_IS, 40))
        }
    };
    let mut checks: Vec<(Vec<SockFilter>, u32)> = vec![(vec![load(LOAD_BYTE, protocol)], TCP)];
    checks.extend(source.into_iter().map(|(at, word)| (vec![load(LOAD_WORD, at)], word)));
    checks.push((vec![header, load(LOAD_HALF_AFTER, PORT_AT)], port.into()));
    checks.push((vec![load(LOAD_BYTE_AFTER, FLAGS_AT), load(AND, SYN_AND_ACK)], SYN));
    // From its end: whatever is not as it must be goes to the last instruction, which takes nothing.
    let mut program = vec![load(RETURN, u32::MAX), load(RETURN, 0)];
    for (loads, value) in checks.into_iter().rev() {
        let to_the_last = u8::try_from(program.len() - 1).unwrap_or_default();
        program.splice(0..0, loads.into_iter().chain([SockFilter::new(EQUALS, 0, to_the_last, value)]));
    }
    program
}
