//! `cargo xtask vm`: runs redis-trace as root in machines with other kernels.

mod archive;
mod boot;
mod guest;
mod kernel;
mod modules;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{cargo, run, workspace};
use crate::setup;
use boot::{Clock, Outcome};
use kernel::{Cache, Kernel, SERIES, Series};
use table::Table;

/// How many machines run at once.
const AT_ONCE: usize = 2;
/// The program's target in the machines.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What runs where.
#[derive(Args)]
pub(crate) struct Options {
    /// Kernel series: 5.10, 6.1, 6.12, 6.18, 7.x or all
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Run this shell script in the machine instead of redis-trace (which is in its PATH)
    #[arg(long, value_name = "FILE", conflicts_with = "arguments")]
    script: Option<PathBuf>,
    /// Keep the table of causes and kernels in docs/kernels.md
    #[arg(long, conflicts_with_all = ["kernel", "script", "arguments"])]
    keep: bool,
    /// Arguments for redis-trace in the machine [default: demo -o json]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command in every machine that was asked for; an error unless all of them pass.
pub(crate) fn vm(options: &Options) -> Result<()> {
    setup::everything()?;
    let outcomes = run_in_machines(options)?;
    let table = tabulate(&outcomes);
    if options.keep {
        table.keep(&workspace()?)?;
    }
    summarize(&outcomes)
}

/// Runs the demo with every kernel; an error unless all pass and the table that is kept is what they showed.
pub(crate) fn test() -> Result<()> {
    let options = Options { kernel: "all".into(), script: None, keep: false, arguments: Vec::new() };
    let outcomes = run_in_machines(&options)?;
    let compared = tabulate(&outcomes).compare(&workspace()?);
    summarize(&outcomes)?;
    compared
}

/// Builds what the machines need and boots them.
fn run_in_machines(options: &Options) -> Result<Vec<Outcome>> {
    let program = build(&workspace()?.join("target/vm"))?;
    run_programs(&options.kernel, &[&program], &command(options)?, Clock::Host)
}

/// Boots the kernels of a `--kernel` argument with a clock that counts instructions, each with these static programs and a
/// shell command to run.
pub(crate) fn count_instructions(kernel: &str, programs: &[&Path], command: &str) -> Result<Vec<Outcome>> {
    run_programs(kernel, programs, command, Clock::Instructions)
}

/// Boots the kernels of a `--kernel` argument.
fn run_programs(kernel: &str, programs: &[&Path], command: &str, clock: Clock) -> Result<Vec<Outcome>> {
    let series = choose(kernel)?;
    let root = workspace()?;
    let work = root.join("target/vm");
    let kernels = Cache::open(&root)?.kernels(&series)?;
    let base = guest::pack_base(&work)?;
    let command = guest::pack_command(&work, programs, command)?;
    boot_all(kernels, &base, &command, &work, clock)
}

/// The table of what the demo showed, printed if it ran.
fn tabulate(outcomes: &[Outcome]) -> Table {
    let mut table = Table::default();
    for outcome in outcomes {
        table.add(outcome.series, &outcome.output);
    }
    if !table.is_empty() {
        println!("{}", table.markdown());
        table.wrong().iter().for_each(|wrong| println!("not as expected on {wrong}"));
    }
    table
}

/// The series that a `--kernel` argument names.
fn choose(name: &str) -> Result<Vec<Series>> {
    let chosen: Vec<Series> = SERIES.into_iter().filter(|series| name == "all" || series.name == name).collect();
    if chosen.is_empty() {
        let known = SERIES.map(|series| series.name).join(", ");
        bail!("no kernel series is called {name}: there are {known} and all");
    }
    Ok(chosen)
}

/// The shell commands that the machine runs.
fn command(options: &Options) -> Result<String> {
    if let Some(file) = &options.script {
        return std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let standard = ["demo", "-o", "json"].map(String::from);
    let arguments = if options.arguments.is_empty() { &standard[..] } else { &options.arguments[..] };
    let quoted = arguments.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    // The check tells which hooks there are, hence the tier; that it finds some missing is for the demo to judge.
    Ok(format!("redis-trace check -o json\nexec redis-trace {}\n", quoted.collect::<Vec<_>>().join(" ")))
}

/// Builds a program that needs no libraries of the machine it runs on.
fn build(work: &Path) -> Result<PathBuf> {
    // With --target the flags reach the program alone: procedural macros cannot be static.
    run(cargo()?
        .args(["build", "--locked", "--release", "--package", "redis-trace", "--target", TARGET, "--target-dir"])
        .arg(work)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Half the time to build, and no difference that a test could see.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"))?;
    Ok(work.join(TARGET).join("release/redis-trace"))
}

/// Boots the kernels, some at once, and prints what each said as soon as it is done.
fn boot_all(kernels: Vec<Kernel>, base: &Path, command: &Path, work: &Path, clock: Clock) -> Result<Vec<Outcome>> {
    let waiting = Mutex::new(kernels.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().ok().and_then(|mut kernels| kernels.next());
    let boot_in_turn = || -> Result<()> {
        while let Some((place, kernel)) = next() {
            let outcome = boot::boot(&kernel, base, command, work, clock)
                .with_context(|| format!("kernel {} did not run", kernel.name))?;
            println!("---- kernel {}: {}\n{}", outcome.series, outcome.release, outcome.output);
            if let Ok(mut done) = done.lock() {
                done.push((place, outcome));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(boot_in_turn)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread that booted kernels panicked")))
    })?;
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

/// One line a kernel, then the count; an error unless all passed.
fn summarize(outcomes: &[Outcome]) -> Result<()> {
    println!("kernels:");
    for outcome in outcomes {
        let result = if outcome.passed { "passed" } else { "FAILED" };
        let again = match outcome.false_starts {
            0 => String::new(),
            n => format!("; {n} boots before it never reached init"),
        };
        println!("  {:5} {:28} {:6.1} s  {result}{again}", outcome.series, outcome.release, outcome.seconds);
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed > 0 {
        bail!("{failed} of {} kernels failed", outcomes.len());
    }
    Ok(())
}
