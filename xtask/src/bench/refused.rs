//! Refused connections a second, with and without the agent, and whether every one of them was counted.

use anyhow::{Context as _, Result};

use super::agent::Agent;
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

/// Storms with and without an agent, round by round.
#[derive(Default)]
struct Pairs {
    without: Vec<Storm>,
    with: Vec<Watched>,
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
    let mut rates = Table::new(["clients", "without, 1/s", "with, 1/s", "of CPU: ratio", "spread of the ratio"]);
    let mut counts = Table::new(["storm", "made", "told", "seen", "lost", "missed", "coverage", "adds up"]);
    let cpus = std::thread::available_parallelism()?.get();
    for clients in if cpus > 1 { vec![1, cpus] } else { vec![1] } {
        let pairs = pairs(bench, clients)?;
        if clients == 1 {
            let (what, ratio) = ("refused connects a second of CPU, with / without", pairs.ratio());
            part.figures.push(Figure::new(what, Target::AtLeast(0.9), ratio.median()).spread(ratio.text(3)));
        }
        rates.row(pairs.row(clients));
        counts.row(row(&format!("{clients} clients, all runs"), &sum(pairs.with)));
    }
    let seconds = bench.pick([60, 10, 2]);
    let long = watch(bench, cpus, seconds)?;
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

/// Rounds with and without the agent, in alternating order.
fn pairs(bench: &Bench, clients: usize) -> Result<Pairs> {
    let seconds = bench.pick([3, 1, 1]);
    let mut pairs = Pairs::default();
    for round in 0..bench.pick([9, 5, 3]) {
        for variant in order(round, 2) {
            if variant == 0 {
                pairs.without.push(storm(&Netns::new()?, closed_port(), clients, seconds)?);
            } else {
                pairs.with.push(watch(bench, clients, seconds)?);
            }
        }
    }
    Ok(pairs)
}

impl Pairs {
    /// A figure of each storm without the agent, and with it.
    fn each(&self, figure: fn(&Storm) -> f64) -> [Vec<f64>; 2] {
        let with = self.with.iter().map(|watched| figure(&watched.storm));
        [self.without.iter().map(figure).collect(), with.collect()]
    }

    /// What is left with it of what a second of CPU does.
    fn ratio(&self) -> Spread {
        let [without, with] = self.each(|storm| storm.pace);
        Spread::ratios(&with, &without)
    }

    /// A row of the rates.
    fn row(&self, clients: usize) -> [String; 5] {
        let [without, with] = self.each(|storm| storm.rate).map(|rates| number(Spread::of(rates).median().round()));
        let ratio = self.ratio();
        [clients.to_string(), without, with, format!("{:.3}", ratio.median()), ratio.text(3)]
    }
}

/// A storm that an agent watches.
fn watch(bench: &Bench, clients: usize, seconds: u64) -> Result<Watched> {
    let (netns, port) = (Netns::new()?, closed_port());
    let agent = Agent::start(&bench.program, &["--port", &port.to_string()])?.settled()?;
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
fn sum(watched: Vec<Watched>) -> Watched {
    let storm = Storm { rate: 0.0, pace: 0.0, made: 0 };
    let none = Watched { storm, told: 0, seen: 0, lost: 0, missed: 0, coverage: f64::INFINITY, adds_up: true };
    watched.into_iter().fold(none, |sum, one| Watched {
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
