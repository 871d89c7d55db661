//! `redis-trace record FILE`: watches, and keeps every fact so that the same verdicts can be had again.

use super::recorder::Recorder;
use super::watch;
use crate::cli::RecordArgs;
use crate::failure::Exit;

/// Runs it.
pub fn run(args: &RecordArgs) -> anyhow::Result<Exit> {
    if args.watch.print_filter {
        return watch::run(&args.watch);
    }
    watch::run_and_record(&args.watch, Some(Recorder::create(&args.file, args.pcapng.as_deref())?))
}
