//! What confines a server: a container, a security module, the number of its files; and what is told of a dial in a container.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::NOWHERE;
use crate::host::Stage;
use crate::support::{Server, doctor, staged};

/// A cgroup of the unified hierarchy, as a container's runtime makes one.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
        let unified = mounts.lines().find_map(|line| line.split(' ').nth(1).filter(|_| line.contains(" cgroup2 ")));
        let place = PathBuf::from(unified.expect("a unified hierarchy")).join(name);
        fs::create_dir_all(&place).expect("a cgroup");
        Self(place)
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("it is moved");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).expect("the cgroup is empty");
    }
}

#[test]
fn a_server_in_a_container_is_told_with_its_container() {
    let id = "c0ffee".repeat(11)[..64].to_owned();
    let cgroup = Cgroup::new(&format!("docker-{id}.scope"));
    let server = Server::start(&[]);
    cgroup.take(server.child.id());
    let ran = doctor(&server.target());
    assert!(ran.step("service").1.ends_with(&format!("; container {id} (docker)")), "{}", ran.out);
    drop(server);
}

#[test]
fn in_a_container_localhost_is_the_container() {
    let stage = Stage::new(&[]);
    let ran = stage.doctor("mount -t tmpfs none /run && touch /run/.containerenv", NOWHERE);
    let told = "in a container this is the container itself: a server beside it has another address";
    assert_eq!(ran.step("container"), ("warn", told));
}

/// The kernel at its boundary: what SELinux or AppArmor shows of itself and of a process, and the log that denials go to.
const CONFINED: &str = "mount -t tmpfs none /sys/fs && mkdir /sys/fs/selinux && cp \"$1/enforce\" /sys/fs/selinux/
    mount -t tmpfs none /var/log && mkdir /var/log/audit && cp \"$1/audit.log\" /var/log/audit/
    mount --bind \"$1/label\" /proc/$SERVER/attr/current";

#[test]
fn selinux_is_told_with_the_servers_context_and_what_it_denied_it() {
    let server = Server::start(&[]);
    let denied = "type=AVC msg=audit(1.2:3): avc:  denied  { name_bind } for  pid=7 comm=\"redis-server\" src=6380\n";
    let script = CONFINED.replace("$SERVER", &server.child.id().to_string());
    let label = ("label", "system_u:system_r:redis_t:s0\n");
    let enforcing = Stage::new(&[("enforce", "1"), ("audit.log", denied), label]);
    let ran = enforcing.doctor(&script, &server.target());
    assert_eq!(ran.step("confined").1, "SELinux enforces; it runs as system_u:system_r:redis_t:s0");
    let (mark, text) = ran.step("denials");
    assert!(mark == "warn" && text.starts_with("1 concern it; the last: ") && text.contains("name_bind"), "{text}");
    let permissive = Stage::new(&[("enforce", "0"), ("audit.log", ""), label]);
    let ran = permissive.doctor(&script, &server.target());
    assert!(ran.step("confined").1.starts_with("SELinux only tells (permissive)"), "{}", ran.out);
    assert_eq!(ran.step("denials"), ("good", "the logs show none that concern it"));
}

#[test]
fn apparmor_is_told_with_the_servers_profile() {
    const APPARMOR: &str = "mount -t tmpfs none /sys/module && mkdir -p /sys/module/apparmor/parameters
        cp \"$1/enabled\" /sys/module/apparmor/parameters/ && mount --bind \"$1/label\" /proc/$SERVER/attr/current";
    let server = Server::start(&[]);
    let script = APPARMOR.replace("$SERVER", &server.child.id().to_string());
    let stage = Stage::new(&[("enabled", "Y\n"), ("label", "/usr/bin/redis-server (enforce)\n")]);
    let ran = stage.doctor(&script, &server.target());
    assert_eq!(ran.step("confined").1, "AppArmor confines it: /usr/bin/redis-server (enforce)");
    let without = doctor(&server.target());
    assert_eq!(without.step("confined"), ("skipped", "neither SELinux nor AppArmor runs on this host"));
}

#[test]
fn fewer_files_than_clients_is_a_warning() {
    const FEW: &str = "ip link set lo up || exit 99
        redis-server --port 7001 --save '' --maxclients 500 >/dev/null 2>&1 </dev/null &
        server=$!
        for _ in $(seq 200); do redis-cli -p 7001 ping >/dev/null 2>&1 && break; sleep 0.1; done
        prlimit --pid $server --nofile=100
        \"$0\" doctor 127.0.0.1:7001 -o json
        code=$?
        kill $server
        exit $code";
    let ran = staged(FEW);
    assert_eq!(ran.step("files"), ("warn", "100 files may be open, 500 clients and 32 more need files"));
}

#[test]
fn what_limits_conf_gives_is_told_and_that_no_unit_hears_of_it() {
    let options = ["--maxclients", "500"];
    let (server, stage) =
        (Server::start(&options), Stage::new(&[("limits", "* soft nofile 200\nroot - nofile 65536\n")]));
    let pid = server.child.id();
    let few = Command::new("prlimit").args([&format!("--pid={pid}"), "--nofile=100"]).status();
    assert!(few.expect("prlimit runs").success());
    let given = "mount --bind \"$1/limits\" /etc/security/limits.conf";
    let least =
        "100 files may be open, 500 clients and 32 more need files; /etc/security/limits.conf:2 gives root 65536";
    let by_hand = stage.doctor(given, &server.target());
    assert_eq!(by_hand.step("files"), ("warn", format!("{least}, from its next login on").as_str()));
    let unit = Cgroup::new("redis-trace-limits.service");
    unit.take(pid);
    let of_unit = stage.doctor(given, &server.target());
    assert_eq!(of_unit.step("files"), ("warn", format!("{least}, which reaches no unit").as_str()));
    drop(server);
}

#[test]
fn a_rule_that_is_loaded_from_a_file_is_told_from_one_that_is_not() {
    const REJECTED: &str = "ip link set lo up && nft add table inet f &&
        nft add chain inet f in '{ type filter hook input priority 0; }' &&
        nft add rule inet f in tcp dport 7000 reject && mount --bind \"$1/$FILE\" /etc/nftables.conf";
    let file =
        "table inet f {\n\tchain in {\n\t\ttype filter hook input priority 0;\n\t\ttcp dport  7000 reject\n\t}\n}\n";
    let stage = Stage::new(&[("with", file), ("without", "flush ruleset\n# tcp dport 7000 reject\n")]);
    let kept = stage.doctor_apart(&REJECTED.replace("$FILE", "with"), "127.0.0.1:7000");
    let (mark, text) = kept.step("firewall");
    assert!(mark == "bad" && text.ends_with("; /etc/nftables.conf has it: it is there after a restart"), "{text}");
    let not = stage.doctor_apart(&REJECTED.replace("$FILE", "without"), "127.0.0.1:7000");
    let text = not.step("firewall").1;
    assert!(text.ends_with("; no file of nftables has it word for word: it may be temporary"), "{text}");
}

#[test]
fn an_interface_without_carrier_and_a_neighbour_that_is_silent_are_told() {
    const WIRE: &str = "ip link set lo up && ip link add away type veth peer name void &&
        ip address add 10.98.0.1/24 dev away && ip link set away up && $MORE || exit 99
        exec \"$0\" doctor 10.98.0.9 -o json";
    let down = staged(&WIRE.replace("$MORE", "ip neighbour add 10.98.0.9 lladdr 02:00:00:00:00:09 dev away"));
    let (mark, text) = down.step("route");
    assert!(mark != "good" && text.contains("over away"), "{text}");
    let silent = staged(&WIRE.replace("$MORE", "ip link set void up"));
    let told = ("bad", "over away from 10.98.0.1: 10.98.0.9 does not answer on its link");
    assert_eq!(silent.step("route"), told, "{}", silent.out);
    assert_eq!((silent.code, silent.verdict().0), (Some(1), "RT3030"), "{}", silent.out);
}
