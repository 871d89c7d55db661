//! Large, hostile and irrelevant rules: verdicts stay right and in time, and no rule is blamed for what it did not do.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use procfs::process::Process;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sendto, socket_with};
use rustix::process::Signal;
use serde_json::Value;

use crate::stranger::Stranger;
use crate::support::{Agent, refused};

#[path = "support/stranger.rs"]
mod stranger;
mod support;

/// A chain that every packet to this namespace enters.
const INPUT: &str = "type filter hook input priority 0;";

/// What the first verdict takes at most, and what nine of ten later ones do.
const TO_FIRST: Duration = Duration::from_secs(1);
const TO_LATER: Duration = Duration::from_millis(50);
/// Dials after the first.
const LATER: usize = 40;
/// So long nft may take to begin.
const PATIENCE: Duration = Duration::from_secs(10);

/// Each test's own port.
const SLOW: u16 = 6501;
const HOSTILE: u16 = 6502;
const PLAIN: u16 = 6503;
const SCANNED: u16 = 6504;

/// A namespace with rules of nftables.
fn with_rules(rules: &str) -> Stranger {
    let netns = Stranger::new();
    netns.inside(|| {
        let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft is installed");
        child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success(), "nft takes the rules");
    });
    netns
}

/// The tests take turns: each agent is to have a processor to itself.
static ALONE: Mutex<()> = Mutex::new(());

/// An agent that tells each refusal on a port, of a namespace or of any.
fn agent(port: u16, more: &[&str]) -> Agent {
    Agent::start(&[&["--port", &port.to_string()], more].concat())
}

/// Dials a port of the namespace, is refused, and waits for the line: that, and how long it took.
fn timed(agent: &mut Agent, netns: &Stranger, port: u16) -> (Value, Duration) {
    let start = Instant::now();
    let client = netns.inside(|| refused(port));
    let line = agent.refusal_of(client);
    (line, start.elapsed())
}

/// Many rules that do not concern a port.
fn irrelevant(number: usize) -> String {
    (0..number).fold(String::new(), |mut rules, nth| {
        let _ = writeln!(
            rules,
            "ip saddr 10.{}.{}.0/24 tcp dport {} counter reject",
            nth >> 8,
            nth & 255,
            10_000 + nth % 5_000
        );
        rules
    })
}

/// Waits until the agent's nft has listed the rules, which it reads before anybody is refused.
fn has_read_ahead(agent: &Agent) {
    let parent = format!(" {} ", agent.child.id());
    let lists = || {
        let tasks = std::fs::read_dir("/proc").expect("/proc").flatten();
        let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
        stats.any(|stat| stat.split_once("(nft) ").is_some_and(|(_, rest)| rest[1..].starts_with(&parent)))
    };
    let began = Instant::now();
    while !lists() {
        assert!(began.elapsed() < PATIENCE, "no rules are read ahead");
    }
    while lists() {}
    // What it listed is then read, by a program that was not optimized.
    while computes(agent) {
        assert!(began.elapsed() < PATIENCE, "the rules are read for ever");
    }
}

/// Whether a thread of the agent does anything but wait.
fn computes(agent: &Agent) -> bool {
    let process = Process::new(agent.child.id().cast_signed()).expect("the agent");
    let mut threads = process.tasks().expect("its threads").flatten();
    threads.any(|thread| thread.stat().is_ok_and(|stat| stat.state != 'S'))
}

#[test]
fn twenty_thousand_rules_delay_no_verdict() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rules = irrelevant(20_000);
    let netns = with_rules(&format!(
        "table inet f {{\nchain in {{\n{INPUT}\n{rules}tcp dport {SLOW} reject with tcp reset comment \"hit\"\n}}\n}}\n"
    ));
    let mut agent = agent(SLOW, &["--no-aggregate"]);
    has_read_ahead(&agent);
    let mut dial = || {
        let (line, took) = timed(&mut agent, &netns, SLOW);
        assert_eq!(line["firewall"]["handle"], 20_002, "{line}");
        took
    };
    let first = dial();
    let mut later: Vec<Duration> = (0..LATER).map(|_| dial()).collect();
    later.sort();
    eprintln!("first after {first:?}, later after {later:?}");
    assert!(first < TO_FIRST, "the first verdict took {first:?}");
    assert!(later[LATER * 9 / 10] < TO_LATER, "later verdicts took {later:?}");
    agent.signal(Signal::INT);
    assert!(agent.end().1.success());
}

#[test]
fn hostile_rules_neither_hang_nor_spoil_the_lines() {
    const DEEP: usize = 12;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut chains = String::new();
    // Every chain leads to the next one twice, on a condition that cannot be judged afterwards.
    for nth in (0..DEEP).rev() {
        let next = nth + 1;
        let jumps = if next == DEEP {
            format!("tcp dport {HOSTILE} reject with tcp reset comment \"\x1b[2J\u{202e}$(reboot)\"")
        } else {
            format!("limit rate 1/hour jump c{next}\njump c{next}")
        };
        let _ = write!(chains, "chain c{nth} {{\n{jumps}\n}}\n");
    }
    let elements: Vec<String> =
        (0..20_000).map(|nth| format!("11.{}.{}.{}", nth >> 16, nth >> 8 & 255, nth & 255)).collect();
    let netns = with_rules(&format!(
        "table inet f {{\nset huge {{\ntype ipv4_addr\nelements = {{ {} }}\n}}\n{chains}chain in {{\n{INPUT}\n\
         ip saddr @huge drop\njump c0\n}}\n}}\n",
        elements.join(", ")
    ));
    let mut agent = agent(HOSTILE, &[]);
    let (line, took) = timed(&mut agent, &netns, HOSTILE);
    eprintln!("after {took:?}: {line}");
    assert_eq!(line["cause"]["code"], "RT3001", "{line}");
    let text = line.to_string();
    assert!(!text.contains(['\x1b', '\u{202e}']) && text.contains("$(reboot)"), "{text}");
    agent.signal(Signal::INT);
    assert!(agent.end().1.success());
}

#[test]
fn a_hundred_thousand_plain_refusals_are_no_firewall_s() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let rules = irrelevant(200);
    let netns = with_rules(&format!(
        "table inet f {{\nchain in {{\n{INPUT}\ntcp dport 7000 drop\n{rules}tcp dport 7001 reject\n}}\n}}\n"
    ));
    let agent = agent(PLAIN, &[]);
    netns.inside(|| (0..100_000).for_each(|_| _ = refused(PLAIN)));
    agent.signal(Signal::INT);
    let (mut lines, status) = agent.end();
    let summary = lines.pop().expect("a summary");
    assert!(status.success(), "{summary}");
    assert_eq!(summary["by_cause"], serde_json::json!({"RT1001": 100_000}), "{summary}");
    assert!(lines.iter().all(|line| line["firewall"].is_null()), "{lines:#?}");
}

/// A SYN to a port of the loopback, with a sequence number that others have too: the kernel fills in what this leaves out.
fn syn(from: u16, to: u16) -> [u8; 40] {
    let mut packet = [0; 40];
    let mut put = |at: usize, bytes: &[u8]| packet[at..at + bytes.len()].copy_from_slice(bytes);
    // Version and length of the header, time to live, protocol, addresses: struct iphdr of include/uapi/linux/ip.h.
    put(0, &[0x45]);
    put(8, &[64, 6]);
    put(12, &[127, 0, 0, 1, 127, 0, 0, 1]);
    // Ports, sequence number, length of the header and SYN: struct tcphdr of include/uapi/linux/tcp.h.
    put(20, &from.to_be_bytes());
    put(22, &to.to_be_bytes());
    put(24, &7_u32.to_be_bytes());
    put(32, &[0x50, 0x02]);
    packet
}

#[test]
fn each_dial_of_a_scan_that_a_rule_drops_is_counted_though_all_have_one_sequence_number() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let netns = with_rules(&format!("table inet f {{\nchain in {{\n{INPUT}\ntcp dport {SCANNED} drop\n}}\n}}\n"));
    let agent = agent(SCANNED, &[]);
    netns.inside(|| {
        let raw = Some(rustix::net::ipproto::RAW);
        let wire = socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, raw).expect("root may");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for from in 10_000..15_000 {
            sendto(&wire, &syn(from, SCANNED), SendFlags::empty(), &to).expect("it is sent");
            // Sent again, as TCP does: that is no other dial.
            sendto(&wire, &syn(from, SCANNED), SendFlags::empty(), &to).expect("it is sent");
        }
    });
    agent.signal(Signal::INT);
    let (lines, status) = agent.end();
    let summary = lines.last().expect("a summary");
    assert!(status.success(), "{summary}");
    assert_eq!(summary["by_cause"], serde_json::json!({"RT3003": 5_000}), "{summary}");
}
