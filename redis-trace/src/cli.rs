//! The command line: definitions only, and the help that goes with them.

mod audit;
mod doctor;
mod groups;
mod metrics;
mod values;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use audit::{AuditArgs, Findings};
pub use doctor::{DoctorArgs, Document, LoginArgs, TlsArgs};
use groups::{FILTERS, LIMITS, OBSERVATION, OUTPUT};
pub use groups::{
    FilterArgs, Format, HistoryArgs, LimitArgs, Object, ObservationArgs, OutputArgs, Sandbox, Tier, TimeStyle, When,
};
pub use metrics::MetricsArgs;
use values::size;

use crate::trace::cause::Code;

const EXAMPLES: &str = "\
Examples:
  sudo redis-trace watch                              every refused connection on this host, and why
  sudo redis-trace watch --port 6379 -o json          one JSON object a line
  sudo redis-trace watch --cmd 'redis-cli -h db ping' why this very command fails
  sudo redis-trace record case.rec --duration 60s     facts to a file...
  redis-trace replay case.rec                         ...and the same verdicts from it, anywhere
  redis-trace explain RT1007                          what a cause means and how to end it
  redis-trace doctor db:6379                          the whole troubleshooting guide, one verdict
  redis-trace audit /etc/redis/redis.conf             who gets in, who will be refused, what to change
  redis-trace check                                   what can be seen here; works without root

Exit codes:
  0 nothing wrong   1 problem found   2 usage   3 environment unsupported   4 permission missing
  5 incomplete under --strict   6 the fault is not on this host (doctor)   70 a bug of redis-trace";

/// The version, and which probes it loads: by this digest their object is found among those that were built.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\nprobes sha256 ", env!("PROBES_SHA256"));

/// Says why a connection was refused: every one, with evidence and the fix.
#[derive(Debug, Parser)]
#[command(name = "redis-trace", version, long_version = VERSION, about, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell every refused connection on this host as it happens, and why
    Watch(Box<WatchArgs>),
    /// The same as a live table in the terminal: causes with rates, listeners with their queues
    Top(Box<TopArgs>),
    /// Watch, and keep every fact in a file
    Record(Box<RecordArgs>),
    /// Give the verdicts of a recording, without root
    Replay(Box<ReplayArgs>),
    /// Dial a server under the tracer and go through the troubleshooting guide: one verdict, and the fix
    Doctor(DoctorArgs),
    /// Judge redis.conf: who gets in, who will be refused and why, what to change
    Audit(AuditArgs),
    /// Say what this kernel and these privileges let redis-trace see, hook by hook
    Check(CheckArgs),
    /// Explain a cause: what it means, how it is detected, how to end it
    Explain(ExplainArgs),
    /// Make each cause happen for real in a private network namespace, and show the verdict
    Demo(DemoArgs),
    /// Play a client or a server of the demo
    #[command(hide = true)]
    DemoActor {
        /// The part to play, and its words
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        part: Vec<String>,
    },
    /// Print the JSON Schema of an output object
    Schema(SchemaArgs),
    /// Print the completions of a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
}

/// `redis-trace watch`.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// Run this command under the tracer, end when it ends; exit code 1 when it was refused
    #[arg(long, value_name = "COMMAND")]
    pub cmd: Option<String>,
    /// Exit with code 1 when a refusal had this cause (repeatable)
    #[arg(long, value_name = "CODE", help_heading = LIMITS)]
    pub fail_on_cause: Vec<Code>,
    /// Say where each filter is applied, kernel or program, and end
    #[arg(long, help_heading = FILTERS)]
    pub print_filter: bool,
    /// Load nothing into the kernel: only full queues are told, from its counters (needs no privilege)
    #[arg(long, help_heading = OBSERVATION, conflicts_with_all = ["cmd", "no_syscall_hooks"])]
    pub no_bpf: bool,
    /// What may wait for a reader who is slow; lines that find no room are counted
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = size, help_heading = OUTPUT)]
    pub output_buffer: u32,
    /// Give up privileges once the probes are attached; strict: fail where the kernel has no Landlock
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = OBSERVATION)]
    pub sandbox: Sandbox,
    /// Which refusals to tell.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// When to end.
    #[command(flatten)]
    pub limits: LimitArgs,
    /// How to tell.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How to observe.
    #[command(flatten)]
    pub observation: ObservationArgs,
    /// How much to remember.
    #[command(flatten)]
    pub history: HistoryArgs,
    /// Who may scrape.
    #[command(flatten)]
    pub metrics: MetricsArgs,
    /// Deliver refusals to this OpenTelemetry collector too, as log records: http://127.0.0.1:4318
    #[cfg(feature = "otlp")]
    #[arg(long, value_name = "URL", help_heading = OUTPUT)]
    pub otlp: Option<String>,
}

/// `redis-trace top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = OUTPUT)]
    pub color: When,
    /// Which refusals to show.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// How to observe.
    #[command(flatten)]
    pub observation: ObservationArgs,
    /// How much to remember.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// `redis-trace record`.
#[derive(Clone, Debug, Args)]
pub struct RecordArgs {
    /// The file to create; one that exists is never overwritten
    pub file: PathBuf,
    /// Keep the headers of what is refused in this file too, each with its verdict, for Wireshark
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub pcapng: Option<PathBuf>,
    /// Everything that `watch` takes.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// `redis-trace replay`.
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// The recording; `-` is standard input
    pub file: PathBuf,
    /// Write the headers of what was refused to this file, each with its verdict, for Wireshark
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub pcapng: Option<PathBuf>,
    /// Exit with code 1 when a refusal had this cause (repeatable)
    #[arg(long, value_name = "CODE", help_heading = LIMITS)]
    pub fail_on_cause: Vec<Code>,
    /// Exit with code 5 when the recording is damaged or cut off
    #[arg(long, help_heading = LIMITS)]
    pub strict: bool,
    /// Which refusals to tell.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// How to tell.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How much to remember.
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// `redis-trace demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Stage only this cause, by code or name, or the scenarios with these words in their name (repeatable)
    #[arg(long, value_name = "CODE")]
    pub only: Vec<String>,
    /// Stage everything this many times
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u32,
    /// Stage it with this server: redis-server, valkey-server, the path of another
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    pub server: String,
    /// Record each scenario into this directory, and replay it
    #[arg(long, value_name = "DIR")]
    pub record: Option<PathBuf>,
    /// Stage everything and watch nothing
    #[arg(long, hide = true, conflicts_with = "record")]
    pub rehearse: bool,
    /// Ask doctor about each situation; tell what it and watch say of it
    #[arg(long, hide = true, conflicts_with_all = ["record", "rehearse"])]
    pub examine: bool,
    /// How many healthy connections to make
    #[arg(long, value_name = "N", default_value_t = 2_000, hide = true)]
    pub connections: u32,
    /// Which hooks to use, for tests
    #[arg(long, value_name = "TIER", default_value = "auto", hide = true)]
    pub tier: Tier,
    /// Text for people, JSON for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
}

/// `redis-trace check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    /// Text for people, JSON for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// How to observe.
    #[command(flatten)]
    pub observation: ObservationArgs,
}

/// `redis-trace explain`.
#[derive(Clone, Debug, Args)]
pub struct ExplainArgs {
    /// RT1007, 1007 or bound-to-other-address; without it, the list of causes
    pub code: Option<Code>,
}

/// `redis-trace schema`.
#[derive(Clone, Debug, Args)]
pub struct SchemaArgs {
    /// Which object
    #[arg(default_value = "refusal")]
    pub object: Object,
}

/// `redis-trace completions`.
#[derive(Clone, Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_are_sound_and_the_help_is_one_screen() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let help = command.render_help().to_string();
        assert!(help.lines().count() <= 40, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
