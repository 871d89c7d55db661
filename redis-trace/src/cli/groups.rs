//! Flags that several commands share, in the groups that the help shows.

use std::time::Duration;

use clap::{Args, ValueEnum};

use redis_trace_common::tally::KEYS;

use super::values::{duration, ring};
use crate::trace::cause::Code;
use crate::trace::filter::{Address, Choice, Name, Pattern, PortRange};
use crate::trace::report::{Outcome, Side};

/// Headings of the help.
pub(super) const FILTERS: &str = "Filters (repeat a flag: OR; several flags: AND; !VALUE: not)";
/// When to end.
pub(super) const LIMITS: &str = "Limits";
/// How to tell.
pub(super) const OUTPUT: &str = "Output";
/// How to observe.
pub(super) const OBSERVATION: &str = "Observation";

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
    /// Kinds of refusals (server, client host) that are counted apart in the kernel; the rest is counted in all
    #[arg(long, value_name = "N", default_value_t = KEYS, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub kinds: u32,
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
