//! Side by side: what others cost that one could watch refusals with, and what they lose, in the same run.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::agent::Agent;
use super::load::{play, said};
use super::measure::Bench;
use super::netns::{Netns, closed_port};
use super::page::{Part, Table, number};
use super::peer::{Outcome, Peer};
use super::redis::Server;
use super::spread::{Spread, order};

/// The title on the page.
pub(super) const TITLE: &str = "Side by side";

/// tcpdump, which shows every reset and explains none.
static TCPDUMP: Peer = Peer {
    name: "tcpdump, filter for RST",
    command: &["tcpdump", "-n", "-i", "lo", "tcp[tcpflags] & tcp-rst != 0"],
    ready: "listening on",
    refusal: Some("Flags [R"),
};

/// bpftrace at the tracepoint of resets. It sees the host's tracefs or, where none is mounted, one of its own.
static BPFTRACE: Peer = Peer {
    name: "bpftrace, tcp_send_reset",
    command: &["unshare", "--mount", "sh", "-c", BPFTRACE_SCRIPT],
    ready: "ready",
    refusal: Some("reset "),
};

/// It prints one line a reset, and ten times a second that it is there.
const BPFTRACE_SCRIPT: &str = "mount -t tracefs none /sys/kernel/tracing 2>/dev/null; exec bpftrace -e '\
    tracepoint:tcp:tcp_send_reset { printf(\"reset %llu %d\\n\", nsecs, args->state); } \
    interval:ms:100 { printf(\"ready\\n\"); }'";

/// strace of a server's network calls.
static STRACE: Peer = Peer {
    name: "strace -e trace=network",
    command: &["strace", "-f", "-e", "trace=network", "-o", "/dev/null", "-p"],
    ready: "attached",
    refusal: None,
};

/// bcc's tools that come nearest.
static BCC: [Peer; 2] = [
    Peer { name: "bcc tcpdrop", command: &["tcpdrop-bpfcc"], ready: "TIME", refusal: None },
    Peer { name: "bcc tcpstates", command: &["tcpstates-bpfcc"], ready: "SKADDR", refusal: None },
];

/// How long another tool has after a storm to print what it still holds; redis-trace drains at its end by itself.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The runs of one watcher.
#[derive(Default)]
struct Runs {
    /// Refusals a second, one value a round.
    rates: Vec<f64>,
    /// Refusals that the loads made.
    made: u64,
    /// Refusals that the watcher printed or counted.
    told: u64,
    /// What it said about loss in the last round.
    words: String,
}

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "The same storm of one client, watched by one after the other in turns, each in the namespace of the storm; \
         `told` is what was printed up to a second after it, for redis-trace the sum of the counts on its lines. Below, a redis-server over \
         connections that stay, with strace attached to it as people do who look for a refusal. Of all these only \
         redis-trace says why.",
    );
    part.tables = vec![storms(bench)?, requests(bench)?];
    Ok(part)
}

/// A storm that each one watches.
fn storms(bench: &Bench) -> Result<Table> {
    let mut table = Table::new(["watcher", "refusals a second", "ratio", "spread", "made", "told", "says of loss"]);
    let mut able: Vec<&'static Peer> = Vec::new();
    let mut unable = Vec::new();
    for peer in [&TCPDUMP, &BPFTRACE].into_iter().chain(&BCC) {
        match peer.watch(&Netns::new()?, &[]).and_then(super::peer::Watching::stop) {
            Ok(_) => able.push(peer),
            Err(error) => unable.push((peer.name, format!("{error:#}"))),
        }
    }
    let mut all: Vec<Runs> = (0..able.len() + 2).map(|_| Runs::default()).collect();
    for round in 0..bench.pick([5, 2, 2]) {
        for watcher in order(round, all.len()) {
            match watcher {
                0 => storm(bench, &Netns::new()?, closed_port(), &mut all[0])?,
                1 => by_agent(bench, &mut all[1])?,
                peer => by_peer(bench, able[peer - 2], &mut all[peer])?,
            }
        }
    }
    let names = ["nobody", "redis-trace"].into_iter().chain(able.iter().map(|peer| peer.name));
    for (name, runs) in names.zip(&all) {
        table.row(row(name, runs, &all[0].rates));
    }
    for (name, why) in unable {
        let none = || "–".to_owned();
        table.row([name.to_owned(), none(), none(), none(), none(), none(), format!("cannot run here: {why}")]);
    }
    Ok(table)
}

/// One storm.
fn storm(bench: &Bench, netns: &Netns, port: u16, runs: &mut Runs) -> Result<()> {
    let done = play(netns, &["refuse", "--port", &port.to_string(), "--seconds", bench.pick(["3", "1", "1"])])?;
    runs.rates.push(said(&done, "refused")? / said(&done, "seconds")?);
    runs.made += done["refused"].as_u64().context("the load says how many were refused")?;
    Ok(())
}

/// One that the agent watches.
fn by_agent(bench: &Bench, runs: &mut Runs) -> Result<()> {
    let (netns, closed) = (Netns::new()?, closed_port());
    let agent = Agent::start(&bench.program, &["--port", &closed.to_string()])?;
    storm(bench, &netns, closed, runs)?;
    let told = agent.stop()?;
    runs.told += told.counted(closed);
    runs.words = format!("{} lost, {} records missed", told.lost(), told.missed());
    Ok(())
}

/// One that another tool watches.
fn by_peer(bench: &Bench, peer: &'static Peer, runs: &mut Runs) -> Result<()> {
    let netns = Netns::new()?;
    let watching = peer.watch(&netns, &[])?;
    storm(bench, &netns, closed_port(), runs)?;
    std::thread::sleep(CATCH_UP);
    let Outcome { printed, words } = watching.stop()?;
    runs.told += printed;
    let of_loss = |word: &String| ["dropped", "ost "].iter().any(|loss| word.contains(loss));
    runs.words = words.into_iter().filter(of_loss).collect::<Vec<_>>().join("; ");
    Ok(())
}

/// A row of the storms.
fn row(name: &str, runs: &Runs, without: &[f64]) -> [String; 7] {
    let ratio = Spread::ratios(&runs.rates, without);
    let rate = number(Spread::of(runs.rates.iter().copied()).median().round());
    let told = if name == "nobody" { "–".to_owned() } else { runs.told.to_string() };
    let made = runs.made.to_string();
    [name.to_owned(), rate, format!("{:.3}", ratio.median()), ratio.text(3), made, told, runs.words.clone()]
}

/// Requests to a server that nobody, the agent and strace watch.
fn requests(bench: &Bench) -> Result<Table> {
    let names = ["nobody", "redis-trace", STRACE.name];
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..bench.pick([5, 2, 2]) {
        let server = Server::start()?;
        let ask = || -> Result<f64> {
            let done = server.ask(&["--request", "set"], bench.pick(["100000", "20000", "20000"]))?;
            Ok(said(&done, "requests")? / said(&done, "seconds")?)
        };
        ask()?;
        for watcher in order(round, names.len()) {
            let rate = match watcher {
                0 => ask()?,
                1 => {
                    let agent = Agent::start(&bench.program, &[])?;
                    let rate = ask()?;
                    agent.stop()?;
                    rate
                }
                _ => {
                    let strace = STRACE.watch(&server.netns, &[&server.pid().to_string()])?;
                    let rate = ask()?;
                    strace.stop()?;
                    rate
                }
            };
            rates[watcher].push(rate);
        }
    }
    let mut table = Table::new(["watcher", "SET requests a second", "ratio", "spread"]);
    for (name, with) in names.iter().zip(&rates) {
        let ratio = Spread::ratios(with, &rates[0]);
        let rate = number(Spread::of(with.iter().copied()).median().round());
        table.row([(*name).to_owned(), rate, format!("{:.3}", ratio.median()), ratio.text(3)]);
    }
    Ok(table)
}
