//! The measurements themselves, made by an optimized program of its own, on this host or in a virtual machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::page::{Part, Place, Results};
use super::{accepted, delay, footprint, peers, probes, redis, refused, scale, start};
use crate::run::output;

/// What is measured, and which program.
#[derive(Args)]
pub(crate) struct Measure {
    /// The redis-trace that is measured
    #[arg(long)]
    program: PathBuf,
    /// How many runs, and how long
    #[arg(long, default_value = "whole")]
    extent: Extent,
    /// What to measure
    names: Vec<String>,
}

/// One measurement: what `--only` calls it, its title, and how it is made.
type Measurement = (&'static str, &'static str, fn(&Bench) -> Result<Part>);

/// All of them, in the order of the page.
const MEASUREMENTS: &[Measurement] = &[
    ("refused", refused::TITLE, refused::measure),
    ("redis", redis::TITLE, redis::measure),
    ("accepted", accepted::TITLE, accepted::measure),
    ("probes", probes::TITLE, probes::measure),
    ("footprint", footprint::TITLE, footprint::measure),
    ("start", start::TITLE, start::measure),
    ("delay", delay::TITLE, delay::measure),
    ("scale", scale::TITLE, scale::measure),
    ("peers", peers::TITLE, peers::measure),
];

/// How many runs there are, and how long each is.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Extent {
    /// As the page needs it.
    Whole,
    /// For a first look.
    Quick,
    /// Where instructions are counted, which is slow, and hardly two runs differ.
    Emulated,
}

/// What every measurement works with.
pub(super) struct Bench {
    /// The program that is measured.
    pub(super) program: PathBuf,
    /// How much is measured.
    extent: Extent,
}

impl Bench {
    /// A number for each extent.
    pub(super) fn pick<T: Copy>(&self, [whole, quick, emulated]: [T; 3]) -> T {
        match self.extent {
            Extent::Whole => whole,
            Extent::Quick => quick,
            Extent::Emulated => emulated,
        }
    }
}

/// What the measurements are called.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    MEASUREMENTS.iter().map(|(name, ..)| *name)
}

/// Measures; the results go to standard output as JSON, what is going on to standard error.
pub(crate) fn measure(options: &Measure) -> Result<()> {
    let bench = Bench { program: options.program.clone(), extent: options.extent };
    if probes::are_timed()? {
        bail!(
            "the kernel keeps the time of its BPF programs, which would be measured with them.\n  \
             try   sudo sysctl kernel.bpf_stats_enabled=0"
        );
    }
    let wanted = MEASUREMENTS.iter().filter(|(name, ..)| options.names.iter().any(|wanted| wanted == name));
    let parts = wanted.map(|one| make(one, &bench)).collect();
    let results = Results { place: place(&bench.program)?, parts };
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}

/// Makes one measurement and tells it; one that fails is told on the page and does not end the others.
fn make((name, title, measure): &Measurement, bench: &Bench) -> Part {
    eprintln!("---- {name}");
    let start = Instant::now();
    let part = measure(bench).unwrap_or_else(|error| Part::failed(title, &error));
    eprintln!("{}---- {name} took {:.0} s", part.markdown(2), start.elapsed().as_secs_f64());
    part
}

/// Which kernel this is, and which hooks the program has on it.
pub(super) fn place(program: &Path) -> Result<Place> {
    let check = Command::new(program).args(["check", "-o", "json"]).output().context("cannot start the program")?;
    let check: Value = serde_json::from_slice(&check.stdout).context("`redis-trace check` does not say JSON")?;
    let mut hooks = check["hooks"].as_array().into_iter().flatten();
    let has_trampolines = hooks.any(|hook| hook["tier"] == 1 && hook["state"] == "up");
    let tier = if has_trampolines { "T1" } else { "T2" };
    let cpus = std::thread::available_parallelism()?.get();
    Ok(Place { kernel: output(Command::new("uname").arg("-r"))?, tier: tier.to_owned(), cpus })
}
