//! Where a Sentinel and a Cluster send their clients, and whether anybody is there.

use std::fs;

use crate::support::{PORT, Ran, Server, command, doctor, ran, until};

/// A Sentinel that watches a master there.
fn sentinel(home: &tempfile::TempDir, master: &str, port: u16) -> Server {
    let file = home.path().join("sentinel.conf");
    fs::write(&file, format!("sentinel monitor cache {master} {port} 1\n")).expect("a file");
    Server::of_file(file.to_str().expect("text"), &["--sentinel"])
}

#[test]
fn the_master_of_a_sentinel_is_dialled_too() {
    let home = tempfile::tempdir().expect("a directory");
    let master = Server::start(&[]);
    let served = doctor(&sentinel(&home, &master.ip.to_string(), PORT).target());
    assert_eq!(served.code, Some(0), "{}", served.out);
    assert!(served.step("sentinel").1.starts_with(&format!("cache is {}", master.target())), "{}", served.out);
    let (state, text) = served.step("follow");
    assert!(state == "good" && text.contains("master cache of the Sentinel"), "{text}");
    let astray = doctor(&sentinel(&home, "127.85.0.3", 19_999).target());
    assert_eq!((astray.code, astray.verdict()), (Some(1), ("RT6007", "redirected-to-unreachable")), "{}", astray.out);
    let summary = astray.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("127.85.0.3:19999") && summary.contains("nothing listens"), "{summary}");
}

/// A node of a cluster, with its files in a directory of its own.
fn node(home: &tempfile::TempDir, options: &[&str]) -> Server {
    let directory = home.path().to_str().expect("text");
    Server::start(&[&["--cluster-enabled", "yes", "--dir", directory], options].concat())
}

fn examined(node: &Server) -> Ran {
    ran(command(&node.target()))
}

#[test]
fn the_nodes_of_a_cluster_are_dialled_where_they_say_they_are() {
    let homes = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let asked = node(&homes[0], &[]);
    let alone = examined(&asked);
    assert_eq!(alone.step("cluster"), ("warn", "0 of 16384 slots are served"));
    let owner = node(&homes[1], &[]);
    owner.cli(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]);
    asked.cli(&["CLUSTER", "MEET", &owner.ip.to_string(), &PORT.to_string()]);
    until("the owner is known", || asked.cli(&["CLUSTER", "NODES"]).contains("0-8191"));
    let reached = examined(&asked);
    assert_eq!(reached.step("cluster"), ("warn", "8192 of 16384 slots are served"));
    let (state, text) = reached.step("follow");
    assert!(state == "good" && text.contains("owner of slots 0-8191") && text.contains(&owner.target()), "{text}");
    // As it is after a restart, when the other node has moved: the file has its old address.
    let known = format!(
        "{} :0@0 myself,master - 0 0 1 connected 0-8191\n{} 127.85.0.4:{PORT}@27979 master - 0 0 2 connected \
         8192-16383\nvars currentEpoch 2 lastVoteEpoch 0\n",
        "a".repeat(40),
        "b".repeat(40)
    );
    fs::write(homes[2].path().join("nodes.conf"), known).expect("a file");
    let asked = node(&homes[2], &["--cluster-node-timeout", "600000"]);
    let led = examined(&asked);
    assert_eq!((led.code, led.verdict().0), (Some(1), "RT6007"), "{}", led.out);
    let summary = led.found["verdict"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("127.85.0.4") && summary.contains("owner of slots 8192-16383"), "{summary}");
}
