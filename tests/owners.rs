//! ufw and firewalld themselves, not rules in their shape: each refuses, is named, and lets the connection through once it is
//! told what the fix says.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::stranger::Stranger;
use crate::support::Agent;

#[path = "support/stranger.rs"]
mod stranger;
#[expect(dead_code, reason = "its dials are of this host, and here another host is dialled")]
mod support;

/// Where the firewall's host is for its client.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);

/// The tests take turns: each dials the same ports.
static ALONE: Mutex<()> = Mutex::new(());

/// So long a client waits that is not answered.
const PATIENCE: Duration = Duration::from_millis(200);

/// ufw in files of its own.
const UFW: &str = "
cp -a /etc/ufw /mnt/ufw && mount --bind /mnt/ufw /etc/ufw || exit 1
cp -a /etc/default/ufw /mnt/default && mount --bind /mnt/default /etc/default/ufw || exit 1
ufw deny 6511/tcp && ufw reject 6512/tcp && ufw --force enable";

/// firewalld in files of its own, and a bus to speak with it.
const FIREWALLD: &str = "
cp -a /etc/firewalld /mnt && mount --bind /mnt/firewalld /etc/firewalld || exit 1
mount -t tmpfs none /run && mkdir /run/dbus /run/firewalld || exit 1
dbus-daemon --config-file=/usr/share/dbus-1/system.conf --fork || exit 1
firewalld --nofork --nopid >/run/said 2>&1 &
until firewall-cmd --state; do kill -0 $! || { cat /run/said; exit 1; }; done
firewall-cmd --add-rich-rule='rule family=ipv4 port port=6511 protocol=tcp drop' &&
firewall-cmd --add-rich-rule='rule family=ipv4 port port=6512 protocol=tcp reject type=tcp-reset'";

/// A host with a firewall: namespaces of network, mounts and processes, which end with it.
struct Firewalled {
    child: Child,
    client: Stranger,
}

impl Firewalled {
    /// Makes it, joins a client to it by a wire, and waits until the firewall stands.
    fn by(script: &str) -> Self {
        // What it says on the way is for the reader of a test that failed.
        let script = format!(
            "mount --make-rprivate / && mount -t tmpfs none /mnt && ip link set lo up || exit 1\n{{ {script}\n}} >&2 || exit 1\necho there\nexec cat"
        );
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs as root");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("it says so");
        assert_eq!(line, "there\n", "the firewall stands");
        let host = Self { child, client: Stranger::new() };
        let holder = host.child.id().to_string();
        host.client.inside(|| {
            ip(&["link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", &holder]);
            ip(&["addr", "add", "10.79.0.1/24", "dev", "wire"]);
            ip(&["link", "set", "wire", "up"]);
        });
        host.run("ip addr add 10.79.0.2/24 dev wire && ip link set wire up");
        // What is sent before the kernel has seen that a wire has two ends is lost.
        let wait = "until ip -brief link show wire | grep -q ' UP '; do :; done";
        host.run(wait);
        let waited = host.client.inside(|| Command::new("sh").args(["-c", wait]).status());
        assert!(waited.expect("a shell").success());
        host
    }

    /// Runs a command there.
    fn run(&self, command: &str) {
        let target = self.child.id().to_string();
        let mut nsenter = Command::new("nsenter");
        let status = nsenter.args(["--net", "--mount", "--target", &target, "--", "sh", "-c", command]).status();
        assert!(status.expect("nsenter runs as root").success(), "{command}");
    }

    /// What is told of a dial of a port there.
    fn told(&self, agent: &mut Agent, port: u16) -> Value {
        let dial = || drop(TcpStream::connect_timeout(&SocketAddr::from((SERVER, port)), PATIENCE));
        self.client.inside(dial);
        loop {
            let line = agent.next();
            if line["flow"]["server"]["port"] == port {
                return line;
            }
        }
    }

    /// Does what the fix of a refusal says: where it says so, with the files and the bus of that place.
    fn mend(&self, told: &Value) {
        let fix = told["fix"][0]["command"].as_str().expect("a command");
        let (_, command) = fix.split_once("/ns/net ").expect("it is for another namespace");
        self.run(command);
    }
}

impl Drop for Firewalled {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().expect("ip is installed").success(), "ip {arguments:?}");
}

/// What each firewall does by default, to the port that is dropped and to the port that is rejected; then the fix is done.
fn judge(owner: &str, script: &str, by_default: &str, rejected: &str) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let host = Firewalled::by(script);
    let ports = ["--port", "6510", "--port", "6511", "--port", "6512"];
    let mut agent = Agent::start(&[&ports[..], &["--no-aggregate"]].concat());
    for (port, code) in [(6510, by_default), (6511, "RT3003"), (6512, rejected)] {
        let line = host.told(&mut agent, port);
        assert_eq!((&line["cause"]["code"], &line["firewall"]["owner"]), (&code.into(), &owner.into()), "{line}");
        if port != 6510 {
            assert!(line["firewall"]["rule"].as_str().is_some_and(|rule| rule.contains(&port.to_string())), "{line}");
            continue;
        }
        host.mend(&line);
        let line = host.told(&mut agent, port);
        assert_eq!(line["cause"]["code"], "RT1001", "the fix lets it through: {line}");
    }
    agent.signal(Signal::INT);
    assert!(agent.end().1.success());
}

#[test]
fn ufw_is_named_and_its_fix_lets_the_connection_through() {
    judge("ufw", UFW, "RT3003", "RT3001");
}

#[test]
fn firewalld_is_named_and_its_fix_lets_the_connection_through() {
    judge("firewalld", FIREWALLD, "RT3002", "RT3001");
}
