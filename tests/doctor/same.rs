//! `doctor` tells of each situation what `watch` tells of it, for it is told by the same line; and without root the best that
//! is known, never another cause that is sure.

use std::process::Command;

use crate::support::{Ran, public_copy, ran};

/// A situation in a network namespace of its own: what makes it, what is dialled, the code.
struct Situation {
    made: &'static str,
    target: &'static str,
    code: &'static str,
    /// What is known of it without root, and how surely.
    unprivileged: (&'static str, &'static str),
}

/// A server on these addresses and this port.
macro_rules! served {
    ($options:literal) => {
        concat!("redis-server --save '' ", $options, " >/dev/null 2>&1 </dev/null & server=$!; listens; ")
    };
}

/// What a situation is made with: `listens` waits for a server, `fill` fills its queue of two, `far` makes another namespace with
/// this address at the other end of a wire.
const TOOLS: &str = r#"
    listens() { for _ in $(seq 200); do [ -n "$(ss -Hltn 'sport = :6379 or sport = :6380')" ] && break; sleep 0.1; done; }
    fill() {
        mkfifo "$HOME/filled"
        python3 -c '
import socket, sys, time
unix = sys.argv[1].startswith("/")
kept = [socket.socket(socket.AF_UNIX if unix else socket.AF_INET) for _ in range(3)]
for one in kept:
    one.connect(sys.argv[1] if unix else (sys.argv[1], 6379))
open(sys.argv[2], "w").close()
time.sleep(60)' "$1" "$HOME/filled" & filler=$!
        cat "$HOME/filled"
    }
    far() {
        mkfifo "$HOME/apart"
        unshare --net sh -c 'echo >"$HOME/apart"; exec sleep 60' & far=$!
        cat "$HOME/apart"
        ip link add wire type veth peer name wire netns $far
        ip address add 10.77.0.1/24 dev wire; ip link set wire up
        nsenter --target $far --net sh -c "ip address add $1 dev wire; ip link set wire up; ip link set lo up"
    }"#;

/// What doctor says of it, run by somebody.
fn told(situation: &Situation, program: &std::path::Path, run_by: &str) -> Ran {
    let script = format!(
        "{TOOLS}
        cd /; ip link set lo up && ip address add 10.99.0.1/32 dev lo || exit 99
        {}
        {run_by} \"$0\" doctor {} -o json
        code=$?
        for pid in $server $filler $far; do kill -9 $pid; done 2>/dev/null
        exit $code",
        situation.made, situation.target
    );
    let home = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::chown(home.path(), Some(crate::support::NOBODY), None).expect("ours to give");
    let mut stage = Command::new("unshare");
    stage.args(["--net", "sh", "-c", &script]).arg(program).env("HOME", home.path()).env_remove("REDISCLI_AUTH");
    ran(stage)
}

/// `doctor` with all rights says what `watch` would.
fn is_told_as_watch_tells_it(situation: &Situation) {
    let (_directory, program) = public_copy();
    let ran = told(situation, &program, "");
    let exit = if ran.found["verdict"]["elsewhere"] == true { 6 } else { 1 };
    assert_eq!((ran.code, ran.verdict().0), (Some(exit), situation.code), "{}", ran.out);
}

/// Without rights it says the best that is known.
fn is_told_as_well_as_it_is_known(situation: &Situation) {
    let (_directory, program) = public_copy();
    let ran = told(situation, &program, "setpriv --reuid=65534 --regid=65534 --clear-groups");
    let confidence = ran.found["verdict"]["confidence"].as_str().expect("a word");
    assert_eq!((ran.verdict().0, confidence), situation.unprivileged, "{}", ran.out);
}

/// Two tests of each situation.
macro_rules! situations {
    ($($name:ident: $situation:expr;)*) => {$(
        mod $name {
            use super::*;

            const SITUATION: Situation = $situation;

            #[test]
            fn has_the_code_that_watch_gives_it() {
                is_told_as_watch_tells_it(&SITUATION);
            }

            #[test]
            fn without_root_has_the_best_that_is_known() {
                is_told_as_well_as_it_is_known(&SITUATION);
            }
        }
    )*};
}

situations! {
    bound_to_another_address: Situation {
        made: served!("--port 6379 --bind 127.0.0.1"),
        target: "10.99.0.1",
        code: "RT1007",
        unprivileged: ("RT1007", "likely"),
    };
    bound_to_another_port: Situation {
        made: served!("--port 6380"),
        // Where no other test's server listens, in whichever namespace.
        target: "127.0.0.1:6399",
        code: "RT1008",
        unprivileged: ("RT1001", "likely"),
    };
    a_stale_unix_socket: Situation {
        made: concat!(
            served!("--port 6380 --unixsocket $HOME/s --unixsocketperm 777"),
            "kill -9 $server; wait $server;"
        ),
        target: "unix:$HOME/s",
        code: "RT1015",
        unprivileged: ("RT1015", "certain"),
    };
    rejected_with_a_reset: Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "nft add table inet f; nft add chain inet f i '{ type filter hook input priority 0; }';
               nft add rule inet f i tcp dport 6379 reject with tcp reset;"
        ),
        target: "10.99.0.1",
        code: "RT3001",
        unprivileged: ("RT0000", "possible"),
    };
    rejected_with_an_icmp_error: Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "nft add table inet f; nft add chain inet f o '{ type filter hook output priority 0; }';
               nft add rule inet f o tcp dport 6379 reject;"
        ),
        target: "10.99.0.1",
        code: "RT3002",
        unprivileged: ("RT0000", "possible"),
    };
    a_route_that_prohibits: Situation {
        made: "ip route add prohibit 10.97.0.0/16;",
        target: "10.97.0.1",
        code: "RT3030",
        unprivileged: ("RT3030", "certain"),
    };
    another_address_family: Situation {
        made: served!("--port 6379 --bind ::1"),
        target: "127.0.0.1",
        code: "RT1009",
        unprivileged: ("RT1009", "likely"),
    };
    a_full_queue: Situation {
        made: concat!(served!("--port 6379 --bind 127.0.0.1 --tcp-backlog 2"), "kill -STOP $server; fill 127.0.0.1;"),
        target: "127.0.0.1",
        code: "RT2001",
        unprivileged: ("RT2001", "likely"),
    };
    a_full_queue_of_a_unix_socket: Situation {
        made: concat!(
            served!("--port 6380 --unixsocket $HOME/s --unixsocketperm 777 --tcp-backlog 2"),
            "kill -STOP $server; fill $HOME/s;"
        ),
        target: "unix:$HOME/s",
        code: "RT2005",
        unprivileged: ("RT2005", "certain"),
    };
    dropped: Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "nft add table inet f; nft add chain inet f i '{ type filter hook input priority 0; }';
               nft add rule inet f i tcp dport 6379 drop;"
        ),
        target: "10.99.0.1",
        code: "RT3003",
        unprivileged: ("RT0000", "possible"),
    };
    a_service_without_endpoints: Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "iptables -N KUBE-EXTERNAL-SERVICES; iptables -A INPUT -j KUBE-EXTERNAL-SERVICES;
               iptables -A KUBE-EXTERNAL-SERVICES -p tcp --dport 6379 -m comment \
                   --comment 'default/redis:redis has no endpoints' -j REJECT;"
        ),
        target: "10.99.0.1",
        code: "RT3004",
        unprivileged: ("RT0000", "possible"),
    };
    translated_to_nowhere: Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "nft add table ip n; nft add chain ip n o '{ type nat hook output priority -100; }';
               nft add rule ip n o tcp dport 6379 redirect to :1;"
        ),
        target: "10.99.0.1",
        code: "RT3005",
        unprivileged: ("RT0000", "possible"),
    };
    blocked_by_ipsec: Situation {
        made: "far 10.77.0.254/24; ip xfrm policy add dst 10.77.0.254/32 dir out action block;",
        target: "10.77.0.254",
        code: "RT3031",
        unprivileged: ("RT0000", "possible"),
    };
    an_icmp_error_of_a_router: Situation {
        made: "far 10.77.0.254/24; ip route add 10.98.0.0/16 via 10.77.0.254;
               nsenter --target $far --net sh -c 'sysctl -qw net.ipv4.ip_forward=1; ip route add unreachable 10.98.0.0/16';",
        target: "10.98.0.1",
        code: "RT4002",
        unprivileged: ("RT4002", "likely"),
    };
    no_answer: Situation {
        made: "far 10.77.0.254/24; ip route add 10.98.0.0/16 via 10.77.0.254;",
        target: "10.98.0.1",
        code: "RT4003",
        unprivileged: ("RT4003", "possible"),
    };
}
