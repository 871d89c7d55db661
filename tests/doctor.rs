//! `doctor` against real servers: what it says of those that serve, and of every one that does not. Needs root.

#[path = "doctor/home.rs"]
mod home;
#[path = "doctor/host.rs"]
mod host;
#[path = "doctor/leads.rs"]
mod leads;
#[path = "doctor/same.rs"]
mod same;
#[path = "support/doctor.rs"]
mod support;
#[path = "doctor/tls.rs"]
mod tls;
#[path = "doctor/way.rs"]
mod way;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Instant;

use support::{NOBODY, PORT, STARTS, Server, command, doctor, public_copy, ran, staged, stranger};

/// Where nobody listens.
const NOWHERE: &str = "127.85.0.1:19999";

#[test]
fn a_server_that_serves_is_looked_through_and_nothing_is_wrong() {
    let server = Server::start(&["--tcp-backlog", "64"]);
    let ran = doctor(&server.target());
    assert_eq!((ran.code, ran.verdict()), (Some(0), ("none", "nothing-wrong")), "{}", ran.out);
    assert_eq!(ran.step("reply").0, "good");
    assert!(ran.step("server").1.contains("Redis "), "{}", ran.out);
    assert!(ran.step("listener").1.contains(&format!("pid {}", server.child.id())), "{}", ran.out);
    assert_eq!(ran.step("backlog"), ("good", "0 of 64 wait to be accepted"));
    assert_eq!(ran.found["schema"], "redis-trace.doctor/1");
}

#[test]
fn what_the_system_cut_off_the_queue_is_told() {
    let allowed: u32 =
        fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit").trim().parse().expect("a number");
    let server = Server::start(&["--tcp-backlog", &(allowed + 1).to_string()]);
    let ran = doctor(&server.target());
    let (state, text) = ran.step("backlog");
    assert_eq!(state, "warn");
    assert!(text.contains(&format!("net.core.somaxconn cuts the {}", allowed + 1)), "{text}");
    assert_eq!(ran.code, Some(0));
}

#[test]
fn where_nobody_listens_the_verdict_is_that_of_watch() {
    let ran = doctor(NOWHERE);
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT1001", "no-listener")), "{}", ran.out);
    assert_eq!(ran.step("tracer").0, "good", "{}", ran.out);
    let refusal = &ran.found["refusals"][0];
    assert_eq!((&refusal["schema"], &refusal["side"]), (&"redis-trace.refusal/1".into(), &"both".into()), "{refusal}");
}

#[test]
fn a_name_with_an_address_that_answers_is_forgiven_the_other() {
    let _server = Server::at(Ipv4Addr::LOCALHOST, &[]);
    let hosts = fs::read_to_string("/etc/hosts").expect("names");
    let has_both = hosts.lines().any(|line| line.starts_with("::1") && line.contains("localhost"));
    let ran = doctor(&format!("localhost:{PORT}"));
    assert_eq!((ran.code, ran.verdict().1), (Some(0), "nothing-wrong"), "{}", ran.out);
    if has_both {
        assert_eq!(ran.found["refusals"][0]["benign"], true, "{}", ran.out);
    }
}

#[test]
fn without_privilege_the_verdict_is_the_same() {
    let (_directory, program) = public_copy();
    let mut command = Command::new(program);
    command.args(["doctor", NOWHERE, "-o", "json"]).uid(NOBODY).gid(NOBODY);
    let ran = ran(command);
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT1001", "no-listener")), "{}", ran.out);
    assert_eq!(ran.step("tracer").0, "unknown");
}

#[test]
fn a_password_that_is_missing_is_told_from_a_wrong_one_and_neither_is_shown() {
    let server = Server::start(&["--requirepass", "correct-horse"]);
    let with = |password: &str| {
        let mut command = command(&server.target());
        command.env("REDISCLI_AUTH", password);
        ran(command)
    };
    let missing = doctor(&server.target());
    assert_eq!((missing.code, missing.verdict()), (Some(1), ("RT6003", "auth-required")), "{}", missing.out);
    let wrong = with("battery-staple");
    assert_eq!((wrong.code, wrong.verdict()), (Some(1), ("RT6004", "wrong-password")), "{}", wrong.out);
    assert!(!wrong.out.contains("battery-staple"));
    let right = with("correct-horse");
    assert_eq!((right.code, right.verdict().1), (Some(0), "nothing-wrong"), "{}", right.out);
    assert!(!right.out.contains("correct-horse"));
}

#[test]
fn an_answer_to_the_password_that_is_not_known_is_no_promise() {
    let server = Server::start(&["--rename-command", "AUTH", ""]);
    let mut command = command(&server.target());
    command.env("REDISCLI_AUTH", "correct-horse");
    let ran = ran(command);
    assert_eq!((ran.code, ran.verdict().1), (Some(0), "nothing-wrong"), "{}", ran.out);
    let (state, text) = ran.step("auth");
    assert!(state == "unknown" && text.contains("unknown command"), "{text}");
}

#[test]
fn a_password_in_an_argument_is_refused_and_not_repeated() {
    let output = command("redis://:correct-horse@127.0.0.1").output().expect("doctor starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("REDISCLI_AUTH") && !said.contains("correct-horse"), "{said}");
}

/// A client of a server that takes one, once the server has seen whoever waited for its start go.
fn only_client(server: &Server) -> TcpStream {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < STARTS, "the server takes nobody");
        let mut client = TcpStream::connect(server.target()).expect("a connection");
        client.set_read_timeout(Some(STARTS)).expect("a limit");
        let mut answer = [0; 7];
        if client.write_all(b"PING\r\n").and_then(|()| client.read_exact(&mut answer)).is_ok()
            && answer == *b"+PONG\r\n"
        {
            return client;
        }
    }
}

#[test]
fn a_server_with_all_the_clients_it_takes_says_so() {
    let server = Server::start(&["--maxclients", "1"]);
    let _first = only_client(&server);
    let ran = doctor(&server.target());
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT6002", "max-clients")), "{}", ran.out);
}

#[test]
fn protected_mode_is_told_to_whom_it_turns_away() {
    const STAGE: &str = "ip link set lo up && ip address add 10.99.0.1/32 dev lo || exit 99
        redis-server --port 6379 --save '' >/dev/null 2>&1 </dev/null &
        server=$!
        for _ in $(seq 200); do redis-cli -h 127.0.0.1 ping >/dev/null 2>&1 && break; sleep 0.1; done
        \"$0\" doctor 10.99.0.1 -o json
        code=$?
        kill $server
        exit $code";
    let ran = staged(STAGE);
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT6001", "protected-mode")), "{}", ran.out);
}

#[test]
fn a_far_host_that_says_nothing_is_no_fault_of_this_one() {
    const STAGE: &str = "ip link set lo up && ip link add away type veth peer name void &&
        ip address add 10.98.0.1/24 dev away && ip link set void up && ip link set away up &&
        ip neighbour add 10.98.0.9 lladdr 02:00:00:00:00:09 dev away || exit 99
        exec $1 \"$0\" doctor 10.98.0.9 -o json";
    let (_directory, program) = public_copy();
    for run_by in ["", "setpriv --reuid=65534 --regid=65534 --clear-groups"] {
        let mut stage = Command::new("unshare");
        stage.args(["--net", "sh", "-c", STAGE]).arg(&program).arg(run_by).env_remove("REDISCLI_AUTH");
        let ran = ran(stage);
        assert_eq!((ran.code, ran.verdict()), (Some(6), ("RT4003", "no-answer")), "{}", ran.out);
        assert!(ran.found["seconds"].as_f64().is_some_and(|seconds| seconds < 10.0), "{}", ran.out);
        // Counted, with the probes and without.
        let sent = ran.found["verdict"]["summary"].as_str().expect("a summary");
        assert!(!sent.contains("1 SYN"), "{sent}");
    }
}

#[test]
fn a_translated_address_that_answers_is_not_blamed_for_having_no_listener() {
    const STAGE: &str = "ip link set lo up && nft add table nat &&
        nft add chain nat out '{ type nat hook output priority -100; }' &&
        nft add rule nat out tcp dport 7001 redirect to :6379 || exit 99
        redis-server --port 6379 --save '' >/dev/null 2>&1 </dev/null &
        server=$!
        for _ in $(seq 200); do redis-cli -h 127.0.0.1 ping >/dev/null 2>&1 && break; sleep 0.1; done
        \"$0\" doctor 127.0.0.1:7001 -o json
        code=$?
        kill $server
        exit $code";
    let ran = staged(STAGE);
    assert_eq!((ran.code, ran.verdict().1), (Some(0), "nothing-wrong"), "{}", ran.out);
    assert_eq!(ran.step("listener").0, "unknown", "{}", ran.out);
}

#[test]
fn a_stopped_server_takes_the_connection_and_says_nothing() {
    let server = Server::start(&[]);
    let pid = rustix::process::Pid::from_child(&server.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it is stopped");
    let ran = doctor(&server.target());
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT0000", "unknown")), "{}", ran.out);
    assert!(ran.found["seconds"].as_f64().is_some_and(|seconds| seconds < 10.0), "{}", ran.out);
}

#[test]
fn what_is_no_redis_is_told_by_how_it_behaves() {
    let door = stranger(drop);
    let closed = doctor(&door);
    assert_eq!((closed.code, closed.verdict()), (Some(1), ("RT6008", "closed-after-accept")), "{}", closed.out);
    let web = stranger(|mut client| {
        if client.read(&mut [0; 512]).is_ok() {
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let answered = doctor(&web);
    assert_eq!((answered.code, answered.verdict()), (Some(1), ("RT6009", "protocol-mismatch")), "{}", answered.out);
    let mail = stranger(|mut client| {
        let _ = client.write_all(b"220 mail\x1b[2J ESMTP\r\n");
        let _ = client.read(&mut [0; 512]);
    });
    let greeted = doctor(&mail);
    assert_eq!(greeted.verdict(), ("RT6009", "protocol-mismatch"), "{}", greeted.out);
    assert!(!greeted.step("reply").1.contains('\x1b'), "{}", greeted.out);
}

#[test]
fn unix_sockets_are_dialled_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("redis.sock");
    let target = format!("unix:{}", path.display());
    let missing = doctor(&target);
    assert_eq!((missing.code, missing.verdict().0), (Some(1), "RT1016"), "{}", missing.out);
    let _server = Server::start(&["--unixsocket", path.to_str().expect("text")]);
    let served = doctor(&target);
    assert_eq!((served.code, served.verdict().1), (Some(0), "nothing-wrong"), "{}", served.out);
}

#[test]
fn a_name_that_nobody_has_is_told_before_anything_is_dialled() {
    let ran = doctor("no-such-host.invalid");
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("none", "name-not-resolved")), "{}", ran.out);
}

#[test]
fn text_and_markdown_tell_the_same_verdict() {
    for format in ["text", "markdown"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        let output = command.args(["doctor", NOWHERE, "-o", format]).output().expect("doctor starts");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("RT1001 no-listener") && text.contains("✗"), "{text}");
        assert_eq!(output.status.code(), Some(1));
    }
}
