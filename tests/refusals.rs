//! Real refusals in fresh network namespaces: what is told of each is right, complete and told once.

use std::process::Command;

use redis_trace::commands::demo;
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
    hooks.any(|hook| hook["name"] == "tcp_rcv_state_process" && hook["state"] == "up")
}

#[test]
fn every_situation_is_explained_five_times_in_a_row() {
    let performances = performances(demo(&["--repeat", "5"]));
    assert_eq!(performances.len(), demo::stageable(has_trampolines()));
    for performance in performances {
        assert_eq!((performance.runs, performance.failed), (5, 0), "{}", performance.scenario);
    }
}

#[test]
fn a_hundred_thousand_healthy_connections_are_no_refusal() {
    let lines = demo(&["--only", "healthy", "--connections", "100000"]);
    assert_eq!(performances(lines).len(), 1);
}
