//! `doctor` run as a program, and real servers for it to examine.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "executable.rs"]
mod executable;

/// How long a server may take to start.
pub(crate) const STARTS: Duration = Duration::from_secs(20);
/// A user without rights.
pub(crate) const NOBODY: u32 = 65_534;

/// What a run came to.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) found: Value,
    pub(crate) out: String,
}

impl Ran {
    pub(crate) fn verdict(&self) -> (&str, &str) {
        let verdict = &self.found["verdict"];
        (verdict["code"].as_str().unwrap_or("none"), verdict["name"].as_str().expect("a name"))
    }

    pub(crate) fn step(&self, name: &str) -> (&str, &str) {
        let steps = self.found["steps"].as_array().expect("steps");
        let step =
            steps.iter().find(|step| step["name"] == name).unwrap_or_else(|| panic!("no step {name}: {steps:#?}"));
        (step["state"].as_str().expect("a state"), step["text"].as_str().expect("a text"))
    }
}

pub(crate) fn ran(mut command: Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("doctor starts");
    let out = String::from_utf8(output.stdout).expect("JSON is text");
    let errors = String::from_utf8_lossy(&output.stderr);
    let found = serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out:?} {errors}"));
    Ran { code: output.status.code(), found, out }
}

pub(crate) fn command(target: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    command.args(["doctor", target, "-o", "json"]).env_remove("REDISCLI_AUTH");
    command
}

pub(crate) fn doctor(target: &str) -> Ran {
    ran(command(target))
}

/// What a script in a network namespace of its own came to; the program is its `$0`.
pub(crate) fn staged(script: &str) -> Ran {
    let mut stage = Command::new("unshare");
    stage.args(["--net", "sh", "-c", script, env!("CARGO_BIN_EXE_redis-trace")]).env_remove("REDISCLI_AUTH");
    ran(stage)
}

/// The program where everybody may run it.
pub(crate) fn public_copy() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("ours");
    let copy = directory.path().join("redis-trace");
    executable::copy(env!("CARGO_BIN_EXE_redis-trace"), &copy);
    (directory, copy)
}

/// Waits until this is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < STARTS, "it never came to this: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Where servers listen, each on an address of its own.
pub(crate) const PORT: u16 = 17_979;
static SERVERS: AtomicU8 = AtomicU8::new(1);

/// A real redis-server, killed in the end.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) ip: Ipv4Addr,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::at(Ipv4Addr::new(127, 84, 0, SERVERS.fetch_add(1, Ordering::Relaxed)), options)
    }

    /// One with a configuration file.
    pub(crate) fn of_file(file: &str, options: &[&str]) -> Self {
        let ip = Ipv4Addr::new(127, 84, 0, SERVERS.fetch_add(1, Ordering::Relaxed));
        Self::spawn(ip, &[&[file], options].concat())
    }

    pub(crate) fn at(ip: Ipv4Addr, options: &[&str]) -> Self {
        Self::spawn(ip, options)
    }

    fn spawn(ip: Ipv4Addr, options: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        let (file, options) = options.split_at(options.iter().take_while(|option| !option.starts_with('-')).count());
        command.args(file).args(["--port", &PORT.to_string(), "--bind", &ip.to_string(), "--save", ""]).args(options);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self { child: child.expect("redis-server starts"), ip };
        until("redis-server listens", || TcpStream::connect((ip, PORT)).is_ok());
        server
    }

    /// What redis-cli prints of its answer.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let (ip, port) = (self.ip.to_string(), PORT.to_string());
        let output = Command::new("redis-cli").args(["-h", &ip, "-p", &port]).args(words).output().expect("redis-cli");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(crate) fn target(&self) -> String {
        format!("{}:{PORT}", self.ip)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that does this with its first client that says anything, or says this at once.
pub(crate) fn stranger(act: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || listener.incoming().flatten().for_each(&act));
    address
}
