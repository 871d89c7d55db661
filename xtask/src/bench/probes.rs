//! What each probe costs by the kernel's own clock, for each refused connection, each that is accepted, and each request.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::agent::Agent;
use super::load::{play, said};
use super::measure::Bench;
use super::netns::{Netns, closed_port};
use super::page::{Part, Table, number};
use super::process;
use super::redis::Server;
use crate::run::output;

/// The title on the page.
pub(super) const TITLE: &str = "Cost of each probe";

/// Where the kernel is told to keep the time of its BPF programs.
const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What the kernel says about a probe.
#[derive(Clone, Copy, Default)]
struct Runs {
    /// How often it ran.
    count: u64,
    /// How long, all runs together, in nanoseconds.
    time: u64,
    /// How often it could not run because it was running.
    misses: u64,
}

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "`run_time_ns` and `run_cnt` of each program that ran, with kernel.bpf_stats_enabled, which is put back \
         afterwards. The kernel's two looks at its clock are part of each run; what it takes to get to a probe is not.",
    );
    let _statistics = Statistics::enable()?;
    let (netns, closed) = (Netns::new()?, closed_port().to_string());
    let seconds = bench.pick(["10", "2", "1"]);
    part.tables.push(table(bench, "refusal", || {
        said(&play(&netns, &["refuse", "--port", &closed, "--seconds", seconds])?, "refused")
    })?);
    let connections = bench.pick(["50000", "20000", "500"]);
    part.tables.push(table(bench, "accepted connection", || {
        said(&play(&netns, &["accept", "--connections", connections])?, "connections")
    })?);
    let server = Server::start()?;
    // What is asked for has to be there.
    server.ask(&["--request", "set"], "20")?;
    for (each, request, requests) in [
        ("redis GET", ["--request", "get"].as_slice(), bench.pick(["100000", "50000", "5000"])),
        (
            "redis GET on a connection of its own",
            &["--request", "get", "--reconnect"],
            bench.pick(["8000", "4000", "500"]),
        ),
    ] {
        part.tables.push(table(bench, each, || said(&server.ask(request, requests)?, "requests"))?);
    }
    Ok(part)
}

/// What the probes cost each of as many things as `load` says that it did.
fn table(bench: &Bench, each: &str, load: impl FnOnce() -> Result<f64>) -> Result<Table> {
    let agent = Agent::start(&bench.program, &[])?.settled()?;
    let before = probes(agent.pid())?;
    let done = load()?;
    let after = probes(agent.pid())?;
    agent.stop()?;
    let mut table = Table::new(["probe", &format!("runs a {each}"), "ns a run", &format!("ns a {each}"), "misses"]);
    let mut total = 0.0;
    for (name, after) in after {
        let before = before.get(&name).copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "differences of seconds of nanoseconds are exact")]
        let [count, time] = [after.count - before.count, after.time - before.time].map(|number| number as f64);
        if count > 0.0 {
            total += time / done;
            let misses = (after.misses - before.misses).to_string();
            table.row([name, format!("{:.3}", count / done), number(time / count), number(time / done), misses]);
        }
    }
    table.row(["all".to_owned(), String::new(), String::new(), number(total), String::new()]);
    Ok(table)
}

/// The probes of an agent, by name.
fn probes(pid: u32) -> Result<BTreeMap<String, Runs>> {
    let ids: BTreeSet<u64> = process::fdinfo(pid, "prog_id")?.into_iter().collect();
    let programs: Value = serde_json::from_str(&output(Command::new("bpftool").args(["--json", "prog", "show"]))?)
        .context("bpftool does not say JSON")?;
    let ours = programs.as_array().into_iter().flatten();
    let ours = ours.filter(|program| program["id"].as_u64().is_some_and(|id| ids.contains(&id)));
    let runs = |program: &Value| {
        let number = |name: &str| program[name].as_u64().unwrap_or(0);
        let name = program["name"].as_str().unwrap_or("?").to_owned();
        (name, Runs { count: number("run_cnt"), time: number("run_time_ns"), misses: number("recursion_misses") })
    };
    Ok(ours.map(runs).collect())
}

/// Whether the kernel keeps the time of its BPF programs: a run of this that was killed leaves it so.
pub(super) fn are_timed() -> Result<bool> {
    let switch = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
    Ok(switch.trim() != "0")
}

/// While this lives, the kernel keeps the time of its BPF programs.
struct Statistics {
    /// What the switch said before.
    before: String,
}

impl Statistics {
    /// Turns it on.
    fn enable() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.before) {
            eprintln!("bench: kernel.bpf_stats_enabled is left on: {error}");
        }
    }
}
