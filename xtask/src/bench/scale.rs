//! What large hosts cost: many listeners, many network namespaces, a long history.

use std::time::Duration;

use anyhow::Result;

use super::agent::Agent;
use super::delay::delays;
use super::load::{Playing, play};
use super::measure::Bench;
use super::netns::Netns;
use super::page::{Figure, Part, Table, Target, number};
use super::process;
use super::spread::Spread;

/// The title on the page.
pub(super) const TITLE: &str = "Large hosts";

/// How many listeners, in one namespace.
const LISTENERS: [u32; 3] = [10, 1_000, 50_000];
/// How many of them one process holds.
const OF_ONE: u32 = 10_000;
/// How many namespaces, each of a process with one listener.
const NAMESPACES: [u32; 3] = [1, 100, 1_000];
/// How many listeners that came and went are remembered.
const HISTORY: [u32; 3] = [10, 1_000, 100_000];

/// What an agent needs on such a host.
struct Needs {
    /// From its start until it watches, in seconds.
    start: Spread,
    /// From a refusal to its line, in milliseconds.
    verdict: Spread,
    /// The most memory that was ever resident, MiB.
    memory: f64,
}

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "Listeners: processes hold up to 10,000 each in the namespace that is dialled. Namespaces: a process with one listener in \
         each, dialled is one more. History: as many listeners opened and closed while the agent watches, with \
         `--max-processes` of that size. The dials are of closed ports.",
    );
    let mut table = Table::new(["host", "start, s", "refusal to line, ms", "worst, ms", "peak RSS, MiB"]);
    for count in LISTENERS {
        let needs = listeners(bench, count)?;
        table.row(row(&format!("{count} listeners"), &needs));
        if count == LISTENERS[2] {
            part.figures.extend(figures(&format!("{count} listeners"), &needs));
        }
    }
    for count in NAMESPACES {
        let needs = namespaces(bench, count)?;
        table.row(row(&format!("{count} network namespaces"), &needs));
        if count == NAMESPACES[2] {
            part.figures.extend(figures(&format!("{count} network namespaces"), &needs));
        }
    }
    for count in HISTORY {
        table.row(row(&format!("history of {count}"), &history(bench, count)?));
    }
    part.tables.push(table);
    Ok(part)
}

/// A host with so many listeners.
fn listeners(bench: &Bench, count: u32) -> Result<Needs> {
    let netns = Netns::new()?;
    let mut holders = Vec::new();
    for first in (0..count).step_by(OF_ONE as usize) {
        let held = OF_ONE.min(count - first).to_string();
        holders.push(holder(&netns, &["--first", &first.to_string(), "--count", &held])?);
    }
    let needs = needs(bench, &netns, &[], || Ok(()))?;
    holders.into_iter().try_for_each(|holder| holder.end().map(drop))?;
    Ok(needs)
}

/// A host with so many namespaces.
fn namespaces(bench: &Bench, count: u32) -> Result<Needs> {
    let netns = Netns::new()?;
    let holders = (0..count).map(|_| holder(&netns, &["--count", "1", "--apart"])).collect::<Result<Vec<_>>>()?;
    let needs = needs(bench, &netns, &[], || Ok(()))?;
    holders.into_iter().try_for_each(|holder| holder.end().map(drop))?;
    Ok(needs)
}

/// A process that holds listeners.
fn holder(netns: &Netns, words: &[&str]) -> Result<Playing> {
    let mut holder = Playing::start(netns, &[&["listen"], words].concat())?;
    holder.says()?;
    Ok(holder)
}

/// A host on which so many listeners came and went.
fn history(bench: &Bench, count: u32) -> Result<Needs> {
    let (netns, count) = (Netns::new()?, count.to_string());
    let churn = || play(&netns, &["churn", "--count", &count]).map(drop);
    needs(bench, &netns, &["--max-processes", &count], churn)
}

/// Starts agents and times them; before the last one's dials something happens.
fn needs(bench: &Bench, netns: &Netns, flags: &[&str], happens: impl FnOnce() -> Result<()>) -> Result<Needs> {
    let mut starts = Vec::new();
    for _ in 0..2 {
        let agent = Agent::start(&bench.program, flags)?;
        starts.push(agent.to_attached);
        agent.stop()?;
    }
    let mut agent = Agent::start(&bench.program, flags)?;
    starts.push(agent.to_attached);
    happens()?;
    let verdict = delays(&mut agent, netns, bench.pick([20, 5, 5]))?;
    let (_, memory) = process::memory(agent.pid())?;
    agent.stop()?;
    Ok(Needs { start: Spread::of(starts.iter().map(Duration::as_secs_f64)), verdict, memory })
}

/// A row of the table.
fn row(host: &str, needs: &Needs) -> [String; 5] {
    let Needs { start, verdict, memory } = needs;
    let numbers = [start.median(), verdict.median(), verdict.largest(), *memory].map(number);
    let [start, verdict, worst, memory] = numbers;
    [host.to_owned(), start, verdict, worst, memory]
}

/// What was promised of the largest hosts.
fn figures(host: &str, needs: &Needs) -> [Figure; 3] {
    let figure = |what: &str, most: f64, value: f64, unit: &str| {
        Figure::new(&format!("{host}: {what}"), Target::AtMost(most), value).unit(unit)
    };
    [
        figure("start", 3.0, needs.start.median(), "s").spread(needs.start.text(2)),
        figure("refusal to line, worst", 200.0, needs.verdict.largest(), "ms").spread(needs.verdict.text(1)),
        figure("memory", 96.0, needs.memory, "MiB"),
    ]
}
