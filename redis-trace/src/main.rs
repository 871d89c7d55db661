//! Says why a connection was refused.

use std::io;
use std::panic;
use std::process::ExitCode;

use clap::Parser as _;
use redis_trace::cli::Cli;
use redis_trace::commands;
use redis_trace::failure::{Exit, Failure};

fn main() -> ExitCode {
    panic::set_hook(Box::new(own_up));
    let cli = Cli::parse();
    let exit = commands::run(&cli.command).unwrap_or_else(|error| tell(&error));
    exit.into()
}

/// Prints an error as the contract has it, and says how to end.
fn tell(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        eprintln!("{failure}");
        return failure.exit;
    }
    match error.downcast_ref::<io::Error>() {
        // Whoever read our output has read enough.
        Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
        _ => {
            eprintln!("error: {error:#}");
            Exit::Incomplete
        }
    }
}

/// A panic is a bug of ours: says so, and what to do, and ends with 70 whichever thread it was in.
fn own_up(panic: &panic::PanicHookInfo<'_>) {
    let failure = Failure::new(Exit::Bug, format!("redis-trace has a bug: {panic}"))
        .fact(format!("version {}", env!("CARGO_PKG_VERSION")))
        .attempt("the same once more with `redis-trace record FILE`, and report the bug with that file");
    eprintln!("{failure}");
    std::process::exit(i32::from(Exit::Bug as u8));
}
