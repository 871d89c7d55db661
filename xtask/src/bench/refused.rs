//! Refused connections a second, with and without the agent, and whether every one of them was counted.

use anyhow::{Context as _, Result};

use super::agent::{Agent, WAYS};
use super::load::{play, said};
use super::measure::Bench;
use super::netns::{Netns, closed_port};
use super::page::{Figure, Part, Table, Target, number};
use super::spread::{Spread, order};

/// The title on the page.
pub(super) const TITLE: &str = "Refused connections a second";

/// One storm.
struct Storm {
    /// Refusals a second.
    rate: f64,
    /// Refusals in a second of the clients' CPU time.
    pace: f64,
    /// How many refusals the load made.
    made: u64,
}

/// A storm that the agent watched, or several.
struct Watched {
    storm: Storm,
    /// The sum of the counts on its lines.
    told: u64,
    /// What its summary says.
    seen: u64,
    /// Of these, what could not be told.
    lost: u64,
    /// Records that found no room, of what was counted all the same.
    missed: u64,
    /// Of what the kernel counted, the least share that was seen.
    coverage: f64,
    /// Whether the summary's own sum comes out.
    adds_up: bool,
}

/// Storms without an agent and with it in each of the other [`WAYS`], round by round.
#[derive(Default)]
struct Rounds {
    without: Vec<Storm>,
    with: [Vec<Watched>; WAYS.len() - 1],
}

/// Measures one client and as many as there are CPUs, then one long storm.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "A client in a process of its own dials a closed port of 127.0.0.1, one connect after the other, in a network \
         namespace of its own. The kernel sends and receives on the client's back, so its CPU clock has all of a refusal: the \
         ratio divides refusals in a second of that, which what else runs on the machine does not change. `made` is what the clients counted, `told` the sum of the counts on the agent's lines, \
         `seen` and `lost` what its summary says, all for that port; `missed` are records that found no room, of what \
         was counted all the same; `coverage` is the summary's least; it adds up when seen = delivered + aggregated + \
         lost.",
    );
    let mut rates = Table::new(["clients", "agent", "1/s, median", "of CPU: ratio", "spread of the ratio"]);
    let mut counts = Table::new(["storm", "made", "told", "seen", "lost", "missed", "coverage", "adds up"]);
    let cpus = std::thread::available_parallelism()?.get();
    for clients in if cpus > 1 { vec![1, cpus] } else { vec![1] } {
        let rounds = rounds(bench, clients)?;
        if clients == 1 {
            let (what, ratio) = ("refused connects a second of CPU, with / without", rounds.ratio(0));
            part.figures.push(Figure::new(what, Target::AtLeast(0.9), ratio.median()).spread(ratio.text(3)));
        }
        for row in rounds.rows(clients) {
            rates.row(row);
        }
        counts.row(row(&format!("{clients} clients, all runs"), &sum(rounds.with)));
    }
    let seconds = bench.pick([60, 10, 2]);
    let long = watch(bench, &[], cpus, seconds)?;
    counts.row(row(&format!("{cpus} clients, {seconds} s"), &long));
    part.figures.extend(figures(&long, seconds));
    part.tables = vec![rates, counts];
    Ok(part)
}

/// What was promised of a long storm.
fn figures(long: &Watched, seconds: u64) -> [Figure; 2] {
    let made = long.storm.made;
    let counts = [("missing from or added to the count", made.abs_diff(long.seen)), ("lost", long.lost)];
    counts.map(|(what, count)| {
        let what = format!("refusals {what} in a full storm of {seconds} s");
        #[expect(clippy::cast_precision_loss, reason = "exact to 2^53")]
        Figure::new(&what, Target::AtMost(0.0), count as f64).spread(format!("of {made}"))
    })
}

/// Rounds without the agent and with it, in alternating order.
fn rounds(bench: &Bench, clients: usize) -> Result<Rounds> {
    let seconds = bench.pick([3, 1, 1]);
    let mut rounds = Rounds::default();
    for round in 0..bench.pick([9, 5, 3]) {
        for way in order(round, WAYS.len()) {
            match WAYS[way].1 {
                None => rounds.without.push(storm(&Netns::new()?, closed_port(), clients, seconds)?),
                Some(flags) => rounds.with[way - 1].push(watch(bench, flags, clients, seconds)?),
            }
        }
    }
    Ok(rounds)
}

impl Rounds {
    /// What is left with a way to watch of what a second of CPU does.
    fn ratio(&self, nth: usize) -> Spread {
        let with: Vec<f64> = self.with[nth].iter().map(|watched| watched.storm.pace).collect();
        Spread::ratios(&with, &self.without.iter().map(|storm| storm.pace).collect::<Vec<_>>())
    }

    /// The rates, a row for each way to watch and one for none.
    fn rows(&self, clients: usize) -> Vec<[String; 5]> {
        let median = |rates: Vec<f64>| number(Spread::of(rates).median().round());
        let without = median(self.without.iter().map(|storm| storm.rate).collect());
        let none = [clients.to_string(), "none".to_owned(), without, "1.000".to_owned(), String::new()];
        let with = WAYS[1..].iter().zip(&self.with).enumerate().map(|(nth, ((name, _), watched))| {
            let (ratio, rate) = (self.ratio(nth), median(watched.iter().map(|watched| watched.storm.rate).collect()));
            [clients.to_string(), (*name).to_owned(), rate, format!("{:.3}", ratio.median()), ratio.text(3)]
        });
        std::iter::once(none).chain(with).collect()
    }
}

/// A storm that an agent watches.
fn watch(bench: &Bench, flags: &[&str], clients: usize, seconds: u64) -> Result<Watched> {
    let (netns, port) = (Netns::new()?, closed_port());
    let number = port.to_string();
    let agent = Agent::start(&bench.program, &[&["--port", &number], flags].concat())?.settled()?;
    let storm = storm(&netns, port, clients, seconds)?;
    let told = agent.stop()?;
    Ok(Watched {
        storm,
        told: told.counted(port),
        seen: told.seen(),
        lost: told.lost(),
        missed: told.missed(),
        coverage: told.coverage().unwrap_or(f64::NAN),
        adds_up: told.adds_up(),
    })
}

/// A storm.
fn storm(netns: &Netns, port: u16, clients: usize, seconds: u64) -> Result<Storm> {
    let [port, clients, seconds] = [u64::from(port), clients as u64, seconds].map(|number| number.to_string());
    let done = play(netns, &["refuse", "--port", &port, "--clients", &clients, "--seconds", &seconds])?;
    let made = done["refused"].as_u64().context("the load says how many were refused")?;
    let refused = said(&done, "refused")?;
    Ok(Storm { rate: refused / said(&done, "seconds")?, pace: refused / said(&done, "cpu_ns")? * 1e9, made })
}

/// All storms as one.
fn sum(watched: [Vec<Watched>; WAYS.len() - 1]) -> Watched {
    let storm = Storm { rate: 0.0, pace: 0.0, made: 0 };
    let none = Watched { storm, told: 0, seen: 0, lost: 0, missed: 0, coverage: f64::INFINITY, adds_up: true };
    watched.into_iter().flatten().fold(none, |sum, one| Watched {
        storm: Storm { rate: 0.0, pace: 0.0, made: sum.storm.made + one.storm.made },
        told: sum.told + one.told,
        seen: sum.seen + one.seen,
        lost: sum.lost + one.lost,
        missed: sum.missed + one.missed,
        coverage: sum.coverage.min(one.coverage),
        adds_up: sum.adds_up && one.adds_up,
    })
}

/// What was made and seen in a storm.
fn row(name: &str, watched: &Watched) -> [String; 8] {
    let Watched { storm, told, seen, lost, missed, coverage, adds_up } = watched;
    let adds_up = if *adds_up { "yes" } else { "**no**" };
    let [made, told, seen, lost, missed] = [&storm.made, told, seen, lost, missed].map(u64::to_string);
    [name.to_owned(), made, told, seen, lost, missed, format!("{coverage:.6}"), adds_up.to_owned()]
}
