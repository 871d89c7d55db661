//! The command line: definitions only, and the help that goes with them.

mod audit;
mod doctor;
mod metrics;
mod values;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use audit::{AuditArgs, Findings};
pub use doctor::{DoctorArgs, Document, LoginArgs, TlsArgs};
pub use metrics::MetricsArgs;
use values::{duration, ring};

use crate::trace::cause::Code;
use crate::trace::filter::{Address, Choice, Name, Pattern, PortRange};
use crate::trace::report::{Outcome, Side};

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

const FILTERS: &str = "Filters (repeat a flag: OR; several flags: AND; !VALUE: not)";
const LIMITS: &str = "Limits";
const OUTPUT: &str = "Output";
const OBSERVATION: &str = "Observation";

/// Says why a connection was refused: every one, with evidence and the fix.
#[derive(Debug, Parser)]
#[command(name = "redis-trace", version, about, after_help = EXAMPLES, max_term_width = 100)]
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

/// Which refusals are told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = FILTERS)]
pub struct FilterArgs {
    /// Port that was dialled: 6379, 6379-6389
    #[arg(long, value_name = "PORT", allow_hyphen_values = false)]
    pub port: Vec<Choice<PortRange>>,
    /// Address of either end: 10.0.3.9, 10.0.0.0/8, ::1
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Vec<Choice<Address>>,
    /// Address of the client
    #[arg(long, value_name = "ADDRESS")]
    pub from: Vec<Choice<Address>>,
    /// Address that was dialled
    #[arg(long, value_name = "ADDRESS")]
    pub to: Vec<Choice<Address>>,
    /// Process id of either end
    #[arg(long, value_name = "PID")]
    pub pid: Vec<Choice<u32>>,
    /// Process name of either end; * stands for anything: redis-*
    #[arg(long, value_name = "NAME")]
    pub comm: Vec<Choice<Pattern>>,
    /// Container of either end: its name, or the beginning of its id
    #[arg(long, value_name = "ID")]
    pub container: Vec<Choice<Pattern>>,
    /// Network namespace: its inode or its name under /run/netns
    #[arg(long, value_name = "NETNS")]
    pub netns: Vec<Choice<Name>>,
    /// End that this host saw: server, client, both
    #[arg(long, value_name = "SIDE")]
    pub side: Vec<Choice<Side>>,
    /// What the client got: refused, reset, timeout, denied, rejected, listen_failed
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Vec<Choice<Outcome>>,
    /// Cause, by code or name
    #[arg(long, value_name = "CODE")]
    pub cause: Vec<Choice<Code>>,
}

impl FilterArgs {
    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let Self { port, ip, from, to, pid, comm, container, netns, side, outcome, cause } = self;
        let flags = [
            ("--port", port.is_empty()),
            ("--ip", ip.is_empty()),
            ("--from", from.is_empty()),
            ("--to", to.is_empty()),
            ("--pid", pid.is_empty()),
            ("--comm", comm.is_empty()),
            ("--container", container.is_empty()),
            ("--netns", netns.is_empty()),
            ("--side", side.is_empty()),
            ("--outcome", outcome.is_empty()),
            ("--cause", cause.is_empty()),
        ];
        flags.into_iter().filter(|(_, is_empty)| !is_empty).map(|(flag, _)| flag).collect()
    }
}

/// When observation ends; without any of these, at Ctrl-C.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = LIMITS)]
pub struct LimitArgs {
    /// End after this long: 30s, 5m, 1h 30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// End after this many refusals
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after the first refusal
    #[arg(long, conflicts_with = "count")]
    pub first: bool,
    /// Exit with code 5 when something was lost or a hook is missing
    #[arg(long)]
    pub strict: bool,
}

impl LimitArgs {
    /// After how many refusals to end.
    pub fn refusals(&self) -> Option<u64> {
        if self.first { Some(1) } else { self.count }
    }
}

/// How refusals are told.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = OUTPUT)]
pub struct OutputArgs {
    /// Text for people, JSON (one object a line) for programs
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// Times in UTC, not in local time
    #[arg(long)]
    pub utc: bool,
    /// How text shows the time
    #[arg(long, value_name = "STYLE", default_value = "clock")]
    pub time: TimeStyle,
    /// Tell every refusal by itself, however many there are
    #[arg(long)]
    pub no_aggregate: bool,
}

/// How the kernel is observed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = OBSERVATION)]
pub struct ObservationArgs {
    /// Do not hook system calls: cheaper, and blind to failed binds and unix sockets on some kernels
    #[arg(long)]
    pub no_syscall_hooks: bool,
    /// Room between kernel and program, a power of two
    #[arg(long, value_name = "SIZE", default_value = "2M", value_parser = ring)]
    pub ring: u32,
    /// Which hooks to use, for tests
    #[arg(long, value_name = "TIER", default_value = "auto", hide = true)]
    pub tier: Tier,
}

/// How much is remembered of what happened before a refusal.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = OBSERVATION)]
pub struct HistoryArgs {
    /// Remember this many ended processes and listeners
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_processes: u32,
    /// Remember them this long
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub max_age: Duration,
}

/// What is given up once the probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sandbox {
    /// What this kernel lets a process give up
    Auto,
    /// The same, and fail where it cannot be all
    Strict,
    /// Nothing
    Off,
}

/// The format of standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// When output is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR or CLICOLOR say otherwise
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// How text shows the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimeStyle {
    /// 12:03:41.208
    Clock,
    /// 2026-11-23T12:03:41.208+01:00
    Full,
    /// Seconds since the first refusal
    Relative,
    /// Not at all
    None,
}

/// Which hooks are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// The best that this kernel has
    Auto,
    /// Raw and system call tracepoints only
    T2,
}

/// The objects of the JSON output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Object {
    /// One refusal
    Refusal,
    /// A correction of an earlier refusal
    Update,
    /// The last line
    Summary,
    /// What `doctor` found
    Doctor,
    /// What `audit` found
    Audit,
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
