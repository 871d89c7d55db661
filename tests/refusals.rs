//! Real refusals in fresh network namespaces: what is told of each is right, complete and told once; and `doctor`, who comes when
//! it has happened, says the same of it.

use std::collections::BTreeSet;
use std::process::Command;

use redis_trace::commands::demo;
use redis_trace::commands::demo::examine::Opinions;
use redis_trace::commands::demo::programme::Performance;
use serde_json::Value;

/// Runs the demo and reads every line that it tells.
fn demo(arguments: &[&str]) -> Vec<Value> {
    assert!(rustix::process::geteuid().is_root(), "refusals are staged in network namespaces: run the tests as root");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    let output = demo.arg("demo").args(["-o", "json"]).args(arguments).output().expect("the demo starts");
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    let wrong = |line: &Value| format!("{}: {}", line["scenario"], line["wrong"]);
    let failed: Vec<String> = lines.iter().filter(|line| !line["wrong"].is_null()).map(wrong).collect();
    assert!(failed.is_empty(), "not as expected:\n{}", failed.join("\n"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the demo ended with {}: {errors}", output.status);
    lines
}

/// What the demo says of each scenario at its end.
fn performances(lines: Vec<Value>) -> Vec<Performance> {
    lines.into_iter().filter_map(|line| serde_json::from_value(line).ok()).collect()
}

/// Whether this kernel lets probes hook functions.
fn has_trampolines() -> bool {
    let check = Command::new(env!("CARGO_BIN_EXE_redis-trace")).args(["check", "-o", "json"]).output();
    let check: Value = serde_json::from_slice(&check.expect("it runs").stdout).expect("JSON");
    let mut hooks = check["hooks"].as_array().expect("hooks").iter();
    hooks.any(|hook| hook["name"] == "tcp_finish_connect" && hook["state"] == "up")
}

#[test]
fn every_situation_is_explained_three_times_in_a_row() {
    let performances = performances(demo(&["--repeat", "3"]));
    assert_eq!(performances.len(), demo::stageable(has_trampolines()));
    for performance in performances {
        assert_eq!((performance.runs, performance.failed), (3, 0), "{}", performance.scenario);
    }
}

#[test]
fn a_hundred_thousand_healthy_connections_are_no_refusal() {
    let lines = demo(&["--only", "healthy", "--connections", "100000"]);
    assert_eq!(performances(lines).len(), 1);
}

/// Where doctor says otherwise than `watch`, and why: the situation, what `watch` says, what doctor says.
const OTHERWISE: &[(&str, &str, &str)] = &[
    // Only who watched knows who listened there once, and how that ended. What a service manager knows of it is another test.
    ("redis-server exited after SHUTDOWN", "RT1002", "RT1001"),
    ("redis-server was killed by kill -9", "RT1003", "RT1001"),
    ("redis-server ran out of its cgroup's memory", "RT1004", "RT1001"),
    ("redis-server crashed by SIGSEGV", "RT1005", "RT1001"),
    ("the listening socket was closed while its process lives", "RT1006", "RT1001"),
    ("another program took the port after Redis died, and died too", "RT1003", "RT1001"),
    // Only who watched knows that somebody wanted to listen there, and why it could not.
    ("redis-server asks for an address that no interface has", "RT1012", "RT1001"),
    ("redis-server asks for port 79 as nobody", "RT1013", "RT1001"),
    ("redis-server runs without an optional address that was missing", "RT1021", "RT1007"),
    ("Landlock denies bind to redis-server", "RT1020", "RT1001"),
    ("a cgroup's program denies bind to redis-server", "RT1020", "RT1001"),
    ("systemd's program denies bind to a unit", "RT1020", "RT1001"),
    ("a seccomp filter denies bind to redis-server", "RT1020", "RT1001"),
    // Only who saw the server start knows how many clients it takes, for it says nothing at its TLS port.
    ("redis-server's TLS port takes one client and two come", "RT6002", "RT6008"),
    // It is the client that is confined, and doctor is not.
    ("Landlock denies connect to a client", "RT3012", "none"),
    ("a cgroup's program denies connect to a client", "RT3020", "none"),
    ("systemd's program lets no packet of a unit out", "RT3020", "none"),
    ("the unix socket's directory may not be entered", "RT1017", "none"),
    // It is what the client said or did, and doctor says and does nothing of the kind.
    ("redis-server is given a wrong password", "RT6004", "RT6003"),
    ("HTTP is spoken to redis-server", "RT6009", "none"),
    ("redis-server closes an idle client after its timeout", "RT6010", "none"),
    ("redis-server's client is killed by CLIENT KILL", "RT6010", "none"),
    ("redis-server's client does not take what it subscribed to", "RT6010", "none"),
    // Doctor is sent to where the client was sent; that it would be is said of the server that sends it there.
    ("a Cluster's node sends its client to where nobody listens", "RT6007", "RT1008"),
    ("a Sentinel names a master that is gone", "RT6007", "RT1008"),
];

/// Where who has no rights is sure of something else, for it is so: it may not even connect to this path.
const NOT_NOBODY_S: &[&str] =
    &["the unix socket's path is there and nobody behind it", "the unix socket's queue is full"];

#[test]
fn doctor_says_of_each_situation_what_watch_says_and_without_rights_nothing_else_that_is_sure() {
    let opinions = demo(&["--examine"]).into_iter().map(|line| serde_json::from_value(line).expect("opinions"));
    let opinions: Vec<Opinions> = opinions.collect();
    let mut wrong = Vec::new();
    for Opinions { scenario, target, watch, doctor, nobody, steps, .. } in &opinions {
        let otherwise = OTHERWISE.iter().find(|(name, of_watch, _)| (*name, *of_watch) == (scenario, watch));
        let wanted = otherwise.map_or(watch.as_str(), |(_, _, code)| *code);
        if doctor.0 != wanted {
            wrong.push(format!(
                "{scenario}: doctor says {doctor:?} of {target}, not {wanted}\n  {}",
                steps.join("\n  ")
            ));
        }
        let is_sure = nobody.1 == "certain" && !NOT_NOBODY_S.contains(&scenario.as_str());
        if is_sure && nobody.0 != *watch && nobody.0 != wanted {
            wrong.push(format!("{scenario}: doctor says {nobody:?} of {target} without rights, and watch {watch}"));
        }
    }
    let names: BTreeSet<&str> = opinions.iter().map(|it| it.scenario.as_str()).collect();
    let gone: Vec<_> = OTHERWISE.iter().filter(|(name, ..)| !names.contains(name)).collect();
    assert!(gone.is_empty(), "nobody was turned away by what is left aside here: {gone:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // As many as turn a client away on any kernel; the others deny a server, or nobody.
    assert!(names.len() >= 90, "{} situations were asked about: {names:?}", names.len());
}
