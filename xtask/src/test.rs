//! `cargo xtask test`: everything that must hold before a change is merged, set-up included.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, run};
use crate::{alerts, ebpf, servers, setup, vm};

/// What the feature that is not in the program by default has of its own: all else is the same with and without it.
const OTLP: &[&str] = &["--package", "redis-trace", "--features", "otlp", "--test", "otlp"];

/// Runs every tier in turn and stops at the first that fails; no tier is ever skipped.
pub(crate) fn test() -> Result<()> {
    setup::everything()?;
    if !setup::is_root()? {
        bail!(
            "the native tests load probes and make network namespaces, which only root may.\n  \
             try   sudo env PATH=\"$PATH\" cargo xtask test"
        );
    }
    servers::fetch()?;
    run(cargo()?.args(["fmt", "--all", "--check"]))?;
    run(cargo()?.args(["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo()?.args(["clippy", "--locked"]).args(OTLP).args(["--bins", "--", "-D", "warnings"]))?;
    ebpf::check()?;
    alerts::check()?;
    native(&[])?;
    native(OTLP)?;
    vm::test()
}

/// Runs these tests on this host, all where none are named; one that says that it skipped something fails them all.
fn native(which: &[&str]) -> Result<()> {
    println!("    $ cargo test --locked {} -- --show-output", which.join(" "));
    let mut tests = cargo()?
        .args(["test", "--locked"])
        .args(which)
        .args(["--", "--show-output"])
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start `cargo test`")?;
    let (mut skipped, mut failures) = (Vec::new(), Vec::new());
    for line in BufReader::new(tests.stdout.take().context("cargo has a standard output")?).lines() {
        let line = line?;
        println!("{line}");
        if line.starts_with("skipped: ") {
            skipped.push(line);
        } else if line == "failures:" || !failures.is_empty() {
            failures.push(line);
        }
    }
    let status = tests.wait()?;
    if !status.success() {
        bail!("`cargo test` failed: {status}\n{}", failures.join("\n"));
    }
    if !skipped.is_empty() {
        bail!("tests passed, but not all of what they should test:\n  {}", skipped.join("\n  "));
    }
    Ok(())
}
