//! `cargo xtask bench`: what watching costs, how soon a refusal is told, what is lost; and what others cost and lose.

mod accepted;
pub(crate) mod agent;
mod core;
mod delay;
mod footprint;
pub(crate) mod load;
mod measure;
pub(crate) mod netns;
mod page;
mod peer;
mod peers;
mod probes;
pub(crate) mod process;
mod redis;
mod refused;
mod scale;
pub(crate) mod spread;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{cargo, run, workspace};
use crate::{setup, vm};
pub(crate) use load::{Load, load};
pub(crate) use measure::{Measure, measure};
use page::{Part, Results};

/// The target of the program that is measured: it needs no library of the machine it runs on.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What makes it so, and small. With --target it reaches the program alone: procedural macros cannot be static.
const STATIC: &[&str] = &[
    "-Ctarget-feature=+crt-static",
    // Addresses that are only to be moved take a bit each instead of 24 bytes; functions that are alike are one.
    "-Clink-arg=-Wl,-z,pack-relative-relocs,--icf=all",
    // A panic ends the process where it is, see the release profile.
    "-Cforce-unwind-tables=no",
];
/// What `--only` calls the measurement that needs no process.
const CORE: &str = "core";
/// What means something where instructions stand for time.
const EMULATED: &[&str] = &["refused", "redis", "accepted", "probes"];
/// Where the page is kept, relative to the workspace.
const KEPT: &str = "docs/performance.md";
/// Where a page goes that holds a part of the measurements.
const DRAFT: &str = "target/performance.md";

/// What is measured, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure only this (repeatable): refused, redis, accepted, probes, footprint, start, delay, scale,
    /// peers, core
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Fewer and shorter runs, for a first look
    #[arg(long)]
    quick: bool,
    /// Measure in a virtual machine with this kernel too (repeatable): 5.10, 6.1, 6.12, 6.18, 7.x
    #[arg(long, value_name = "KERNEL")]
    vm: Vec<String>,
}

/// Builds what is measured and what measures, measures, and writes the page.
pub(crate) fn bench(options: &Options) -> Result<()> {
    if !setup::is_root()? {
        bail!("the agent needs root.\n  try   sudo env PATH=\"$PATH\" cargo xtask bench");
    }
    let natives = choose(&options.only)?;
    setup::bench()?;
    let (program, measurer) = (build("redis-trace", true)?, build("xtask", false)?);
    let mut results = natively(&program, &measurer, options.quick, &natives)?;
    if options.only.is_empty() || options.only.iter().any(|name| name == CORE) {
        results.parts.push(core::measure(options.quick).unwrap_or_else(|error| Part::failed(core::TITLE, &error)));
    }
    let in_machines = options.vm.iter().map(|kernel| virtually(kernel, &program, &measurer, &natives));
    let machines = in_machines.collect::<Result<Vec<_>>>()?;
    let kept = if options.only.is_empty() { KEPT } else { DRAFT };
    fs::write(workspace()?.join(kept), page::page(&results, &machines, options.quick))
        .with_context(|| format!("cannot write {kept}"))?;
    println!("{kept} is written");
    for missed in [results].iter().chain(&machines).flat_map(Results::missed) {
        println!("missed: {missed}");
    }
    Ok(())
}

/// The measurements of processes that were asked for; all when none was named.
fn choose(names: &[String]) -> Result<Vec<String>> {
    let known: Vec<&str> = measure::names().chain([CORE]).collect();
    if let Some(strange) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no measurement is called {strange}: there are {}", known.join(", "));
    }
    let all = measure::names().map(str::to_owned);
    Ok(all.filter(|name| names.is_empty() || names.contains(name)).collect())
}

/// Measures on this host.
fn natively(program: &Path, measurer: &Path, quick: bool, names: &[String]) -> Result<Results> {
    let mut command = Command::new(measurer);
    command
        .arg("measure")
        .arg("--program")
        .arg(program)
        .args(["--extent", if quick { "quick" } else { "whole" }])
        .args(names);
    let done = command.stderr(Stdio::inherit()).output().context("cannot start what measures")?;
    if !done.status.success() {
        bail!("the measurements failed: {}", done.status);
    }
    serde_json::from_slice(&done.stdout).context("cannot read what was measured")
}

/// Measures what means something without hardware, of what was asked for, in a virtual machine.
fn virtually(kernel: &str, program: &Path, measurer: &Path, names: &[String]) -> Result<Results> {
    let names = names.iter().map(String::as_str).filter(|name| EMULATED.contains(name)).collect::<Vec<_>>().join(" ");
    let command = format!("exec xtask measure --program /usr/bin/redis-trace --extent emulated {names}\n");
    let outcomes = vm::count_instructions(kernel, &[program, measurer], &command)?;
    let said = outcomes.iter().flat_map(|outcome| outcome.output.lines()).find(|line| line.starts_with("{\"place\""));
    let said = said.with_context(|| format!("the machine with kernel {kernel} measured nothing"))?;
    serde_json::from_str(said).context("cannot read what was measured in a machine")
}

/// Builds a package that needs no library of the machine it runs on; what is shipped is optimized as a whole.
pub(crate) fn build(package: &str, shipped: bool) -> Result<PathBuf> {
    let mut cargo = cargo()?;
    cargo.args(["build", "--locked", "--release", "--package", package, "--target", TARGET]);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", STATIC.join("\x1f"));
    if !shipped {
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    run(&mut cargo)?;
    Ok(workspace()?.join("target").join(TARGET).join("release").join(package))
}
