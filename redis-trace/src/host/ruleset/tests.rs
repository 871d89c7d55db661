//! Real rules of nft, iptables-nft and iptables-legacy in throw-away namespaces, read back and judged.

mod iptables;
mod kernel;
mod nft;
mod owners;
mod reading;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use super::super::netns::{self, stranger::Stranger};
use super::*;
use crate::firewall::{Candidate, Effect, Hook, Interface, Packet, State, Suspects, Wanted};
use crate::trace::flow::Endpoint;

/// A throw-away namespace, and a host that looks at it.
struct Stage {
    stranger: Stranger,
    host: Host,
}

impl Stage {
    /// An empty one.
    fn new() -> Self {
        Self { stranger: Stranger::new(), host: Host::new() }
    }

    /// One with a ruleset of nft.
    fn with_nft(rules: &str) -> Self {
        let stage = Self::new();
        stage.run_with(&["nft", "--file", "-"], rules);
        stage
    }

    /// Runs a command there and gives what it printed.
    fn run(&self, command: &[&str]) -> String {
        self.run_with(command, "")
    }

    /// Runs a command there with something to read.
    fn run_with(&self, command: &[&str], input: &str) -> String {
        let mut child = Command::new("nsenter")
            .args(["--net", &format!("--target={}", self.stranger.id()), "--"])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter runs as root");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{command:?} failed");
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// The ruleset as the host reads it.
    fn ruleset(&mut self) -> Arc<Ruleset> {
        self.host.find(self.stranger.netns(), crate::host::boottime());
        self.host.ruleset(self.stranger.netns(), None).expect("it can be read").ruleset
    }

    /// Who can have refused a packet.
    fn suspects(&mut self, hook: Hook, packet: &Packet, wanted: Wanted) -> Suspects {
        self.ruleset().suspects(hook, packet, wanted)
    }

    /// The only one who can have refused a packet, after a check that nft lists its text with that handle.
    fn culprit(&mut self, hook: Hook, packet: &Packet, wanted: Wanted) -> Candidate {
        let suspects = self.suspects(hook, packet, wanted);
        let culprit = suspects.certain().unwrap_or_else(|| panic!("not one: {suspects:#?}")).clone();
        if let (Backend::Nftables, Some(handle)) = (culprit.site.backend, culprit.site.handle) {
            let line = format!("{} # handle {handle}", culprit.site.rule);
            let listing = self.run(&["nft", "--stateless", "--handle", "list", "ruleset"]);
            assert!(listing.lines().any(|listed| listed.trim() == line), "{line} is not in\n{listing}");
        }
        culprit
    }

    /// Who can have refused a packet, with their counters as they are now.
    fn counted(&mut self, hook: Hook, packet: &Packet) -> Suspects {
        self.host.rulesets.0.clear();
        self.ruleset().suspects(hook, packet, Wanted::Refusal)
    }

    /// Dials a port there, and is refused.
    fn refused(&self, port: u16) {
        let dial = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.kind());
        let outcome = netns::inside(self.stranger.netns(), &self.stranger.door(), dial).expect("a visit");
        assert_eq!(outcome.err(), Some(ErrorKind::ConnectionRefused), "port {port}");
    }

    /// The text of the only one who can have refused a packet.
    fn rule(&mut self, hook: Hook, packet: &Packet, wanted: Wanted) -> String {
        self.culprit(hook, packet, wanted).site.rule.to_string()
    }
}

/// The first packet of a connection over loopback.
fn syn(from: &str, to: &str) -> Packet {
    let end = |text: &str| {
        let address: SocketAddr = text.parse().expect("an address and a port");
        Some(Endpoint { ip: address.ip(), port: address.port() })
    };
    Packet {
        ipv6: to.starts_with('['),
        transport: Some(6),
        source: end(from),
        destination: end(to),
        first_destination: end(to),
        tcp_flags: Some(2),
        input: Interface::Named("lo".to_owned()),
        output: Interface::Named("lo".to_owned()),
        states: State::NEW,
        mark: Some(0),
        ..Packet::default()
    }
}

/// One to the port of Redis.
fn to_redis() -> Packet {
    syn("127.0.0.1:50000", "127.0.0.1:6379")
}

/// The texts of all who can have refused a packet.
fn texts(suspects: &Suspects) -> Vec<&str> {
    suspects.candidates.iter().map(|candidate| candidate.site.rule.as_str()).collect()
}
