//! What servers say, with a real redis-server: a password is in nothing that is told or recorded, and whoever is served is
//! not refused. Needs root.

#[path = "support/redis.rs"]
mod redis;
#[expect(dead_code, reason = "what is told is read when the agent has ended")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use redis::Redis;
use rustix::process::Signal;
use serde_json::Value;
use support::Agent;

/// A flood of one test is a flood on the host of the other, where what comes beside it from the same client is only counted.
static ALONE: Mutex<()> = Mutex::new(());

/// What must appear nowhere.
const CANARY: &str = "canary-77b1e2";

/// What a server answers to this, until it has nothing more to say.
fn answer(server: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(server).expect("it is taken");
    stream.write_all(request.as_bytes()).expect("it is sent");
    stream.shutdown(std::net::Shutdown::Write).expect("that was all");
    let mut said = Vec::new();
    // Whoever is turned away may be reset.
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// The cause of a line.
fn code(line: &Value) -> &str {
    line["cause"]["code"].as_str().unwrap_or_default()
}

#[test]
fn a_password_is_in_nothing_that_is_told_or_recorded() {
    const PORT: u16 = 16_391;
    const METRICS: u16 = 16_394;
    let _alone = ALONE.lock();
    let directory = tempfile::tempdir().expect("a directory");
    let configuration = directory.path().join("redis.conf");
    let text = format!("requirepass {CANARY}\nuser bob on >{CANARY} ~* +ping\nbind 127.0.0.1\n");
    std::fs::write(&configuration, text).expect("a file");
    let recording = directory.path().join("canary.rec");
    let recording = recording.to_str().expect("text");
    let port = PORT.to_string();
    let program = env!("CARGO_BIN_EXE_redis-trace");
    let agents = [
        Agent::start(&["--port", &port, "--metrics", &format!("127.0.0.1:{METRICS}")]),
        Agent::started(Command::new(program).args(["watch", "--port", &port])),
        Agent::started(Command::new(program).args(["record", recording, "--port", &port])),
    ];
    let path = configuration.to_str().expect("text").to_owned();
    // Its command line has the password too.
    let redis = Redis::start(&[&path, "--port", &port, "--save", "", "--masterauth", CANARY]);
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let asked = [
        "PING\r\n".to_owned(),
        format!("AUTH wrong-{CANARY}\r\n"),
        format!("AUTH bob wrong-{CANARY}\r\n"),
        format!("HELLO 3 AUTH bob wrong-{CANARY}\r\n"),
        format!("*2\r\n$4\r\nAUTH\r\n$19\r\nwrong-{CANARY}\r\n"),
        format!("AUTH bob {CANARY}\r\nSET {CANARY} {CANARY}\r\n"),
        format!("AUTH {CANARY}\r\nPING\r\n"),
        format!("AUTH {CANARY}\r\nCONFIG SET requirepass {CANARY}\r\n"),
        format!("{CANARY} {CANARY}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {CANARY}\r\n\r\n"),
    ];
    for request in &asked {
        answer(server, request);
    }
    let told = Command::new("redis-cli").args(["-p", &port, "-a", CANARY, "ping"]).output().expect("redis-cli");
    assert_eq!(told.stdout, b"PONG\n");
    Command::new("redis-cli")
        .args(["-p", &port, "-a", &format!("wrong-{CANARY}"), "ping"])
        .output()
        .expect("redis-cli");
    drop(redis);
    let scrape = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let metrics = answer(SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS)), scrape);
    assert!(metrics.contains("redistrace_"), "{metrics}");
    let [json, text, record] = agents.map(|agent| {
        agent.signal(Signal::INT);
        said(agent)
    });
    let codes: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let has = |wanted: &str| codes.iter().any(|line| code(line) == wanted);
    if redis_trace::kernel::keeps_last_words() {
        assert!(has("RT6003") && has("RT6004"), "it was not heard what the server said: {json}");
    }
    let recorded = std::fs::read(recording).expect("a recording");
    assert!(recorded.len() > 1_000, "nothing was recorded");
    let recorded = String::from_utf8_lossy(&recorded).into_owned();
    for (name, text) in [
        ("the JSON", json),
        ("the text", text),
        ("what record says", record),
        ("the recording", recorded),
        ("the metrics", metrics),
    ] {
        assert!(!text.contains(CANARY), "{name} has the password: {text}");
    }
}

/// All that an agent says until it ends.
fn said(mut agent: Agent) -> String {
    let mut all = String::new();
    if let Some(mut out) = agent.out.take() {
        out.read_to_string(&mut all).expect("its lines are text");
    }
    let mut side = String::new();
    agent.err.read_to_string(&mut side).expect("its words are text");
    assert!(!side.contains(CANARY), "its words on the side have the password: {side}");
    agent.child.wait().expect("it ends");
    all
}

/// As many connections as are made.
const CONNECTIONS: u16 = 25_000;
/// By so many threads.
const THREADS: u8 = 4;

/// Values that look like refusals, and like a Sentinel's answer.
const VALUES: [(&str, &str); 6] = [
    ("a", "-NOAUTH Authentication required."),
    ("b", "-ERR max number of clients reached"),
    ("c", "-DENIED Redis is running in protected mode"),
    ("d", "-MOVED 12539 127.0.0.1:1"),
    ("ip", "127.0.0.1"),
    ("port", "6399"),
];

/// One connection after the other from an address of this thread's own: a pipeline, errors in it, and every way to part.
fn be_served(server: SocketAddr) {
    let pipeline: &[u8] = b"GET a\r\nGET b\r\nGET c\r\nINCR a\r\nNOSUCH\r\nECHO -LOADING\r\nGET d\r\nMGET ip port\r\n";
    let requests: [&[u8]; 4] = [pipeline, b"MGET ip port\r\n", b"GET a\r\n", b"INCR a\r\n"];
    for number in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(server).expect("it is taken");
        stream.write_all(requests[usize::from(number % 4)]).expect("it is sent");
        // The client closes first; the server does, for QUIT; the client says that it will send no more.
        match number / 4 % 3 {
            0 => {
                assert!(stream.read(&mut [0; 512]).expect("it is answered") > 0);
                continue;
            }
            1 => stream.write_all(b"QUIT\r\n").expect("it is sent"),
            _ => stream.shutdown(std::net::Shutdown::Write).expect("that was all"),
        }
        let mut said = Vec::new();
        assert!(stream.read_to_end(&mut said).expect("it is answered") > 0);
    }
}

#[test]
fn a_hundred_thousand_connections_that_are_served_are_no_refusals() {
    const PORT: u16 = 16_392;
    let _alone = ALONE.lock();
    let port = PORT.to_string();
    let agent = Agent::start(&["--port", &port, "--no-aggregate"]);
    let _redis = Redis::start(&["--port", &port, "--save", "", "--bind", "0.0.0.0"]);
    let server = |host: u8| SocketAddr::from(([127, 0, 0, host], PORT));
    for (key, value) in VALUES {
        let (key_length, length) = (key.len(), value.len());
        let set = format!("*3\r\n$3\r\nSET\r\n${key_length}\r\n{key}\r\n${length}\r\n{value}\r\n");
        assert_eq!(answer(server(1), &set), "+OK\r\n");
    }
    let threads: Vec<_> = (1..=THREADS).map(|host| thread::spawn(move || be_served(server(host)))).collect();
    for thread in threads {
        thread.join().expect("it is served");
    }
    agent.signal(Signal::INT);
    let (lines, _) = agent.end();
    let refusals: Vec<&Value> = lines.iter().filter(|line| line["schema"] == "redis-trace.refusal/1").collect();
    assert!(refusals.is_empty(), "{refusals:?}");
}
