//! An agent under test: started, heard and ended; every wait is for something that it does.

use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, socket};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running `redis-trace watch`.
pub(crate) struct Agent {
    /// Its process.
    pub(crate) child: Child,
    /// What it tells.
    pub(crate) out: Option<BufReader<ChildStdout>>,
    /// What it says on the side; kept open, for whoever closes it makes the agent's last words an error.
    pub(crate) err: BufReader<ChildStderr>,
}

impl Agent {
    /// Starts one that tells JSON, and waits until it watches.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::started(Command::new(env!("CARGO_BIN_EXE_redis-trace")).args(["watch", "-o", "json"]).args(arguments))
    }

    /// Starts this one, and waits until it watches.
    pub(crate) fn started(command: &mut Command) -> Self {
        Self::heard(command).0
    }

    /// The same, and what it says until then.
    pub(crate) fn heard(command: &mut Command) -> (Self, String) {
        assert!(rustix::process::geteuid().is_root(), "probes are loaded: run the tests as root");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the agent starts");
        let mut err = BufReader::new(child.stderr.take().expect("a pipe"));
        let out = child.stdout.take().map(BufReader::new);
        let mut said = String::new();
        while !said.lines().last().is_some_and(|line| line.starts_with("watching")) {
            assert_ne!(err.read_line(&mut said).expect("its words are text"), 0, "the agent did not attach: {said}");
        }
        (Self { child, out, err }, said)
    }

    /// The next line that it tells, be it a first word only.
    pub(crate) fn next_word(&mut self) -> Value {
        let mut line = String::new();
        self.out.as_mut().expect("it is read").read_line(&mut line).expect("a line is text");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The next line that it tells: of a refusal the last word.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            let line = self.next_word();
            if line["partial"] != true {
                return line;
            }
        }
    }

    /// Waits until it tells of this client's refusal.
    pub(crate) fn refusal_of(&mut self, client: SocketAddr) -> Value {
        loop {
            let line = self.next();
            if line["flow"]["client"]["port"] == client.port() {
                return line;
            }
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it lives");
    }

    /// Everything else that it tells, of each refusal the last word, and how it ends.
    pub(crate) fn end(mut self) -> (Vec<Value>, ExitStatus) {
        let mut rest = String::new();
        self.out.as_mut().expect("it is read").read_to_string(&mut rest).expect("its lines are text");
        let mut said = String::new();
        self.err.read_to_string(&mut said).expect("its words are text");
        // Shown when the test fails.
        eprint!("{said}");
        let lines = rest.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
        let lines = lines.filter(|line: &Value| line["partial"] != true).collect();
        (lines, self.child.wait().expect("it ends"))
    }
}

/// Dials a port of this host that refuses; the client's address.
pub(crate) fn refused(port: u16) -> SocketAddr {
    refused_at(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// Dials an address of this host's loopback that refuses; the client's address.
pub(crate) fn refused_at(server: SocketAddr) -> SocketAddr {
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&client, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    let address = getsockname(&client).expect("a name").try_into().expect("an internet address");
    assert_eq!(connect(&client, &server), Err(Errno::CONNREFUSED));
    address
}
