//! CPU time of a short connection that is accepted, with and without the agent.

use anyhow::Result;

use super::agent::{Agent, WAYS};
use super::load::{play, said};
use super::measure::Bench;
use super::netns::Netns;
use super::page::{Figure, Part, Table, Target, number};
use super::spread::{Spread, order};

/// The title on the page.
pub(super) const TITLE: &str = "Accepted short connections";

/// What a short connection may cost with the agent, of what it costs without.
pub(super) const CONNECTION: f64 = 1.05;

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "Server and client are two threads of one process on one CPU: connect, accept, one byte, close. Its CPU clock, \
         kernel included, divided by the number of connections.",
    );
    let rounds = bench.pick([11, 5, 3]);
    let connections = bench.pick(["20000", "5000", "1000"]);
    let mut costs = [const { Vec::new() }; WAYS.len()];
    for round in 0..rounds {
        for way in order(round, WAYS.len()) {
            let agent = WAYS[way].1.map(|flags| Agent::start(&bench.program, flags)?.settled()).transpose()?;
            let done = play(&Netns::new()?, &["accept", "--connections", connections])?;
            agent.map(Agent::stop).transpose()?;
            costs[way].push(said(&done, "cpu_ns")? / said(&done, "connections")?);
        }
    }
    let [without, with, _] = &costs;
    let mut table = Table::new(["agent", "ns of CPU a connection, median", "ratio", "spread of the ratio"]);
    for ((name, _), costs) in WAYS.iter().zip(&costs) {
        let ratio = Spread::ratios(costs, without);
        let cost = number(Spread::of(costs.iter().copied()).median().round());
        table.row([(*name).to_owned(), cost, format!("{:.3}", ratio.median()), ratio.text(3)]);
    }
    let ratio = Spread::ratios(with, without);
    let what = "CPU per short accepted connection, with / without";
    part.figures.push(Figure::new(what, Target::AtMost(CONNECTION), ratio.median()).spread(ratio.text(3)));
    part.tables.push(table);
    Ok(part)
}
