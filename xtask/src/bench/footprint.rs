//! CPU time and memory of the agent itself: idle, at a steady rate of refusals, in a storm.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::agent::Agent;
use super::load::{play, said};
use super::measure::Bench;
use super::netns::{Netns, closed_port};
use super::page::{Figure, Part, Table, Target, number};
use super::process;

/// The title on the page.
pub(super) const TITLE: &str = "CPU and memory of the agent";

/// What an agent used while something went on.
struct Footprint {
    /// Refusals a second.
    rate: f64,
    /// CPU time, in percent of one CPU.
    cpu: f64,
    /// The most memory that was resident before it watched, MiB.
    starting: f64,
    /// The most since then, MiB.
    peak: f64,
    /// What is resident at the end, MiB.
    resident: f64,
    /// What its maps and programs hold in the kernel, MiB.
    kernel: f64,
}

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "A new agent each time. Its CPU clock, divided by the time that passed since it said that it watches; VmRSS at \
         the end, VmHWM since then and before; `memlock` of its maps and programs. The storm has a client on every CPU.",
    );
    let cpus = std::thread::available_parallelism()?.get().to_string();
    let seconds = bench.pick([60, 10, 10]);
    let idle = footprint(bench, |_, _| {
        std::thread::sleep(Duration::from_secs(seconds));
        Ok(0.0)
    })?;
    let seconds = bench.pick(["30", "5", "5"]);
    let steady =
        footprint(bench, |netns, port| rate(netns, &["--port", port, "--seconds", seconds, "--rate", "10000"]))?;
    let storm =
        footprint(bench, |netns, port| rate(netns, &["--port", port, "--seconds", seconds, "--clients", &cpus]))?;
    part.tables.push(table([("idle", &idle), ("10,000 a second", &steady), ("full storm", &storm)]));
    let figure =
        |what: &str, most: f64, value: f64, unit: &str| Figure::new(what, Target::AtMost(most), value).unit(unit);
    part.figures = vec![
        figure("memory of the agent, idle", 20.0, idle.resident, "MiB"),
        figure("memory of the agent, storm", 48.0, storm.peak, "MiB"),
        figure("CPU of the agent, idle", 0.1, idle.cpu, "% of a CPU"),
        figure("CPU of the agent, 10,000 refusals a second", 5.0, steady.cpu, "% of a CPU"),
    ];
    Ok(part)
}

/// Everything that was used.
fn table(all: [(&str, &Footprint); 3]) -> Table {
    let mut table = Table::new([
        "load",
        "refusals a second",
        "CPU, %",
        "RSS, MiB",
        "peak, MiB",
        "peak of the start, MiB",
        "kernel, MiB",
    ]);
    for (name, used) in all {
        let numbers = [used.rate.round(), used.cpu, used.resident, used.peak, used.starting, used.kernel].map(number);
        let [rate, cpu, resident, peak, starting, kernel] = numbers;
        table.row([name.to_owned(), rate, cpu, resident, peak, starting, kernel]);
    }
    table
}

/// What a new agent uses while something goes on that says its rate.
fn footprint(bench: &Bench, goes_on: impl FnOnce(&Netns, &str) -> Result<f64>) -> Result<Footprint> {
    let (netns, port) = (Netns::new()?, closed_port().to_string());
    let agent = Agent::start(&bench.program, &[])?;
    let (_, starting) = process::memory(agent.pid())?;
    process::forget_peak(agent.pid())?;
    let (start, before) = (Instant::now(), process::cpu(agent.pid())?);
    let rate = goes_on(&netns, &port)?;
    let used = process::cpu(agent.pid())? - before;
    let cpu = used / start.elapsed().as_secs_f64() / 1e9 * 100.0;
    let (resident, peak) = process::memory(agent.pid())?;
    let kernel = process::fdinfo(agent.pid(), "memlock")?.iter().sum::<u64>();
    agent.stop()?;
    #[expect(clippy::cast_precision_loss, reason = "told in mebibytes")]
    let kernel = kernel as f64 / f64::from(1 << 20);
    Ok(Footprint { rate, cpu, starting, peak, resident, kernel })
}

/// Dials; refusals a second.
fn rate(netns: &Netns, words: &[&str]) -> Result<f64> {
    let done = play(netns, &[&["refuse"], words].concat())?;
    Ok(said(&done, "refused")? / said(&done, "seconds")?)
}
