//! Servers and clients that call the kernel through io_uring, and are refused as others are. Needs root.

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Agent, refused};
use tempfile::TempDir;

/// Where everything happens.
const PORT: u16 = 16_403;

/// The program that makes a call through io_uring.
struct Ring {
    directory: TempDir,
}

impl Ring {
    fn compiled() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/support/ring.c");
        let compiled = Command::new("cc").arg("-o").arg(directory.path().join("ring")).arg(source).status();
        assert!(compiled.expect("cc is installed").success(), "{source} does not compile");
        Self { directory }
    }

    fn program(&self) -> PathBuf {
        self.directory.path().join("ring")
    }

    /// Makes a call, confined like this: its process and what the call said.
    fn calls(&self, confined: &[&str], call: &str) -> (u32, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        command.arg("demo-actor").args(confined).arg("exec").arg(self.program());
        result(command.args([call, &PORT.to_string()]))
    }

    /// The same, free to.
    fn calls_freely(&self, call: &str) -> (u32, i32) {
        result(Command::new(self.program()).args([call, &PORT.to_string()]))
    }
}

/// What a call said in the end.
fn result(command: &mut Command) -> (u32, i32) {
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let pid = child.id();
    let said = child.wait_with_output().expect("it ends").stdout;
    let said = String::from_utf8(said).expect("it is text");
    let result = said.lines().last().and_then(|line| line.split(' ').nth(1)).and_then(|number| number.parse().ok());
    (pid, result.unwrap_or_else(|| panic!("it said {said:?}")))
}

/// An agent that watches the port.
fn agent() -> Agent {
    // Longer than anything here takes: what is not told by then never is.
    Agent::start(&["--no-aggregate", "--port", &PORT.to_string(), "--duration", "60s"])
}

/// The line that is told of this process in this part, which must be of this code and outcome.
fn told(agent: &mut Agent, code: &str, outcome: &str, process: &str, pid: u32) -> Value {
    let line = loop {
        let line = agent.next();
        if line[process]["pid"] == pid {
            break line;
        }
    };
    let seen = json!([line["cause"]["code"], line["outcome"], line[process]["comm"]]);
    assert_eq!(seen, json!([code, outcome, "ring"]), "{line}");
    line
}

#[test]
fn calls_through_io_uring_are_told_as_system_calls_are() {
    let ring = Ring::compiled();
    let mut agent = agent();

    let (pid, denied) = ring.calls(&["landlock", "bind"], "bind");
    assert_eq!(denied, -13);
    let line = told(&mut agent, "RT3010", "listen_failed", "server_process", pid);
    let lsm = json!({"module": "landlock", "operation": "bind", "object": format!("tcp 127.0.0.1:{PORT}")});
    assert_eq!(subset(&line["lsm"], &lsm), lsm, "{line}");

    let (pid, denied) = ring.calls(&["landlock", "connect"], "connect");
    assert_eq!(denied, -13);
    let line = told(&mut agent, "RT3012", "denied", "client_process", pid);
    assert_eq!(line["flow"]["server"]["port"], PORT, "{line}");

    // A server that was denied is why its clients are refused, however either asked.
    let line = agent.refusal_of(refused(PORT));
    assert_eq!((&line["cause"]["code"], &line["lsm"]["module"]), (&"RT1020".into(), &"landlock".into()), "{line}");
    let (pid, refused) = ring.calls_freely("connect");
    assert_eq!(refused, -111);
    let line = told(&mut agent, "RT1020", "refused", "client_process", pid);
    assert_eq!(line["lsm"]["operation"], "bind", "{line}");

    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).expect("the port is free");
    let (pid, taken) = ring.calls_freely("bind");
    assert_eq!(taken, -98);
    let line = told(&mut agent, "RT1011", "listen_failed", "server_process", pid);
    let holds = format!("(pid {}) holds 127.0.0.1:{PORT}", std::process::id());
    assert!(line["summary"].as_str().is_some_and(|said| said.ends_with(&holds)), "{line}");
    drop(holder);

    let mut server = Command::new(ring.program());
    let server = server.args(["accept", &PORT.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("it starts");
    let mut said = BufReader::new(server.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it is text");
    let waits = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).expect("the kernel connects it");
    server.stdin.take().expect("a pipe").write_all(b"\n").expect("it reads");
    said.read_line(&mut line).expect("it is text");
    assert_eq!(line, "listening\naccept -24\n");
    let line = told(&mut agent, "RT2003", "listen_failed", "server_process", server.id());
    assert_eq!(line["errno"], "EMFILE", "{line}");
    server.wait().expect("it ends");
    told(&mut agent, "RT2004", "reset", "server_process", server.id());
    drop(waits);

    // Nothing is told twice, by the system call that waited for it.
    agent.signal(Signal::TERM);
    let (rest, _) = agent.end();
    assert!(rest.iter().all(|line| line["schema"] != "redis-trace.refusal/1"), "{rest:?}");
}

/// What of a value another one has too.
fn subset(value: &Value, other: &Value) -> Value {
    let fields = other.as_object().expect("an object").keys().map(|key| (key.clone(), value[key].clone()));
    Value::Object(fields.collect())
}
