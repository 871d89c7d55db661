//! The way between a client and its server: whether a SYN arrives, which way answers go back, what a client was told to dial.

use std::process::Command;

use crate::support::{NOBODY, Ran, Server, command, ran};

/// A server at 127.0.0.1:7001, and one client that dials it from `$CLIENT` again and again while `doctor` looks.
const DIALLED: &str = "ip link set lo up && $PREPARE || exit 99
    redis-server --port 7001 --bind 127.0.0.1 ::1 --save '' >/dev/null 2>&1 </dev/null &
    server=$!
    for _ in $(seq 200); do [ -n \"$(ss -Hltn sport = :7001)\" ] && break; sleep 0.1; done
    python3 -c \"
import socket, sys, time
while True:
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
    s.settimeout(0.2)
    s.bind((sys.argv[1], 0))
    s.connect_ex(('::1' if ':' in sys.argv[1] else '127.0.0.1', 7001))
    s.close()
    time.sleep(0.1)
\" $CLIENT &
    client=$!
    $RUN_BY \"$0\" doctor 127.0.0.1:7001 --from $ASKED -o json
    code=$?
    kill $server $client
    exit $code";

/// What is told of one client's SYNs, while another or the same dials.
fn arrivals(client: &str, asked: &str, prepare: &str, run_by: &str) -> Ran {
    let script = DIALLED.replace("$PREPARE", prepare).replace("$CLIENT", client).replace("$ASKED", asked);
    let mut stage = Command::new("unshare");
    stage.args(["--net", "sh", "-c", &script.replace("$RUN_BY", run_by)]).arg(env!("CARGO_BIN_EXE_redis-trace"));
    stage.env_remove("REDISCLI_AUTH");
    ran(stage)
}

#[test]
fn a_syn_that_arrives_is_heard_before_the_firewall_that_drops_it() {
    const DROPS: &str = "nft add table inet f && nft add chain inet f i '{ type filter hook input priority 0; }' &&
        nft add rule inet f i ip saddr 127.0.0.9 drop";
    let ran = arrivals("127.0.0.9", "127.0.0.9", DROPS, "");
    assert_eq!((ran.code, ran.verdict().1), (Some(0), "nothing-wrong"), "{}", ran.out);
    let (mark, text) = ran.step("arrivals");
    assert!(mark == "good" && text.contains(" of 127.0.0.9 to 127.0.0.1 came in after "), "{text}");
    assert_eq!(ran.step("back"), ("good", "over lo from 127.0.0.1"));
}

#[test]
fn a_syn_of_ipv6_is_heard_too() {
    let ran = arrivals("::1", "::1", "true", "");
    let (mark, text) = ran.step("arrivals");
    assert!(mark == "good" && text.contains(" of ::1 to ::1 came in after "), "{text}");
}

#[test]
fn of_a_client_whose_syns_never_come_the_fault_is_before_this_host() {
    let ran = arrivals("127.0.0.8", "127.0.0.9", "true", "");
    assert_eq!((ran.code, ran.verdict()), (Some(6), ("RT4003", "no-answer")), "{}", ran.out);
    assert_eq!(ran.step("arrivals"), ("bad", "no SYN from 127.0.0.9 to port 7001 came in within 10 s"));
    assert_eq!(ran.found["verdict"]["elsewhere"], true);
}

#[test]
fn who_may_not_hear_packets_says_so() {
    let (directory, program) = crate::support::public_copy();
    let server = Server::start(&[]);
    let mut nobody = Command::new("setpriv");
    nobody.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]).arg(program);
    nobody.args(["doctor", &server.target(), "--from", "127.0.0.9", "-o", "json"]).current_dir("/");
    let (mark, text) = (ran(nobody).step("arrivals").0.to_owned(), "skipped");
    assert_eq!(mark, text);
    drop(directory);
}

#[test]
fn what_the_environment_names_is_compared_with_what_was_dialled_and_its_password_is_not_shown() {
    let server = Server::start(&[]);
    let environment = |name: &str, value: &str| {
        let mut command = command(&server.target());
        command.env(name, value);
        ran(command)
    };
    let other = environment("REDIS_URL", "redis://me:canary-9f3@10.9.8.7:6380/0");
    assert_eq!(other.step("environ"), ("warn", "REDIS_URL names 10.9.8.7:6380, which is not what was dialled"));
    assert!(!other.out.contains("canary-9f3"), "{}", other.out);
    let same = environment("REDIS_URL", &format!("redis://{}", server.target()));
    assert_eq!(same.step("environ"), ("good", "REDIS_URL names what was dialled"));
}
