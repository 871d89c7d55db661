//! CPU time of a real redis-server for each request, with and without the agent.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result};

use super::accepted::CONNECTION;
use super::agent::{Agent, WAYS, Way};
use super::load::{play, said};
use super::measure::Bench;
use super::netns::Netns;
use super::page::{Figure, Part, Table, Target, number};
use super::process;
use super::spread::{Spread, order};

/// The title on the page.
pub(super) const TITLE: &str = "Redis requests";

/// The port of the server, in a namespace of its own.
const PORT: &str = "6379";
/// The ways, and not watching once more, which shows how far two runs of the same lie apart.
const VARIANTS: [Way; 4] = [WAYS[0], WAYS[1], WAYS[2], ("none, again", None)];
/// Asks on a new connection each time.
const RECONNECT: &str = "--reconnect";
/// What is asked: how the page calls it, and how the load does.
const KINDS: [(&str, &[&str]); 4] = [
    ("GET", &["--request", "get"]),
    ("SET", &["--request", "set"]),
    ("GET, a connection each", &["--request", "get", RECONNECT]),
    ("SET, a connection each", &["--request", "set", RECONNECT]),
];

/// Costs of a request, by kind, by variant, one value a round.
type Costs = [[Vec<f64>; VARIANTS.len()]; KINDS.len()];

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "A real redis-server and its client share one CPU. The server's CPU clock, kernel included, divided by the \
         number of requests: throughput is too noisy to show one percent. Over 20 connections that stay all ask, then \
         all hear, which is near the worst case; `a connection each` is what `redis-benchmark -k 0` does. Each round \
         has a server of its own, and every variant meets it; `none, again` shows how far two runs of the same lie \
         apart.",
    );
    let mut costs = Costs::default();
    for round in 0..bench.pick([15, 5, 9]) {
        let server = Server::start()?;
        // The first requests fill the server's caches, and set the key.
        server.cost(&["--request", "set"], bench.pick(["20000", "2000", "1000"]))?;
        for variant in order(round, VARIANTS.len()) {
            let agent = VARIANTS[variant].1.map(|flags| Agent::start(&bench.program, flags)?.settled()).transpose()?;
            // What the agent's start leaves for the kernel to do meets none of them more than the others.
            for kind in order(round, KINDS.len()) {
                let request = KINDS[kind].1;
                let stays = !request.contains(&RECONNECT);
                let requests =
                    if stays { bench.pick(["100000", "50000", "5000"]) } else { bench.pick(["8000", "4000", "500"]) };
                costs[kind][variant].push(server.cost(request, requests)?);
            }
            agent.map(Agent::stop).transpose()?;
        }
    }
    part.tables.push(table(&costs));
    part.figures = figures(&costs, &super::measure::place(&bench.program)?.tier);
    Ok(part)
}

/// Every cost.
fn table(costs: &Costs) -> Table {
    let mut table = Table::new(["request", "agent", "ns of CPU, median", "ratio", "spread of the ratio"]);
    for ((kind, _), costs) in KINDS.iter().zip(costs) {
        for ((variant, _), with) in VARIANTS.iter().zip(costs) {
            let ratio = Spread::ratios(with, &costs[0]);
            let cost = number(Spread::of(with.iter().copied()).median().round());
            let median = format!("{:.3}", ratio.median());
            table.row([(*kind).to_owned(), (*variant).to_owned(), cost, median, ratio.text(3)]);
        }
    }
    table
}

/// What was promised of them: with trampolines there is no dearer way to watch, and a request on a connection of its own may
/// cost what a short connection may.
fn figures(costs: &Costs, tier: &str) -> Vec<Figure> {
    let default = if tier == "T1" { 1.01 } else { 1.025 };
    let mut figures = Vec::new();
    for (costs, (kind, request)) in costs.iter().zip(KINDS) {
        let targets = if request.contains(&RECONNECT) { [CONNECTION; 2] } else { [default, 1.01] };
        for (variant, target) in [1, 2].into_iter().zip(targets) {
            let ratio = Spread::ratios(&costs[variant], &costs[0]);
            let what = format!("CPU per redis {kind}, {} / without", VARIANTS[variant].0);
            figures.push(Figure::new(&what, Target::AtMost(target), ratio.median()).spread(ratio.text(3)));
        }
    }
    figures
}

/// A redis-server in a namespace of its own.
pub(super) struct Server {
    /// The process.
    process: Child,
    /// Where it listens.
    pub(super) netns: Netns,
}

impl Server {
    /// Starts it and waits until it serves.
    pub(super) fn start() -> Result<Self> {
        let netns = Netns::new()?;
        let mut command = netns.command("redis-server");
        command.args(["--port", PORT, "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", "/tmp"]);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start ip")?;
        let log = BufReader::new(process.stdout.take().context("redis-server has a standard output")?);
        let server = Self { process, netns };
        let mut lines = log.lines();
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("Ready to accept connections")))
            .context("redis-server ended before it served\n  try   redis-server --port 6379 --save ''")??;
        // What it logs later must find a reader.
        std::thread::spawn(move || lines.for_each(drop));
        process::pin(server.pid())?;
        Ok(server)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its CPU time, in nanoseconds, for each of so many requests.
    fn cost(&self, request: &[&str], requests: &str) -> Result<f64> {
        let before = process::cpu(self.pid())?;
        let done = self.ask(request, requests)?;
        let used = process::cpu(self.pid())? - before;
        Ok(used / said(&done, "requests")?)
    }

    /// So many requests; what the load says of them.
    pub(super) fn ask(&self, request: &[&str], requests: &str) -> Result<serde_json::Value> {
        play(&self.netns, &[&["redis", "--port", PORT, "--requests", requests], request].concat())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}
