//! How the agent starts, ends and shares a host with another one.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Agent, refused};

mod support;

/// A port on which nothing ever listens.
const CLOSED: u16 = 1;

/// The kernel's ids of what an agent holds: of programs, maps and links, as `/proc/PID/fdinfo` names them.
fn holds(agent: &Agent, kind: &str) -> Vec<u32> {
    let directory = format!("/proc/{}/fdinfo", agent.child.id());
    let files = fs::read_dir(directory).expect("its files").map(|file| file.expect("a file").path());
    let lines: String = files.filter_map(|file| fs::read_to_string(file).ok()).collect();
    let ids = lines.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(':')?.trim().parse().ok());
    ids.collect()
}

/// The programs, maps and links among these that the kernel still has.
fn left([programs, maps, links]: &[Vec<u32>; 3]) -> Vec<String> {
    let loaded: BTreeSet<u32> = aya::programs::loaded_programs().filter_map(|info| Some(info.ok()?.id())).collect();
    let mapped: BTreeSet<u32> = aya::maps::loaded_maps().filter_map(|info| Some(info.ok()?.id())).collect();
    let linked: BTreeSet<u32> = aya::programs::loaded_links().filter_map(|info| Some(info.ok()?.id())).collect();
    let still = |kind: &str, ours: &[u32], there: &BTreeSet<u32>| {
        ours.iter().filter(|id| there.contains(id)).map(|id| format!("{kind} {id}")).collect::<Vec<_>>()
    };
    [still("program", programs, &loaded), still("map", maps, &mapped), still("link", links, &linked)].concat()
}

#[test]
fn nothing_is_left_in_the_kernel_a_second_after_kill_9() {
    let agent = Agent::start(&[]);
    let held = ["prog_id", "map_id", "link_id"].map(|kind| holds(&agent, kind));
    assert!(held.iter().all(|ids| !ids.is_empty()), "the agent holds programs, maps and links: {held:?}");
    assert!(!left(&held).is_empty(), "the kernel names what the agent holds");
    agent.signal(Signal::KILL);
    agent.end();
    // The kernel lets go after a grace period that nothing announces, so this asks again until the second is over.
    let deadline = Instant::now() + Duration::from_secs(1);
    while !left(&held).is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(left(&held), Vec::<String>::new());
}

#[test]
fn after_a_run_that_was_killed_the_next_says_so_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let runs = [(Signal::TERM, false), (Signal::KILL, false), (Signal::TERM, true), (Signal::TERM, false)];
    let mut before = 0;
    for (signal, is_told) in runs {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        command.args(["watch", "-o", "json"]).env("RUNTIME_DIRECTORY", directory.path());
        let (agent, said) = Agent::heard(&mut command);
        let told = format!("the run before (pid {before}, since ");
        assert_eq!(said.contains(&told), is_told, "{said}");
        assert_eq!(said.contains("the run before"), is_told, "{said}");
        before = agent.child.id();
        agent.signal(signal);
        agent.end();
    }
}

#[test]
fn a_signal_ends_the_agent_within_two_seconds_and_its_summary_adds_up() {
    for signal in [Signal::INT, Signal::TERM] {
        let agent = Agent::start(&[]);
        let clients: Vec<_> = (0..30).map(|_| refused(CLOSED)).collect();
        let start = Instant::now();
        agent.signal(signal);
        let (lines, status) = agent.end();
        let took = start.elapsed();
        assert!(status.success(), "the agent ended with {status}");
        assert!(took < Duration::from_secs(2), "the agent took {took:?} to end");
        let summary = lines.last().expect("a summary");
        assert_eq!(summary["schema"], "redis-trace.summary/1");
        let number = |value: &Value| value.as_u64().expect("a number");
        let lost = &summary["lost"];
        let sum = [&summary["delivered"], &summary["aggregated"], &lost["ring"], &lost["queue"], &lost["output"]];
        assert_eq!(number(&summary["seen"]), sum.into_iter().map(number).sum::<u64>());
        assert!(number(&summary["seen"]) >= clients.len() as u64, "{summary}");
        assert!(number(&summary["aggregated"]) > 0, "repeats are counted: {summary}");
    }
}

#[test]
fn two_agents_at_once_tell_the_same_and_the_second_says_that_it_is_not_alone() {
    let first = Agent::start(&["--no-aggregate"]);
    let mut second = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    let (second, said) = Agent::heard(second.args(["watch", "-o", "json", "--no-aggregate"]));
    assert!(said.starts_with("another redis-trace is at work on this host"), "{said}");
    let mut agents = [first, second];
    let client = refused(CLOSED);
    let told = agents.each_mut().map(|agent| agent.refusal_of(client));
    for line in &told {
        assert_eq!(line["cause"]["code"], told[0]["cause"]["code"]);
        assert_eq!(line["client_process"]["pid"], std::process::id());
        assert_eq!(line["side"], "both");
    }
    for agent in agents {
        agent.signal(Signal::INT);
        assert!(agent.end().1.success());
    }
}
