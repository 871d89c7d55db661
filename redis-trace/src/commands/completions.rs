//! `redis-trace completions`: what a shell needs to complete our command line.

use std::io::{self, Write as _};

use clap::CommandFactory as _;

use crate::cli::{Cli, CompletionsArgs};
use crate::failure::Exit;

/// Prints the completions of the shell.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "redis-trace", &mut script);
    io::stdout().write_all(&script)?;
    Ok(Exit::Fine)
}
