//! redis-py, a real client besides redis-cli: it often says no more than that the connection was closed, and the verdict gives
//! the server's words back. Needs root.

#[path = "support/redis.rs"]
mod redis;
#[path = "support/stranger.rs"]
mod stranger;
#[expect(dead_code, reason = "what is told is read when the agent has ended")]
mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;

use redis::Redis;
use rustix::process::Signal;
use serde_json::Value;
use stranger::Stranger;
use support::Agent;

/// Asks for PONG, and says what became of it.
const PING: &str = "
import redis, sys
host, port, password = sys.argv[1:]
try:
    print('served', redis.Redis(host, int(port), password=password or None).ping())
except redis.RedisError as error:
    print(type(error).__name__, error)
";

/// The system's own Python, which has what Debian packages for it.
const PYTHON: &str = "/usr/bin/python3";

/// What redis-py says of a server.
fn ping(host: &str, port: u16, password: &str) -> String {
    let output = Command::new(PYTHON).args(["-c", PING, host, &port.to_string(), password]).output();
    let output = output.expect("Python starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "redis-py is missing: run `cargo xtask setup`: {errors}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What was told besides the summary: each of this cause, with the server's own words. It dials twice when it finds that the
/// server has spoken before it was spoken to.
fn each_is(agent: Agent, code: &str, words: &str, client_said: &str) {
    agent.signal(Signal::INT);
    let (lines, _) = agent.end();
    let told: Vec<&Value> = lines.iter().filter(|line| line["schema"] == "redis-trace.refusal/1").collect();
    assert!(matches!(told.len(), 1 | 2), "{client_said}: {told:#?}");
    for line in told {
        assert_eq!(line["cause"]["code"], code, "{client_said}: {line:#}");
        assert_eq!(line["outcome"], "rejected");
        assert_eq!(line["server_process"]["comm"], "redis-server");
        if redis_trace::kernel::keeps_last_words() {
            let reply = line["reply"].as_str().unwrap_or_default();
            assert!(reply.starts_with(words), "{client_said}: {line:#}");
        }
    }
    println!("redis-py says: {client_said}");
}

#[test]
fn a_server_at_its_limit_is_told_to_the_user_of_redis_py() {
    const PORT: u16 = 16_395;
    let port = PORT.to_string();
    let _redis = Redis::start(&["--port", &port, "--save", "", "--bind", "127.0.0.1", "--maxclients", "1"]);
    let _first = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))).expect("it is taken");
    let agent = Agent::start(&["--port", &port, "--no-aggregate"]);
    let said = ping("127.0.0.1", PORT, "");
    assert!(!said.starts_with("served"), "{said}");
    each_is(agent, "RT6002", "-ERR max number of clients reached", &said);
}

#[test]
fn a_server_that_wants_a_password_is_told_to_the_user_of_redis_py() {
    const PORT: u16 = 16_396;
    let port = PORT.to_string();
    let agent = Agent::start(&["--port", &port, "--no-aggregate"]);
    let redis = Redis::start(&["--port", &port, "--save", "", "--bind", "127.0.0.1", "--requirepass", "secret"]);
    let said = ping("127.0.0.1", PORT, "");
    assert_eq!(said, "AuthenticationError Authentication required.");
    drop(redis);
    if redis_trace::kernel::keeps_last_words() {
        each_is(agent, "RT6003", "-NOAUTH Authentication required.", &said);
    }
}

#[test]
fn protected_mode_is_told_to_the_user_of_redis_py() {
    const PORT: u16 = 16_397;
    let port = PORT.to_string();
    let stranger = Stranger::new();
    let redis = stranger.inside(|| {
        let added = Command::new("ip").args(["address", "add", "10.99.0.1/32", "dev", "lo"]).status();
        assert!(added.expect("ip starts").success());
        Redis::start(&["--port", &port, "--save", ""])
    });
    let agent = Agent::start(&["--port", &port, "--no-aggregate"]);
    // Its own address is not loopback to it either.
    let said = stranger.inside(|| ping("10.99.0.1", PORT, ""));
    assert!(!said.starts_with("served"), "{said}");
    each_is(agent, "RT6001", "-DENIED Redis is running in protected mode", &said);
    drop(redis);
}
