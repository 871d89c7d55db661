//! Where the limit of a server's open files comes from when systemd set it. Needs root.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::Agent;

#[expect(dead_code, reason = "nobody is refused here, and the agent is started by a command of this test's own")]
mod support;

/// The cgroup that systemd would make for a service; removed when this value is gone.
struct Unit(PathBuf);

impl Unit {
    fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mut unified = fields.filter(|fields| fields[2] == "cgroup2").map(|fields| PathBuf::from(fields[1]));
        let unit = Self(unified.next().expect("the unified hierarchy").join(name));
        fs::create_dir(&unit.0).expect("a cgroup");
        unit
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A server in a unit that may open no more files and says so by its next accept; ended when this value is gone.
struct Server {
    child: Child,
    /// Ends after it: a cgroup is removed when it is empty.
    _unit: Unit,
}

impl Server {
    fn start(unit: Unit, address: SocketAddr) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        server.args(["demo-actor", "out-of-files", &address.to_string(), "3"]);
        let mut child = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut said).expect("text");
        assert_eq!(said, "listening\n");
        fs::write(unit.0.join("cgroup.procs"), child.id().to_string()).expect("it is moved");
        Self { child, _unit: unit }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// systemd at its boundary: what `systemctl show` prints.
const SYSTEMD: &str = "mount -t tmpfs none /usr/sbin && cp \"$1/systemctl\" /usr/sbin/systemctl && shift";

#[test]
fn the_limit_of_open_files_that_a_unit_sets_is_called_by_its_name() {
    let name = format!("redis-trace-test-{}.service", std::process::id());
    let home = tempfile::tempdir().expect("a directory");
    let systemctl = home.path().join("systemctl");
    fs::write(
        &systemctl,
        format!("#!/bin/sh\ntest \"$*\" = \"show --value --property=LimitNOFILESoft -- {name}\" && echo 40\n"),
    )
    .expect("a file");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("ours");
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let server = Server::start(Unit::new(&name), address);

    let mut agent = Command::new("unshare");
    agent.args(["--mount", "sh", "-ec", &format!("{SYSTEMD}; exec \"$0\" watch -o json \"$@\"")]);
    agent.arg(env!("CARGO_BIN_EXE_redis-trace")).arg(home.path()).args(["--port", &address.port().to_string()]);
    let mut agent = Agent::started(&mut agent);
    let client = TcpStream::connect(address).expect("the kernel answers");
    let told = agent.next();
    assert_eq!((&told["cause"]["code"], &told["errno"]), (&"RT2003".into(), &"EMFILE".into()), "{told}");
    let files = &told["files"];
    assert_eq!(
        (&files["limit"], &files["limited_by"]),
        (&40.into(), &format!("LimitNOFILE= of {name}").into()),
        "{told}"
    );
    assert_eq!(told["server_process"]["pid"], server.child.id(), "{told}");
    let fix = told["fix"].as_array().expect("fixes");
    assert!(fix.iter().any(|fix| fix["command"] == format!("systemctl edit {name}")), "{told}");
    agent.signal(Signal::INT);
    assert!(agent.end().1.success());
    drop(client);
}
