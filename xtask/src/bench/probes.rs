//! What each probe costs by the kernel's own clock, for each refused connection.

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
        "`run_time_ns` and `run_cnt` of each program during a storm of one client, with kernel.bpf_stats_enabled, which \
         is put back afterwards. The kernel's two looks at its clock are part of each run.",
    );
    let _statistics = Statistics::enable()?;
    let (netns, closed) = (Netns::new()?, closed_port().to_string());
    let agent = Agent::start(&bench.program, &["--port", &closed])?;
    let before = probes(agent.pid())?;
    let done = play(&netns, &["refuse", "--port", &closed, "--seconds", bench.pick(["10", "2", "1"])])?;
    let after = probes(agent.pid())?;
    agent.stop()?;
    let refused = said(&done, "refused")?;
    let mut table = Table::new(["probe", "runs a refusal", "ns a run", "ns a refusal", "misses"]);
    let mut total = 0.0;
    for (name, after) in after {
        let before = before.get(&name).copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "differences of seconds of nanoseconds are exact")]
        let [count, time] = [after.count - before.count, after.time - before.time].map(|number| number as f64);
        total += time / refused;
        let each = if count > 0.0 { number(time / count) } else { "–".to_owned() };
        let misses = (after.misses - before.misses).to_string();
        table.row([name, format!("{:.2}", count / refused), each, number(time / refused), misses]);
    }
    table.row(["all".to_owned(), String::new(), String::new(), number(total), String::new()]);
    part.tables.push(table);
    Ok(part)
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
