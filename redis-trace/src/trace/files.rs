//! What limits the files that a server may open: for the verdict, and as JSON has it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::container;
use super::fact::{AcceptFailed, Files, Process, RESERVED_FILES};
use super::known::is_redis_like;
use super::text::Text;

/// `ENFILE`: nobody on this host may open one more.
pub const ENFILE: u32 = 23;
/// An accept that failed for want of a file, and what is known of that want.
#[derive(Clone, Debug, PartialEq)]
pub struct NoFile {
    /// The accept.
    pub failed: AcceptFailed,
    /// Whose it was.
    pub process: Process,
    /// Its files, as far as the host showed them.
    pub files: Option<Files>,
}

/// What sets the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesLimit {
    /// `fs.file-max`: the whole host's.
    Host,
    /// `LimitNOFILE=` of this unit.
    Unit(Text),
    /// What Redis asked for itself when it started: its `maxclients`, and 32 more.
    Maxclients(u64),
    /// `ulimit -n` of whoever started it, or its container's runtime, or prlimit since.
    Ulimit,
}

impl NoFile {
    /// How many files may be open, and are.
    pub fn numbers(&self) -> (Option<u64>, Option<u64>) {
        let files = self.files.as_ref();
        match self.failed.errno {
            ENFILE => (files.and_then(|files| files.host_limit), files.and_then(|files| files.host_open)),
            _ => (self.failed.limit, files.and_then(|files| files.open)),
        }
    }

    /// What sets that limit; absent when the process was gone before it could be looked at, or when it is Redis and its
    /// configuration could not be.
    pub fn limited_by(&self) -> Option<FilesLimit> {
        if self.failed.errno == ENFILE {
            return Some(FilesLimit::Host);
        }
        let (files, limit) = (self.files.as_ref()?, self.failed.limit?);
        let unit = files.unit.as_ref().filter(|unit| unit.files == limit);
        let clients =
            files.maxclients.filter(|clients| clients + RESERVED_FILES == limit && is_redis_like(&self.process));
        match (unit, clients) {
            (Some(unit), _) => Some(FilesLimit::Unit(unit.unit.clone())),
            (None, Some(clients)) => Some(FilesLimit::Maxclients(clients)),
            (None, None) if files.maxclients.is_none() && is_redis_like(&self.process) => None,
            (None, None) => Some(FilesLimit::Ulimit),
        }
    }

    /// The process runs in a container.
    pub fn is_in_container(&self) -> bool {
        self.process.cgroup.as_ref().is_some_and(|cgroup| container::of(cgroup).0.is_some())
    }
}

impl FilesLimit {
    /// As written in JSON and in sentences.
    pub fn name(&self) -> String {
        match self {
            Self::Host => "fs.file-max".to_owned(),
            Self::Unit(unit) => format!("LimitNOFILE= of {unit}"),
            Self::Maxclients(clients) => format!("maxclients {clients} + {RESERVED_FILES}"),
            Self::Ulimit => "ulimit -n".to_owned(),
        }
    }
}

/// Files as JSON has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesReport {
    /// How many were open when that was looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub open: Option<u64>,
    /// How many may be open.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit: Option<u64>,
    /// To what the process may raise that itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hard: Option<u64>,
    /// What sets the limit: `ulimit -n`, `LimitNOFILE= of UNIT`, `maxclients N + 32` or `fs.file-max`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limited_by: Option<String>,
    /// How many connections wait to be accepted.
    pub waiting: u32,
}

impl From<&NoFile> for FilesReport {
    fn from(no_file: &NoFile) -> Self {
        let (limit, open) = no_file.numbers();
        Self {
            open,
            limit,
            hard: no_file.failed.hard.filter(|_| no_file.failed.errno != ENFILE),
            limited_by: no_file.limited_by().map(|by| by.name()),
            waiting: no_file.failed.queued,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fact::{Socket, Task, UnitLimit};
    use crate::trace::flow::{Endpoint, Netns};

    /// What limits redis-server, whose accept failed with this errno at this limit.
    fn by(errno: u32, limit: u64, files: Files) -> Option<String> {
        let (netns, comm) = (Netns(7), Text::from("redis-server"));
        let local = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port: 6379 };
        let socket = Socket { netns, local, ipv6: false, v6only: false, ifindex: 0, inode: 1 };
        let task = Task { pid: 9, tid: 9, uid: 0, netns, start: 0, cgroup: 1, comm: comm.clone(), family: false };
        let (limit, hard) = (Some(limit), None);
        let failed = AcceptFailed { socket, task, errno, queued: 1, backlog: 511, limit, hard };
        let process = Process { pid: 9, comm, ..Process::default() };
        NoFile { failed, process, files: Some(files) }.limited_by().map(|by| by.name())
    }

    #[test]
    fn a_limit_is_its_unit_s_or_redis_s_own_where_the_numbers_are_the_same() {
        let unit = Some(UnitLimit { unit: Text::from("redis.service"), files: 1024 });
        let files = Files { unit, maxclients: Some(10_000), ..Files::default() };
        assert_eq!(by(24, 1024, files.clone()).as_deref(), Some("LimitNOFILE= of redis.service"));
        assert_eq!(by(24, 10_032, files.clone()).as_deref(), Some("maxclients 10000 + 32"));
        assert_eq!(by(24, 40, files.clone()).as_deref(), Some("ulimit -n"));
        assert_eq!(by(24, 10_032, Files::default()), None, "its configuration was not read");
        assert_eq!(by(ENFILE, 1024, files).as_deref(), Some("fs.file-max"));
    }
}
