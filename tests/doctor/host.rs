//! What this host shows of a server: its unit, its configuration, its name, its socket, the rules on the way.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::thread;

use crate::NOWHERE;
use crate::support::{Ran, Server, command, doctor, ran, staged};

/// Files of a host that is otherwise this one: where they are mounted, and what they say.
pub(crate) struct Stage(tempfile::TempDir);

impl Stage {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        // systemd gives its units a /tmp of their own, so what is there is never taken for theirs.
        let home = tempfile::tempdir_in("/var/lib").expect("a directory");
        for (name, text) in files {
            let path = home.path().join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        }
        Self(home)
    }

    /// `doctor` where a script has mounted these files; the directory is its `$1`.
    pub(crate) fn doctor(&self, script: &str, target: &str) -> Ran {
        self.doctor_in(&["--mount"], script, target)
    }

    /// The same, in a network namespace of its own besides.
    pub(crate) fn doctor_apart(&self, script: &str, target: &str) -> Ran {
        self.doctor_in(&["--mount", "--net"], script, target)
    }

    fn doctor_in(&self, namespaces: &[&str], script: &str, target: &str) -> Ran {
        let mut stage = Command::new("unshare");
        stage.args(namespaces).args(["sh", "-ec", &format!("{script}\nexec \"$0\" doctor {target} -o json")]);
        stage.arg(env!("CARGO_BIN_EXE_redis-trace")).arg(self.0.path()).env_remove("REDISCLI_AUTH");
        ran(stage)
    }
}

/// systemd at its boundary: the directory that says it runs the host, and what `systemctl show` prints.
const SYSTEMD: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/system
    mount -t tmpfs none /usr/sbin && cp \"$1/systemctl\" /usr/sbin/systemctl";

/// What doctor says of an address where nobody listens, on a host whose systemd has one unit of Redis, not running, with this
/// configuration file, that ended like this: `ExecMainCode`, `ExecMainStatus` and `Result`.
fn with_unit(configuration: &str, ended: (u8, u8, &str)) -> Ran {
    let stage = Stage::new(&[("redis.conf", configuration)]);
    let file = stage.0.path().join("redis.conf");
    let (code, status, result) = ended;
    let shown = format!(
        "#!/bin/sh\ncat <<END\nId=redis-server.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\n\
         UnitFileState=disabled\nMainPID=0\nExecMainPID=4194303\nExecMainCode={code}\nExecMainStatus={status}\n\
         ExecMainStartTimestampMonotonic=5000000\nNRestarts=5\nResult={result}\nLimitNOFILESoft=65535\n\
         ExecStart={{ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server {} ; ignore_errors=no ; }}\n\n\
         Id=valkey.service\nLoadState=not-found\nActiveState=inactive\nEND\n",
        file.display()
    );
    fs::write(stage.0.path().join("systemctl"), shown).expect("a file");
    fs::set_permissions(stage.0.path().join("systemctl"), fs::Permissions::from_mode(0o755)).expect("ours");
    stage.doctor(SYSTEMD, NOWHERE)
}

#[test]
fn a_service_that_does_not_run_is_named_with_its_end_its_last_words_and_what_starts_it() {
    let ran = with_unit("port 19998\nbogus-directive yes\n", (1, 1, "exit-code"));
    // Its port is another one.
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT1001", "no-listener")), "{}", ran.out);
    let told = "redis-server.service is failed (exit code 1), disabled at boot, started again 5 times";
    assert_eq!(ran.step("service"), ("bad", told));
    let (mark, text) = ran.step("log");
    assert!(mark == "bad" && text.contains("Bad directive") && text.contains("redis.conf:2 bogus-directive"), "{text}");
    let fix = &ran.found["verdict"]["fix"];
    assert_eq!(
        (&fix[0]["line"], &fix[1]["command"]),
        (&2.into(), &"systemctl enable --now redis-server.service".into())
    );
    let summary = ran.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("redis-server.service is failed (exit code 1): Bad directive"), "{summary}");
}

#[test]
fn a_service_whose_port_it_is_is_the_cause_by_how_it_ended() {
    let (_, port) = NOWHERE.rsplit_once(':').expect("a port");
    let own = format!("port {port}\n");
    let faulty = format!("{own}bogus-directive yes\n");
    for (configuration, ended, code, words) in [
        (&own, (1, 0, "success"), "RT1002", "redis-server.service is failed (exit code 0)"),
        (&own, (2, 9, "signal"), "RT1003", "redis-server.service is failed (signal 9)"),
        (&own, (2, 9, "oom-kill"), "RT1004", "redis-server.service is failed (signal 9, oom-kill)"),
        (&own, (3, 11, "core-dump"), "RT1005", "redis-server.service is failed (signal 11, core-dump)"),
        (&faulty, (1, 1, "exit-code"), "RT1020", "redis-server.service is failed (exit code 1): Bad directive"),
    ] {
        let ran = with_unit(configuration, ended);
        let verdict = &ran.found["verdict"];
        assert_eq!((&verdict["code"], &verdict["confidence"]), (&code.into(), &"likely".into()), "{}", ran.out);
        assert!(verdict["summary"].as_str().is_some_and(|summary| summary.contains(words)), "{verdict}");
    }
}

#[test]
fn without_systemd_it_is_said_that_nobody_could_be_asked() {
    let stage = Stage::new(&[]);
    let ran = stage.doctor("mount -t tmpfs none /run", NOWHERE);
    assert_eq!(ran.step("service"), ("skipped", "systemd does not run this host"));
}

#[test]
fn the_lines_that_decide_are_named_and_what_was_changed_since_is_told() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("redis.conf");
    fs::write(&file, "# mine\nmaxclients 200\nrequirepass correct-horse\nprotected-mode yes\n").expect("a file");
    let server = Server::of_file(file.to_str().expect("text"), &[]);
    let with_password = || {
        let mut command = command(&server.target());
        command.env("REDISCLI_AUTH", "correct-horse");
        ran(command)
    };
    let (first, path) = (with_password(), file.display().to_string());
    assert_eq!(first.code, Some(0), "{}", first.out);
    let (mark, text) = first.step("config");
    assert_eq!((mark, text.contains("correct-horse")), ("good", false), "{text}");
    let lines = [":4 protected-mode yes", ":3 requirepass [redacted]", &format!("{path}:4"), ":2 maxclients 200"];
    assert!(lines.iter().all(|line| text.contains(line)), "{text}");
    let told = first.step("service").1;
    assert!(told.contains(&format!("(pid {})", server.child.id())) && told.contains("up "), "{told}");
    server.cli(&["-a", "correct-horse", "CONFIG", "SET", "maxclients", "100"]);
    let second = with_password();
    let changed = format!("{path}:2 says maxclients 200, and it is 100: an option, CONFIG SET or a limit counts more");
    let steps = second.found["steps"].as_array().expect("steps");
    assert!(steps.iter().any(|step| step["state"] == "warn" && step["text"] == changed), "{}", second.out);
}

#[test]
fn who_holds_the_connections_is_told_and_that_a_server_is_young() {
    let server = Server::start(&["--maxclients", "10"]);
    let clients: Vec<_> =
        (0..8).map(|_| std::net::TcpStream::connect(server.target()).expect("a connection")).collect();
    let ran = doctor(&server.target());
    let (mark, text) = ran.step("clients");
    assert_eq!(mark, "warn", "{text}");
    assert!(text.contains("of 10 (maxclients)") && text.contains("top 127.0.0.1 ("), "{text}");
    assert_eq!(ran.step("restart").0, "warn");
    assert!(ran.step("host").1.contains("MiB of memory are left"), "{}", ran.out);
    drop(clients);
}

#[test]
fn a_unix_socket_is_told_with_its_mode_and_its_server() {
    let home = tempfile::tempdir().expect("a directory");
    let path = home.path().join("redis.sock");
    let text = path.to_str().expect("text");
    let server = Server::start(&["--unixsocket", text, "--unixsocketperm", "700"]);
    let ran = doctor(&format!("unix:{text}"));
    assert_eq!(ran.step("file"), ("good", "a socket of user 0 and group 0, mode 700: who may write may connect"));
    assert!(ran.step("listener").1.contains(&format!("pid {}", server.child.id())), "{}", ran.out);
    let link = home.path().join("link");
    symlink("/etc/hostname", &link).expect("a link");
    let none = doctor(&format!("unix:{}", link.display()));
    assert_eq!((none.code, none.step("file").0), (Some(1), "bad"), "{}", none.out);
}

/// Answers every question for an address of IPv4 with this one; every other one with none.
fn name_server(at: &str, address: [u8; 4]) {
    let socket = UdpSocket::bind((at, 53)).expect("port 53 of this address is free");
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            // The question ends with its type and class.
            let mut answer = packet[..length].to_vec();
            let name = 12 + packet[12..length].iter().position(|byte| *byte == 0).expect("a name ends") + 1;
            answer.truncate(name + 4);
            let is_a = packet[name..name + 2] == [0, 1];
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
                answer.extend(address);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn where_the_hosts_file_and_dns_differ_both_are_told() {
    const NAMES: &str = "for file in hosts resolv.conf nsswitch.conf; do mount --bind \"$1/$file\" /etc/$file; done";
    let server = Server::start(&[]);
    name_server("127.84.9.53", server.ip.octets());
    let stage = |hosts: &str| {
        Stage::new(&[
            ("hosts", hosts),
            ("resolv.conf", "nameserver 127.84.9.53\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
        ])
    };
    let target = format!("cache.example:{}", crate::support::PORT);
    let by_dns = stage("127.0.0.1 localhost\n").doctor(NAMES, &target);
    assert_eq!(by_dns.code, Some(0), "{}", by_dns.out);
    let told = "DNS says so, the hosts file does not (nsswitch.conf: files dns)";
    assert_eq!(by_dns.step("resolver"), ("good", told));
    let by_file = stage("127.85.0.7 cache.example\n").doctor(NAMES, &target);
    assert_eq!(by_file.verdict().0, "RT1007", "{}", by_file.out);
    let (mark, text) = by_file.step("resolver");
    let differ = format!("the hosts file says 127.85.0.7, DNS says {}: the hosts file is used", server.ip);
    assert!(mark == "warn" && text.starts_with(&differ), "{text}");
}

#[test]
fn the_rules_and_the_route_of_this_very_connection_are_told() {
    const SERVED: &str = "ip link set lo up && nft add table inet f &&
        nft add chain inet f in '{ type filter hook input priority 0; }' &&
        nft add rule inet f in tcp dport 7000 reject || exit 99
        redis-server --port $PORT --save '' >/dev/null 2>&1 </dev/null &
        server=$!
        for _ in $(seq 200); do [ -n \"$(ss -Hltn sport = :$PORT)\" ] && break; sleep 0.1; done
        \"$0\" doctor 127.0.0.1:$PORT -o json
        code=$?
        kill $server
        exit $code";
    let passes = staged(&format!("PORT=7001\n{SERVED}"));
    assert_eq!(passes.code, Some(0), "{}", passes.out);
    let told = "no rule refuses it on its way (output, postrouting, prerouting, input)";
    assert_eq!(passes.step("firewall"), ("good", told));
    assert_eq!(passes.step("route"), ("good", "over lo from 127.0.0.1"));
    let rejected = staged(&format!("PORT=7000\n{SERVED}"));
    assert_eq!((rejected.code, rejected.verdict().0), (Some(1), "RT3002"), "{}", rejected.out);
    let (mark, text) = rejected.step("firewall");
    assert!(mark == "bad" && text.contains("`tcp dport 7000 reject` (inet f in handle 2) refuses it"), "{text}");
}
