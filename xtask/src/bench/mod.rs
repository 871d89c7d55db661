//! `cargo xtask bench`: what watching costs, how soon a refusal is told, what is lost; and what others cost and lose.

mod accepted;
mod agent;
mod delay;
mod footprint;
mod load;
mod measure;
mod netns;
mod page;
mod probes;
mod process;
mod redis;
mod refused;
mod scale;
mod spread;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{cargo, run, workspace};
use crate::setup;
pub(crate) use load::{Load, load};
pub(crate) use measure::{Measure, measure};
use page::Results;

/// The target of the program that is measured: it needs no library of the machine it runs on.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Where the page is kept, relative to the workspace.
const KEPT: &str = "docs/performance.md";
/// Where a page goes that holds a part of the measurements, or quick ones.
const DRAFT: &str = "target/performance.md";

/// What is measured, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Measure only this (repeatable): refused, redis, accepted, probes, footprint, start, delay, scale
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Fewer and shorter runs, for a first look
    #[arg(long)]
    quick: bool,
}

/// Builds what is measured and what measures, measures, and writes the page.
pub(crate) fn bench(options: &Options) -> Result<()> {
    if !setup::is_root()? {
        bail!("the agent needs root.\n  try   sudo env PATH=\"$PATH\" cargo xtask bench");
    }
    measure::choose(&options.only)?;
    setup::bench()?;
    let (program, measurer) = (build("redis-trace", true)?, build("xtask", false)?);
    let results = natively(&program, &measurer, options)?;
    let kept = if options.quick || !options.only.is_empty() { DRAFT } else { KEPT };
    fs::write(workspace()?.join(kept), page::page(&results, &[])).with_context(|| format!("cannot write {kept}"))?;
    println!("{kept} is written");
    for missed in results.missed() {
        println!("missed: {missed}");
    }
    Ok(())
}

/// Measures on this host.
fn natively(program: &Path, measurer: &Path, options: &Options) -> Result<Results> {
    let mut command = Command::new(measurer);
    command.arg("measure").arg("--program").arg(program).args(options.only.iter().flat_map(|name| ["--only", name]));
    if options.quick {
        command.arg("--quick");
    }
    let done = command.stderr(Stdio::inherit()).output().context("cannot start what measures")?;
    if !done.status.success() {
        bail!("the measurements failed: {}", done.status);
    }
    serde_json::from_slice(&done.stdout).context("cannot read what was measured")
}

/// Builds a package that needs no library of the machine it runs on; what is shipped is optimized as a whole.
fn build(package: &str, shipped: bool) -> Result<PathBuf> {
    let mut cargo = cargo()?;
    // With --target the flags reach the program alone: procedural macros cannot be static.
    cargo
        .args(["build", "--locked", "--release", "--package", package, "--target", TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    if !shipped {
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    run(&mut cargo)?;
    Ok(workspace()?.join("target").join(TARGET).join("release").join(package))
}
