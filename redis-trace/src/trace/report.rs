//! What is told: one refusal, one correction, one summary. Text and JSON are two views of these structures, and the JSON
//! Schema is made from them.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cause::{Class, Code, Confidence};
use super::fact::Module;
use super::files::FilesReport;
use super::flow::{Endpoint, Netns, Protocol};
use super::queue::QueueReport;
use super::text::Text;
use crate::firewall::Site;

/// Names of the JSON objects, the `schema` member of each.
pub mod schema {
    /// One refusal.
    pub const REFUSAL: &str = "redis-trace.refusal/1";
    /// A correction of an earlier refusal.
    pub const UPDATE: &str = "redis-trace.update/1";
    /// The last line.
    pub const SUMMARY: &str = "redis-trace.summary/1";
}

/// What the one who tried got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// ECONNREFUSED.
    Refused,
    /// ECONNRESET or EPIPE after the connection stood.
    Reset,
    /// Nothing came back.
    Timeout,
    /// A local error: EACCES, EPERM, ENOENT, EHOSTUNREACH…
    Denied,
    /// Accepted, then turned away by the application.
    Rejected,
    /// A server could not bind, listen, start or accept.
    ListenFailed,
}

impl Outcome {
    /// As written in JSON and in filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::ListenFailed => "listen_failed",
        }
    }
}

/// Which end of the connection this host saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The end that was dialled.
    Server,
    /// The end that dialled.
    Client,
    /// Both.
    Both,
}

impl Side {
    /// As written in JSON and in filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
        }
    }
}

/// One refusal, or as many as `count` says that share cause, server, client host and namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `redis-trace.refusal/1`.
    pub schema: String,
    /// When, by the wall clock.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// When, in nanoseconds since boot.
    pub boottime_ns: u64,
    /// Number of this refusal in this run, from 1.
    pub seq: u64,
    /// What the one who tried got.
    pub outcome: Outcome,
    /// Which end this host saw.
    pub side: Side,
    /// Why.
    pub cause: CauseReport,
    /// The why in one sentence.
    pub summary: String,
    /// Who dialled what; absent for a unix socket.
    pub flow: Option<FlowReport>,
    /// Who dialled.
    pub client_process: Option<ProcessReport>,
    /// Who listens, listened, or tried to.
    pub server_process: Option<ProcessReport>,
    /// What the verdict rests on.
    pub evidence: Vec<Evidence>,
    /// What would end it.
    pub fix: Vec<Fix>,
    /// The first line of what the server said, at most 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reply: Option<Text>,
    /// The errno's name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub errno: Option<String>,
    /// The netfilter rule, when one did it.
    pub firewall: Option<Site>,
    /// The security module, when one did it.
    pub lsm: Option<LsmReport>,
    /// The queue, when it was full.
    pub queue: Option<QueueReport>,
    /// The server's files, when there was none left for a connection.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub files: Option<FilesReport>,
    /// The unix socket that was dialled.
    pub unix: Option<UnixReport>,
    /// It hurt nobody: another address of the same name answered the same thread.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub benign: bool,
    /// Only a first word, for the host keeps its answer waiting: an object of the same `seq` follows and takes the place of
    /// this one, which counts for none.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub partial: bool,
    /// How many refusals this object stands for.
    pub count: u64,
    /// When the first of them was.
    #[schemars(with = "String")]
    pub first: Timestamp,
    /// When the last of them was.
    #[schemars(with = "String")]
    pub last: Timestamp,
}

/// The cause of a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CauseReport {
    /// `RT1001`, for ever.
    pub code: Code,
    /// The code's name.
    pub name: String,
    /// The family it belongs to.
    pub class: Class,
    /// How sure.
    pub confidence: Confidence,
}

/// A flow as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlowReport {
    /// The transport.
    pub protocol: Protocol,
    /// Who dialled; absent when a server failed to listen.
    pub client: Option<Endpoint>,
    /// What was dialled, or what a server asked for; absent when that is not known.
    pub server: Option<Endpoint>,
    /// The network namespace.
    pub netns: Netns,
    /// Its name under `/run/netns`, when it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub netns_name: Option<Text>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessReport {
    /// Process id on the host.
    pub pid: u32,
    /// Its name.
    pub comm: Text,
    /// Its executable.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exe: Option<Text>,
    /// Real user id.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uid: Option<u32>,
    /// The container it runs in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub container: Option<ContainerReport>,
    /// The systemd unit it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<Text>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerReport {
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `nspawn`, or `unknown`.
    pub runtime: String,
    /// Its id or, for lxc and nspawn, its name.
    pub id: Text,
}

/// One thing a verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// Where it was seen: a kernel function or tracepoint, `sock_diag`, a file.
    pub source: String,
    /// What was seen.
    pub text: String,
}

/// One thing that would end the refusals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// What it does.
    pub text: String,
    /// The command, or the line of a configuration file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// The file the line belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<Text>,
    /// The line's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// What it may break or expose.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub risk: Option<String>,
}

/// What a security module denied, and to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LsmReport {
    /// Which.
    pub module: Module,
    /// What it denied: `bind`, `listen`, `connect`, `accept`, `create`, `capable`; `recv` of a SYN.
    pub operation: String,
    /// The context, profile or domain that it denied it to; absent when not known.
    pub subject: Option<Text>,
    /// What was wanted: the context of a port where the module has one, else the address.
    pub object: Text,
}

/// A unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnixReport {
    /// The path; an abstract name begins with `@`.
    pub path: Text,
}

/// A correction of an earlier refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// Always `redis-trace.update/1`.
    pub schema: String,
    /// When it became known, by the wall clock.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// The refusal it corrects.
    pub seq: u64,
    /// The cause as it now stands; absent when it stays.
    pub cause: Option<CauseReport>,
    /// What became known, in one sentence.
    pub summary: String,
    /// The refusal turned out to have hurt nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub benign: bool,
}

impl Update {
    /// The cause stays, and it did hurt.
    pub fn new(time: Timestamp, seq: u64, summary: String) -> Self {
        Self { schema: schema::UPDATE.to_owned(), time, seq, cause: None, summary, benign: false }
    }
}

/// The last line: what was seen, told and lost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Always `redis-trace.summary/1`.
    pub schema: String,
    /// How long observation lasted.
    pub seconds: f64,
    /// Refusals seen: `delivered + aggregated + lost`.
    pub seen: u64,
    /// Refusals told one by one.
    pub delivered: u64,
    /// Refusals told as part of a count.
    pub aggregated: u64,
    /// Refusals whose cause is not known.
    pub unknown: u64,
    /// Refusals of a flood so wide that not one of their kind was looked into: part of `aggregated`, of no cause.
    pub unattributed: u64,
    /// Others of such a flood of which too little is known to say whether the filters let them through: no part of `seen`.
    #[serde(default)]
    pub unfiltered: u64,
    /// Refusals that hurt nobody.
    pub benign: u64,
    /// Refusals that were seen and could not be told.
    pub lost: Lost,
    /// What else was missed, and may be lacking in verdicts.
    pub missed: Missed,
    /// Of the resets and failed dials that the kernel itself counted, the share that was seen, namespace by namespace; absent
    /// when it counted none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coverage: Option<f64>,
    /// What that share is made of.
    pub counters: CountersReport,
    /// How many by cause.
    pub by_cause: std::collections::BTreeMap<Code, u64>,
    /// The hooks.
    pub hooks: HooksReport,
}

/// Where refusals were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// No room in the ring between kernel and program.
    pub ring: u64,
    /// No room in the program's own queue.
    pub queue: u64,
    /// Could not be written out.
    pub output: u64,
}

impl Lost {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ring + self.queue + self.output
    }
}

/// The kernel's counters of all network namespaces that are there at the end, and what was seen of what they count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CountersReport {
    /// Resets that the kernel sent, whatever for (`OutRsts`).
    pub out_resets: u64,
    /// Of them, those that were seen.
    pub resets_seen: u64,
    /// Of these, those that refused a connection; the others ended one in the ordinary way.
    pub resets_explained: u64,
    /// Dials that failed (`AttemptFails` without `EmbryonicRsts`).
    pub attempt_fails: u64,
    /// Of them, those that were seen.
    pub failures_seen: u64,
    /// Connections that the other end reset before they stood (`EmbryonicRsts`).
    pub embryonic_resets: u64,
    /// Connections that found the accept queue full (`ListenOverflows`).
    pub listen_overflows: u64,
    /// Connections that a listener dropped (`ListenDrops`).
    pub listen_drops: u64,
    /// They are those of an earlier look: the host was too busy to give them at the end.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub stale: bool,
}

/// What was missed that is no refusal, but may have told more about one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// Records that found no room: who dialled, listeners and processes that came and went.
    pub records: u64,
    /// Times a probe was not run because another was running on the same processor.
    pub probes: u64,
}

impl Missed {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.records + self.probes
    }
}

/// How many hooks are attached, and what the others hide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HooksReport {
    /// Attached.
    pub up: u32,
    /// Wanted on this kernel.
    pub expected: u32,
    /// Causes that are hidden, or told with less confidence, because a hook is missing.
    pub degraded: Vec<Code>,
}
