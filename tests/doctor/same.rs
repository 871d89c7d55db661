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

const SITUATIONS: &[Situation] = &[
    Situation {
        made: served!("--port 6379 --bind 127.0.0.1"),
        target: "10.99.0.1",
        code: "RT1007",
        unprivileged: ("RT1007", "certain"),
    },
    Situation {
        made: served!("--port 6380"),
        // Where no other test's server listens, in whichever namespace.
        target: "127.0.0.1:6399",
        code: "RT1008",
        unprivileged: ("RT1001", "certain"),
    },
    Situation {
        made: concat!(
            served!("--port 6380 --unixsocket $HOME/s --unixsocketperm 777"),
            "kill -9 $server; wait $server;"
        ),
        target: "unix:$HOME/s",
        code: "RT1015",
        unprivileged: ("RT1015", "certain"),
    },
    Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "nft add table inet f; nft add chain inet f i '{ type filter hook input priority 0; }';
               nft add rule inet f i tcp dport 6379 reject with tcp reset;"
        ),
        target: "10.99.0.1",
        code: "RT3001",
        unprivileged: ("RT0000", "possible"),
    },
    Situation {
        made: concat!(
            served!("--port 6379 --protected-mode no"),
            "nft add table inet f; nft add chain inet f o '{ type filter hook output priority 0; }';
               nft add rule inet f o tcp dport 6379 reject;"
        ),
        target: "10.99.0.1",
        code: "RT3002",
        unprivileged: ("RT0000", "possible"),
    },
    Situation {
        made: "ip route add prohibit 10.97.0.0/16;",
        target: "10.97.0.1",
        code: "RT3030",
        unprivileged: ("RT3030", "certain"),
    },
];

/// What doctor says of it, run by somebody.
fn told(situation: &Situation, program: &std::path::Path, run_by: &str) -> Ran {
    let script = format!(
        "listens() {{ for _ in $(seq 200); do [ -n \"$(ss -Hltn 'sport = :6379 or sport = :6380')\" ] && break; sleep 0.1; done; }}
        cd /; ip link set lo up && ip address add 10.99.0.1/32 dev lo || exit 99
        {}
        {run_by} \"$0\" doctor {} -o json
        code=$?
        [ -n \"$server\" ] && kill $server 2>/dev/null
        exit $code",
        situation.made, situation.target
    );
    let home = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::chown(home.path(), Some(crate::support::NOBODY), None).expect("ours to give");
    let mut stage = Command::new("unshare");
    stage.args(["--net", "sh", "-c", &script]).arg(program).env("HOME", home.path()).env_remove("REDISCLI_AUTH");
    ran(stage)
}

#[test]
fn each_situation_has_the_code_that_watch_gives_it() {
    let (_directory, program) = public_copy();
    let mut wrong = Vec::new();
    for situation in SITUATIONS {
        let ran = told(situation, &program, "");
        if (ran.code, ran.verdict().0) != (Some(1), situation.code) {
            wrong.push(format!("{}: {}", situation.made, ran.out));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn without_root_each_has_the_best_that_is_known() {
    let (_directory, program) = public_copy();
    let mut wrong = Vec::new();
    for situation in SITUATIONS {
        let ran = told(situation, &program, "setpriv --reuid=65534 --regid=65534 --clear-groups");
        let confidence = ran.found["verdict"]["confidence"].as_str().expect("a word");
        let is_so = (ran.verdict().0, confidence) == situation.unprivileged;
        if !is_so {
            wrong.push(format!("{}: {}", situation.made, ran.out));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
