//! A full queue: how full, what limits it, and what keeps whoever should empty it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::errno;
use super::fact::{Process, Queue, QueueKind, Serving, TaskState};
use super::files::ENFILE;
use super::known::{Sent, is_redis_like};
use super::text::Text;

/// A queue that was found full, or that went with connections in it.
#[derive(Clone, Debug, PartialEq)]
pub struct FullQueue {
    /// Which.
    pub kind: QueueKind,
    /// Where its listener listens: an address and port, or a unix path.
    pub place: Text,
    /// Whose it is.
    pub owner: Option<Process>,
    /// How many were in it.
    pub length: u32,
    /// How many may be before it is full.
    pub limit: u32,
    /// What sets that limit.
    pub limited_by: Option<String>,
    /// Why nobody empties it.
    pub stall: Stall,
    /// How long the connection that has waited longest has, nanoseconds.
    pub oldest: Option<u64>,
    /// What its owner did at that moment.
    pub serving: Option<Serving>,
}

/// Why nobody empties a queue.
#[derive(Clone, Debug, PartialEq)]
pub enum Stall {
    /// A signal stopped the process; who sent it, when that was seen.
    Stopped(Option<Sent>),
    /// Its cgroup is frozen.
    Frozen,
    /// A debugger stopped it.
    Traced,
    /// It waits for a disk, a network file system or the kernel itself, and no signal reaches it.
    Blocked,
    /// It has as many files open as it may: accept fails with EMFILE.
    OutOfFiles {
        /// How many it may.
        limit: u64,
    },
    /// Nobody on this host may open one more: accept fails with ENFILE.
    HostOutOfFiles,
    /// A security module denies it accept, with this errno.
    Denied(u32),
    /// It runs without coming to its event loop.
    Busy,
    /// It is in this system call.
    InCall(Text),
    /// It waits for events, in this system call when that is known, and does not accept.
    NotAccepting(Option<Text>),
    /// It is emptied, only not fast enough.
    Slow,
    /// That could not be seen.
    Unseen,
}

/// System calls that wait for events.
const WAITS: &[&str] = &[
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "read",
    "pause",
    "io_uring_enter",
];

/// System calls that make a process.
const FORKS: &[&str] = &["fork", "vfork", "clone", "clone3"];

impl Stall {
    /// As written in JSON.
    pub fn name(&self) -> String {
        match self {
            Self::Stopped(_) => "stopped".to_owned(),
            Self::Frozen => "frozen".to_owned(),
            Self::Traced => "traced".to_owned(),
            Self::Blocked => "blocked".to_owned(),
            Self::OutOfFiles { .. } | Self::HostOutOfFiles => "out-of-files".to_owned(),
            Self::Denied(_) => "denied".to_owned(),
            Self::Busy => "busy".to_owned(),
            Self::InCall(call) => format!("in {call}"),
            Self::NotAccepting(_) => "not-accepting".to_owned(),
            Self::Slow => "slow".to_owned(),
            Self::Unseen => "unknown".to_owned(),
        }
    }

    /// Judges what a process does that should accept; its last accept of late may have failed with an errno.
    pub fn of(serving: Option<&Serving>, stopped_by: Option<&Sent>, failed: Option<u32>) -> Self {
        let Some(Serving { state, ran, looks, call, frozen, files, files_limit }) = serving else {
            return Self::Unseen;
        };
        match (state, files_limit) {
            _ if *frozen => Self::Frozen,
            (TaskState::Stopped, _) => Self::Stopped(stopped_by.cloned()),
            (TaskState::Traced, _) => Self::Traced,
            // Whoever calls vfork waits so for its child to execute something else.
            (TaskState::Blocked, _) => match call {
                Some(call) if FORKS.contains(&call.as_str()) => Self::InCall(call.clone()),
                _ => Self::Blocked,
            },
            (TaskState::Ended, _) => Self::Unseen,
            // A server that cannot accept may try again and again: that comes before being busy.
            _ if failed == Some(ENFILE) => Self::HostOutOfFiles,
            _ if failed.is_some_and(errno::is_denial) => Self::Denied(failed.unwrap_or_default()),
            (_, Some(limit)) if failed.is_some() || files.is_some_and(|files| files >= *limit) => {
                Self::OutOfFiles { limit: *limit }
            }
            _ if 2 * ran > *looks => Self::Busy,
            _ => match call.as_ref().map(Text::as_str) {
                Some("accept" | "accept4") => Self::Slow,
                Some(name) if !WAITS.contains(&name) => Self::InCall(call.clone().unwrap_or_default()),
                _ => Self::NotAccepting(call.clone()),
            },
        }
    }
}

/// The limit's source: the application's own, unless it asked for more than the host allows.
pub fn limited_by(limit: u32, somaxconn: Option<u32>, owner: Option<&Process>) -> Option<String> {
    let somaxconn = somaxconn?;
    let own = if owner.is_some_and(is_redis_like) { "tcp-backlog" } else { "backlog" };
    Some(if limit == somaxconn { "net.core.somaxconn" } else { own }.to_owned())
}

/// Whether there is no room for one more: sk_acceptq_is_full(), include/net/sock.h.
pub fn is_full(queue: &Queue) -> bool {
    matches!((queue.bound.queued, queue.bound.backlog), (Some(queued), Some(limit)) if queued > limit)
}

/// A queue as JSON has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueueReport {
    /// `accept`, `syn` or `unix`.
    pub kind: String,
    /// How many were in it.
    pub length: u32,
    /// How many may be before it is full: one more than that fits.
    pub limit: u32,
    /// What sets the limit: `tcp-backlog`, `backlog` or `net.core.somaxconn`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limited_by: Option<String>,
    /// Why nobody empties it: `stopped`, `frozen`, `traced`, `blocked`, `out-of-files`, `denied`, `busy`, `in CALL`, `not-accepting`, `slow`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// How long the connection that has waited longest has, milliseconds: nobody has accepted since.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub oldest_ms: Option<u64>,
}

impl From<&FullQueue> for QueueReport {
    fn from(queue: &FullQueue) -> Self {
        Self {
            kind: queue.kind.name().to_owned(),
            length: queue.length,
            limit: queue.limit,
            limited_by: queue.limited_by.clone(),
            why: (queue.stall != Stall::Unseen).then(|| queue.stall.name()),
            oldest_ms: queue.oldest.map(|oldest| oldest / 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving(state: TaskState, ran: u32, call: Option<&str>, files: u64) -> Serving {
        let call = call.map(Text::from);
        Serving { state, ran, looks: 5, call, frozen: false, files: Some(files), files_limit: Some(40) }
    }

    #[test]
    fn what_keeps_a_server_is_told_from_its_state_its_files_and_its_call() {
        let why = |state, ran, call, files| Stall::of(Some(&serving(state, ran, call, files)), None, None).name();
        assert_eq!(why(TaskState::Stopped, 0, Some("epoll_wait"), 5), "stopped");
        assert_eq!(why(TaskState::Running, 5, None, 40), "out-of-files");
        assert_eq!(why(TaskState::Running, 5, None, 39), "busy");
        assert_eq!(why(TaskState::Sleeping, 0, Some("clock_nanosleep"), 5), "in clock_nanosleep");
        assert_eq!(why(TaskState::Sleeping, 1, Some("epoll_wait"), 5), "not-accepting");
        assert_eq!(why(TaskState::Sleeping, 0, Some("accept4"), 5), "slow");
        assert_eq!(why(TaskState::Blocked, 0, Some("fsync"), 5), "blocked");
        assert_eq!(why(TaskState::Blocked, 0, Some("vfork"), 5), "in vfork");
        let frozen = Serving { frozen: true, ..serving(TaskState::Sleeping, 0, Some("epoll_wait"), 5) };
        assert_eq!(Stall::of(Some(&frozen), None, None), Stall::Frozen);
        assert_eq!(Stall::of(None, None, None).name(), "unknown");
        let between = serving(TaskState::Sleeping, 0, Some("epoll_wait"), 5);
        assert_eq!(Stall::of(Some(&between), None, Some(24)), Stall::OutOfFiles { limit: 40 });
        assert_eq!(Stall::of(Some(&between), None, Some(23)), Stall::HostOutOfFiles);
    }

    #[test]
    fn the_host_s_limit_is_told_from_the_application_s() {
        assert_eq!(limited_by(128, Some(128), None).as_deref(), Some("net.core.somaxconn"));
        assert_eq!(limited_by(5, Some(128), None).as_deref(), Some("backlog"));
        assert_eq!(limited_by(5, None, None), None);
    }
}
