//! Servers that go, come back, move, and numbers of processes that others get: each verdict is about who is meant. Needs root.

#[path = "support/redis.rs"]
mod redis;
mod support;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command};
use std::sync::{Mutex, PoisonError};

use redis::Redis;
use rustix::process::Signal;
use serde_json::Value;
use support::{Agent, refused};

/// The tests take turns: one has numbers of processes given anew, which a server of the other would get.
static ALONE: Mutex<()> = Mutex::new(());

/// Where the server is expected.
const PORT: u16 = 16_397;

/// A server at this address; nothing of it is kept on a disk.
fn server(host: &str) -> Redis {
    Redis::start(&["--port", &PORT.to_string(), "--bind", host, "--save", ""])
}

/// The code and the sentence of a line.
fn told(line: &Value) -> (&str, &str) {
    (line["cause"]["code"].as_str().expect("a code"), line["summary"].as_str().expect("a sentence"))
}

#[test]
fn a_server_that_goes_comes_back_and_moves_is_told_as_it_is_each_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut agent = Agent::start(&["--no-aggregate", "--port", &PORT.to_string()]);
    let early = agent.refusal_of(refused(PORT));
    assert_eq!(told(&early).0, "RT1001", "{early}");

    let first = server("127.0.0.1");
    let update = loop {
        let line = agent.next();
        if line["schema"] == "redis-trace.update/1" {
            break line;
        }
    };
    assert_eq!((&update["seq"], &update["cause"]["code"]), (&early["seq"], &"RT1018".into()), "{update}");
    assert!(told(&update).1.contains(" after the refusal"), "{update}");

    let old = first.0.id();
    drop(first);
    let killed = agent.refusal_of(refused(PORT));
    assert_eq!(told(&killed).0, "RT1003", "{killed}");
    assert!(told(&killed).1.contains(&format!("(pid {old})")), "{killed}");

    let moved = server("127.0.0.2");
    let elsewhere = agent.refusal_of(refused(PORT));
    assert_eq!(told(&elsewhere).0, "RT1007", "{elsewhere}");
    assert_eq!(elsewhere["server_process"]["pid"], moved.0.id(), "{elsewhere}");
    assert_ne!(moved.0.id(), old);

    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

/// A process with this number.
fn with_number(number: u32) -> Child {
    loop {
        fs::write("/proc/sys/kernel/ns_last_pid", (number - 1).to_string()).expect("root may");
        let mut child = Command::new("sleep").arg("60").spawn().expect("it starts");
        if child.id() == number {
            return child;
        }
        // Somebody else was faster.
        child.kill().expect("it lives");
        child.wait().expect("it ends");
    }
}

#[test]
fn who_got_the_number_of_a_server_that_is_gone_is_not_taken_for_it() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT + 1));
    let mut agent = Agent::start(&["--no-aggregate", "--port", &place.port().to_string()]);
    let gone = Redis::start(&["--port", &place.port().to_string(), "--bind", "127.0.0.1", "--save", ""]);
    let number = gone.0.id();
    drop(gone);
    let mut other = with_number(number);
    let line = agent.refusal_of(refused(place.port()));
    assert_eq!(told(&line).0, "RT1003", "{line}");
    assert!(told(&line).1.contains("redis-server"), "{line}");
    assert!(!line.to_string().contains("sleep"), "{line}");
    other.kill().expect("it lives");
    other.wait().expect("it ends");
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}
