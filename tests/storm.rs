//! Floods of refusals: every one is counted, few are told, and what else happens is still heard.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket, socket_with};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Agent, refused};

mod support;

/// Floods take turns: each is to be watched by an agent that has a processor to itself.
static ALONE: Mutex<()> = Mutex::new(());

/// A port on which nothing ever listens.
const CLOSED: u16 = 1;

/// Dials a closed port from an address of this test's own; each is one refusal.
fn dial(from: Ipv4Addr, port: u16) {
    dial_at(from, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
}

/// The same at another address of the loopback.
fn dial_at(from: Ipv4Addr, server: SocketAddr) {
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&client, &SocketAddr::from((from, 0))).expect("an address of this host");
    assert_eq!(connect(&client, &server), Err(Errno::CONNREFUSED));
}

/// Ends an agent: what it told, and its summary, whose sum must hold.
fn end(agent: Agent) -> (Vec<Value>, Value, Option<i32>) {
    agent.signal(Signal::INT);
    let (mut lines, status) = agent.end();
    let summary = lines.pop().expect("a summary");
    let number = |value: &Value| value.as_u64().expect("a number");
    let lost = &summary["lost"];
    let parts = [&summary["delivered"], &summary["aggregated"], &lost["ring"], &lost["queue"], &lost["output"]];
    assert_eq!(number(&summary["seen"]), parts.into_iter().map(number).sum::<u64>(), "{summary}");
    (lines, summary, status.code())
}

#[test]
fn every_refusal_of_a_flood_is_counted_and_few_are_told() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let from = Ipv4Addr::new(127, 77, 0, 1);
    let agent = Agent::start(&["--from", "127.77.0.1"]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| dial(from, CLOSED)));
        }
    });
    let (lines, summary, code) = end(agent);
    assert_eq!((&summary["seen"], &summary["by_cause"]["RT1001"]), (&40_000.into(), &40_000.into()), "{summary}");
    assert_eq!((&summary["unattributed"], &summary["missed"]["records"]), (&0.into(), &0.into()), "{summary}");
    assert!(summary["coverage"].as_f64() > Some(0.999), "{summary}");
    assert!(lines.len() <= 8, "one line for each power of ten, and the last: {lines:#?}");
    assert_eq!(lines.last().expect("a line")["count"], 40_000);
    assert!(lines.iter().all(|line| line["side"] == "both"), "samples are told with both their ends: {lines:#?}");
    assert_eq!(code, Some(0));
}

#[test]
fn ten_thousand_a_second_are_at_most_twenty_lines_a_minute() {
    const A_TICK: u32 = 100;
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let agent = Agent::start(&["--from", "127.77.0.5"]);
    let start = Instant::now();
    for tick in 0..6_000 {
        thread::sleep((start + tick * Duration::from_millis(10)).saturating_duration_since(Instant::now()));
        (0..A_TICK).for_each(|_| dial(Ipv4Addr::new(127, 77, 0, 5), CLOSED));
    }
    let took = start.elapsed();
    let (lines, summary, _) = end(agent);
    assert!(took < Duration::from_secs(75), "this machine does not make 10,000 a second: {took:?}");
    assert_eq!(summary["seen"], 600_000, "{summary}");
    assert!((3..=20).contains(&lines.len()), "{lines:#?}");
}

#[test]
fn another_cause_in_a_flood_is_told_within_200_milliseconds() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut agent = Agent::start(&["--port", "1-51"]);
    let (is_over, mut took) = (AtomicBool::new(false), Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                dial(Ipv4Addr::new(127, 77, 0, 2), CLOSED);
            }
        });
        // The flood is on.
        while agent.next()["count"].as_u64() < Some(1_000) {}
        for port in 2..=51 {
            let start = Instant::now();
            let client = refused(port);
            agent.refusal_of(client);
            took.push(start.elapsed());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(took.iter().all(|took| *took < Duration::from_millis(200)), "{took:?}");
    end(agent);
}

#[test]
fn with_no_room_in_the_ring_what_is_lost_is_counted_and_said() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let from = Ipv4Addr::new(127, 77, 0, 3);
    let agent = Agent::start(&["--from", "127.77.0.3", "--no-aggregate", "--ring", "64K", "--strict"]);
    // The agent cannot read meanwhile: the ring overflows for certain.
    agent.signal(Signal::STOP);
    (0..1_000).for_each(|_| dial(from, CLOSED));
    agent.signal(Signal::CONT);
    let (_, summary, code) = end(agent);
    let number = |name: &str| summary[name].as_u64().expect("a number");
    let lost = summary["lost"]["ring"].as_u64().expect("a number");
    // What was lost cannot be told apart: it may have been another's on a host that has other refusals.
    assert!(number("delivered") < 1_000 && number("delivered") + lost >= 1_000, "{summary}");
    assert_eq!(code, Some(5));
}

#[test]
fn with_hardly_any_room_for_counts_each_refusal_is_counted_all_the_same() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let from = Ipv4Addr::new(127, 77, 0, 5);
    let agent = Agent::start(&["--from", "127.77.0.5", "--kinds", "1", "--ring", "64K", "--strict"]);
    for host in 1..=250 {
        (0..20).for_each(|_| dial_at(from, SocketAddr::from((Ipv4Addr::new(127, 77, 2, host), CLOSED))));
    }
    let (lines, summary, _) = end(agent);
    let number = |name: &str| summary[name].as_u64().expect("a number");
    // Who dialled is not known of those that found no place.
    assert!(number("seen") + number("unfiltered") >= 5_000, "{summary}");
    assert!(number("unfiltered") > 0 && !lines.is_empty(), "{summary}");
}

#[test]
fn a_flood_over_more_places_than_are_kept_apart_is_counted_and_takes_no_more_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let from = Ipv4Addr::new(127, 77, 0, 4);
    let agent = Agent::start(&["--from", "127.77.0.4"]);
    // None of these is open: each was just given back.
    let closed: Vec<u16> =
        (20_000..30_000).filter(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok()).collect();
    let flood = |hosts: RangeInclusive<u8>| {
        for (host, port) in hosts.flat_map(|host| closed.iter().map(move |port| (host, *port))) {
            dial_at(from, SocketAddr::from((Ipv4Addr::new(127, 77, 1, host), port)));
        }
    };
    flood(1..=3);
    let before = resident(&agent);
    flood(4..=10);
    let grown = resident(&agent).saturating_sub(before);
    let (_, summary, _) = end(agent);
    let number = |name: &str| summary[name].as_u64().unwrap_or_default();
    // Of those that found no place among the counts nobody can say who dialled: others of this host may be among them.
    assert!(number("seen") + number("unfiltered") >= 10 * closed.len() as u64, "{summary}");
    assert!(number("seen") >= 1_000, "{summary}");
    assert!(grown < 16 << 10, "it grew by {grown} KiB");
}

/// Memory that an agent has, KiB.
fn resident(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn unix_sockets_and_failed_binds_are_counted_alike() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("nobody.sock");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = taken.local_addr().expect("an address");
    let agent = Agent::start(&[]);
    for _ in 0..3_000 {
        UnixStream::connect(&path).expect_err("nothing is there");
        TcpListener::bind(address).expect_err("it is taken");
    }
    let (_, summary, _) = end(agent);
    let by_cause = &summary["by_cause"];
    assert_eq!(by_cause["RT1016"].as_u64(), Some(3_000), "{summary}");
    assert_eq!(by_cause["RT1011"].as_u64(), Some(3_000), "{summary}");
}

/// Attempts that meet a full queue.
const ATTEMPTS: u64 = 10_000;

/// `ListenOverflows` of this network namespace.
fn overflows() -> u64 {
    let text = std::fs::read_to_string("/proc/self/net/netstat").expect("counters");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let place = names.split(' ').position(|name| name == "ListenOverflows").expect("the counter");
    values.split(' ').nth(place).expect("a value").parse().expect("a number")
}

/// Dials without waiting for an answer.
fn begin(server: &SocketAddr) -> OwnedFd {
    let client = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
    assert_eq!(connect(&client, server), Err(Errno::INPROGRESS));
    client
}

/// Listens and never accepts; three fit into its queue.
fn idle() -> (OwnedFd, SocketAddr) {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    listen(&listener, 2).expect("it listens");
    let address = getsockname(&listener).expect("a name").try_into().expect("an address");
    (listener, address)
}

#[test]
fn of_ten_thousand_attempts_as_many_are_told_as_the_kernel_counts_and_a_neighbour_is_not_blamed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (_listener, server) = idle();
    let (_neighbour, neighbour) = idle();
    let agent = Agent::start(&["--port", &server.port().to_string(), "--port", &neighbour.port().to_string()]);
    let before = overflows();
    let mut waiting: Vec<_> = (0..3).map(|_| begin(&server)).collect();
    // One more would fit there.
    waiting.extend((0..2).map(|_| begin(&neighbour)));
    for _ in 0..ATTEMPTS {
        // Who goes away at once does not send his SYN again.
        drop(begin(&server));
    }
    let counted = overflows() - before;
    assert_eq!(counted, ATTEMPTS);
    let (lines, summary, _) = end(agent);
    assert_eq!((&summary["by_cause"]["RT2001"], &summary["seen"]), (&counted.into(), &counted.into()), "{summary}");
    assert!(lines.iter().all(|line| line["flow"]["server"]["port"] == server.port()), "{lines:#?}");
    let first = lines.first().expect("a verdict");
    let queue = |name: &str| first["queue"][name].clone();
    assert_eq!((queue("length"), queue("limit")), (Value::from(3), Value::from(2)), "{first}");
    assert_eq!(first["server_process"]["pid"], std::process::id(), "{first}");
    drop(waiting);
}
