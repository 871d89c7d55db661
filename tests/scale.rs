//! A host with many listeners and many network namespaces, some of which end meanwhile: the verdicts are right and in time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

use crate::stranger::Stranger;
use crate::support::{Agent, refused, refused_at};

#[path = "support/stranger.rs"]
mod stranger;
mod support;

/// How many sockets listen in the namespace of the test.
const LISTENERS: usize = 3_000;

/// How many other namespaces have a listener.
const NAMESPACES: usize = 60;

/// A program without optimization, on a machine with other work, may take so long until it watches ...
const TO_ATTACHED: Duration = Duration::from_secs(10);

/// ... and so long from a dial to its line. What the host does not say in 2 s is not in a verdict.
const TO_LINE: Duration = Duration::from_secs(4);

/// Dials and waits for the line about it.
fn line_of(agent: &mut Agent, dial: impl FnOnce() -> SocketAddr) -> Value {
    let start = Instant::now();
    let line = agent.refusal_of(dial());
    let took = start.elapsed();
    assert!(took < TO_LINE, "the line took {took:?}: {line}");
    line
}

#[test]
fn many_listeners_and_namespaces_delay_nothing_and_confuse_nobody() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).expect("up to the maximum");
    let listen = |ip: [u8; 4], port| TcpListener::bind((Ipv4Addr::from(ip), port)).expect("a free port");
    let listeners: Vec<TcpListener> = (0..LISTENERS).map(|_| listen([127, 0, 0, 3], 0)).collect();
    let port = listeners[LISTENERS / 2].local_addr().expect("an address").port();
    let mut strangers: Vec<Stranger> = (0..NAMESPACES).map(|_| Stranger::new()).collect();
    let _elsewhere: Vec<TcpListener> =
        strangers.iter().map(|stranger| stranger.inside(|| listen([127, 0, 0, 1], 2))).collect();

    let start = Instant::now();
    let mut agent = Agent::start(&[]);
    assert!(start.elapsed() < TO_ATTACHED, "the agent took {:?} to attach", start.elapsed());

    let line = line_of(&mut agent, || refused_at(SocketAddr::from(([127, 0, 0, 4], port))));
    assert_eq!(line["cause"]["code"], "RT1007", "another address of that port listens: {line}");
    assert_eq!(line["server_process"]["pid"], std::process::id(), "{line}");
    let line = line_of(&mut agent, || refused(2));
    assert_eq!(line["cause"]["code"], "RT1010", "other namespaces listen there: {line}");

    // Every other namespace ends right after a refusal in it, before anybody can look.
    for stranger in strangers.drain(..NAMESPACES / 2) {
        stranger.inside(|| TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).expect_err("nobody listens"));
    }
    let line = line_of(&mut agent, || refused(1));
    assert_eq!(line["cause"]["code"], "RT1001", "{line}");
    agent.signal(Signal::INT);
    let (lines, status) = agent.end();
    let summary = lines.last().expect("a summary");
    assert!(status.success() && summary["lost"]["ring"] == 0, "{summary}");
    assert!(summary["seen"].as_u64() >= Some(3 + NAMESPACES as u64 / 2), "each is told: {summary}");
}
