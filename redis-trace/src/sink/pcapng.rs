//! The packets that were refused, for Wireshark and its kin: headers made of what is known of each, and the verdict as its comment.
//!
//! The format is <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>: a section, an interface for each network
//! namespace, and a block for each packet, in this machine's byte order.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use super::Sink;
use super::line::safe;
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::report::{FlowReport, Outcome, Report, Summary, Update};

/// What the whole file says of itself.
const ABOUT: &str = "Each packet is the first of a connection that was refused, made of the addresses and ports that \
                     redis-trace knows: every other field is 0.";

/// Numbers of blocks, and of their options.
mod number {
    pub(super) const SECTION: u32 = 0x0a0d_0d0a;
    pub(super) const INTERFACE: u32 = 1;
    pub(super) const PACKET: u32 = 6;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const INTERFACE_NAME: u16 = 2;
    pub(super) const PROGRAM: u16 = 4;
    pub(super) const RESOLUTION: u16 = 9;
    /// LINKTYPE_RAW: a packet begins with its IP header.
    pub(super) const RAW: u16 = 101;
}

/// Such a file, which is being written.
#[derive(Clone)]
pub struct Pcapng(Rc<RefCell<File>>);

struct File {
    out: Box<dyn Write>,
    interfaces: HashMap<Netns, u32>,
    /// Refusals of which no packet is known.
    without: u64,
    fault: Option<io::Error>,
}

impl Pcapng {
    /// Begins it.
    pub fn new(out: impl Write + 'static) -> Self {
        let mut file = File { out: Box::new(out), interfaces: HashMap::new(), without: 0, fault: None };
        file.begin();
        Self(Rc::new(RefCell::new(file)))
    }

    /// Everything so far was written.
    pub fn is_whole(&self) -> bool {
        self.0.borrow().fault.is_none()
    }

    /// Ends it; false when it is not whole, which was said when it happened.
    pub fn finish(&self) -> bool {
        let mut file = self.0.borrow_mut();
        let flushed = file.out.flush();
        file.note(flushed);
        if file.without > 0 {
            eprintln!(
                "{} refusals have no packet: of a unix socket, before any was sent, or only counted",
                file.without
            );
        }
        file.fault.is_none()
    }
}

impl Sink for Pcapng {
    /// Those that were judged one by one have a packet each; others of a flood were only counted.
    fn count(&mut self, like: &Report, number: u64) {
        let mut file = self.0.borrow_mut();
        match packet(like).filter(|_| number == 1) {
            Some((flow, packet)) => file.packet(flow, like, &packet),
            None => file.without += number,
        }
    }

    fn report(&mut self, _: &Report) -> io::Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Update) -> io::Result<()> {
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, _: &Summary) -> io::Result<()> {
        Ok(())
    }
}

impl File {
    fn begin(&mut self) {
        let mut body = 0x1a2b_3c4d_u32.to_ne_bytes().to_vec();
        body.extend(1_u16.to_ne_bytes());
        body.extend(0_u16.to_ne_bytes());
        // How long the section is, nobody knows yet.
        body.extend((-1_i64).to_ne_bytes());
        let program = format!("redis-trace {}", env!("CARGO_PKG_VERSION"));
        let options = [(number::COMMENT, ABOUT.as_bytes()), (number::PROGRAM, program.as_bytes())];
        self.block(number::SECTION, body, &options);
    }

    fn interface(&mut self, flow: &FlowReport) -> u32 {
        if let Some(known) = self.interfaces.get(&flow.netns) {
            return *known;
        }
        let name = flow.netns_name.as_ref().map_or_else(|| flow.netns.0.to_string(), ToString::to_string);
        let name = format!("netns {}", safe(&name));
        let mut body = number::RAW.to_ne_bytes().to_vec();
        body.extend([0; 2]);
        // No packet is cut off.
        body.extend(0_u32.to_ne_bytes());
        // Times are in nanoseconds.
        self.block(number::INTERFACE, body, &[(number::INTERFACE_NAME, name.as_bytes()), (number::RESOLUTION, &[9])]);
        let new = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        self.interfaces.insert(flow.netns, new);
        new
    }

    fn packet(&mut self, flow: &FlowReport, report: &Report, packet: &[u8]) {
        let interface = self.interface(flow);
        let time = u64::try_from(report.time.as_nanosecond()).unwrap_or_default();
        let length = u32::try_from(packet.len()).unwrap_or_default();
        let mut body = Vec::new();
        for word in [interface, high(time), low(time), length, length] {
            body.extend(word.to_ne_bytes());
        }
        body.extend(packet);
        self.block(number::PACKET, body, &[(number::COMMENT, comment(report).as_bytes())]);
    }

    /// A block, with its length at both ends; all parts begin at a multiple of four.
    fn block(&mut self, number: u32, mut body: Vec<u8>, options: &[(u16, &[u8])]) {
        for (option, value) in options {
            let value = &value[..value.len().min(usize::from(u16::MAX))];
            body.extend(option.to_ne_bytes());
            body.extend(u16::try_from(value.len()).unwrap_or_default().to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        // The end of the options.
        body.extend([0; 4]);
        let length = u32::try_from(body.len() + 12).unwrap_or_default().to_ne_bytes();
        let block = [&number.to_ne_bytes()[..], &length, &body, &length].concat();
        if self.fault.is_none() {
            let written = self.out.write_all(&block);
            self.note(written);
        }
    }

    /// After the first fault nothing more is written.
    fn note(&mut self, done: io::Result<()>) {
        if let Err(why) = done
            && self.fault.is_none()
        {
            eprintln!("the packets end here, watching goes on: {why}");
            self.fault = Some(why);
        }
    }
}

fn high(time: u64) -> u32 {
    u32::try_from(time >> 32).unwrap_or_default()
}

fn low(time: u64) -> u32 {
    u32::try_from(time & u64::from(u32::MAX)).unwrap_or_default()
}

/// The first packet of a refused connection, and its flow; nothing where there was none, or not all of its ends are known.
fn packet(report: &Report) -> Option<(&FlowReport, Vec<u8>)> {
    let was_sent = matches!(report.outcome, Outcome::Refused | Outcome::Reset | Outcome::Timeout | Outcome::Rejected);
    let flow = report.flow.as_ref().filter(|_| was_sent)?;
    let (client, server) = (flow.client?, flow.server?);
    Some((flow, [ip(client.ip, server.ip), syn(client, server)].concat()))
}

/// The header of a packet that holds a TCP header and nothing else.
fn ip(from: IpAddr, to: IpAddr) -> Vec<u8> {
    const TCP: u8 = 6;
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (from, to) {
        let fixed = [0x45, 0, 0, 40, 0, 0, 0, 0, 0, TCP, 0, 0];
        return [&fixed[..], &from.octets(), &to.octets()].concat();
    }
    let octets = |ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => Ipv6Addr::octets(&ip),
    };
    [&[0x60, 0, 0, 0, 0, 20, TCP, 0][..], &octets(from), &octets(to)].concat()
}

/// The header of a SYN.
fn syn(from: Endpoint, to: Endpoint) -> Vec<u8> {
    const SYN: u8 = 2;
    let ports = [from.port.to_be_bytes(), to.port.to_be_bytes()].concat();
    [&ports[..], &[0; 8], &[0x50, SYN], &[0; 6]].concat()
}

/// What the packet's comment says.
fn comment(report: &Report) -> String {
    let cause = &report.cause;
    let mut text = format!(
        "{} {} {} {}\n{}",
        report.outcome.name(),
        cause.code,
        cause.name,
        cause.confidence.name(),
        safe(&report.summary)
    );
    for evidence in &report.evidence {
        let _ = write!(text, "\nproof {}: {}", evidence.source, safe(&evidence.text));
    }
    for fix in &report.fix {
        let command = fix.command.as_ref().map_or_else(String::new, |command| format!(": {}", safe(command)));
        let _ = write!(text, "\nfix {}{command}", safe(&fix.text));
    }
    text
}
