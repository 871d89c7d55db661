//! Redis 6.0, Redis 8.0 and Valkey 8.1, each from another suite of Debian: what they say no to is told as the first's, and
//! told right where they say it differently. Needs root, and what `cargo xtask setup` has unpacked.

use std::collections::BTreeSet;
use std::env::var_os;
use std::path::{Path, PathBuf};
use std::process::Command;

use redis_trace::commands::demo::programme::Performance;

/// What a server itself says no to, or closes.
const CODES: [&str; 12] = [
    "RT5001", "RT5002", "RT5003", "RT6001", "RT6002", "RT6003", "RT6004", "RT6005", "RT6006", "RT6007", "RT6009",
    "RT6010",
];

/// What starts such a server: below the cache of `cargo xtask`.
fn program(suite: &str, server: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/vm-cache");
    let cache = var_os("REDIS_TRACE_VM_CACHE").map_or(own, PathBuf::from);
    cache.join("servers").join(suite).join(server)
}

/// Lets a server say no in every way, and what serves be served.
fn is_told(suite: &str, server: &str) {
    let program = program(suite, server);
    if !program.exists() {
        eprintln!("skipped: no {} here: run `cargo xtask setup`", program.display());
        return;
    }
    let mut demo = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    demo.args(["demo", "-o", "json", "--only", "values and errors", "--server"]).arg(&program);
    demo.args(CODES.iter().flat_map(|code| ["--only", code]));
    let output = demo.output().expect("the demo starts");
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    let performances: Vec<Performance> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let wrong: Vec<_> = performances.iter().filter(|performance| !performance.passed).collect();
    assert!(wrong.is_empty(), "not as expected of {server} of {suite}: {wrong:#?}");
    assert!(output.status.success(), "the demo ended with {}", output.status);
    let told: BTreeSet<String> = performances.iter().filter_map(|one| Some(one.code?.to_string())).collect();
    if redis_trace::kernel::keeps_last_words() {
        assert!(CODES.iter().all(|code| told.contains(*code)), "only {told:?} were staged");
    }
}

#[test]
fn what_redis_6_0_says_no_to_is_told() {
    is_told("bullseye", "redis-server");
}

#[test]
fn what_redis_8_0_says_no_to_is_told() {
    is_told("trixie", "redis-server");
}

#[test]
fn what_valkey_8_1_says_no_to_is_told() {
    is_told("trixie", "valkey-server");
}
