//! `cargo xtask demo`: from a fresh clone to explained refusals in one command.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::run::{cargo, run, workspace};
use crate::setup;

/// Sets up what the demo needs, builds the program and runs its demo as root.
pub(crate) fn demo(arguments: &[String]) -> Result<()> {
    setup::demo()?;
    run(cargo()?.args(["build", "--locked", "--release", "--package", "redis-trace"]))?;
    let program = workspace()?.join("target/release/redis-trace");
    let mut demo = if setup::is_root()? { Command::new(program) } else { sudo(&program) };
    run(demo.arg("demo").args(arguments))
}

/// The program, as root.
fn sudo(program: &Path) -> Command {
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}
