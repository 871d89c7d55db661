//! What a process is, by `/proc/PID`. One that vanished while we looked is a normal answer.

use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

use super::patience::within;
use crate::redis::secret;
use crate::trace::fact::{Process, ProcessKey, Task, TaskState};
use crate::trace::flow::Netns;
use crate::trace::text::Text;

/// Nanoseconds of a clock tick: the kernel shows times to user space in hundredths of a second (USER_HZ).
const TICK: u64 = 10_000_000;

/// As much of a command line as is worth keeping.
const CMDLINE_BYTES: u64 = 4096;

/// How long its memory may take to answer.
const CMDLINE_PATIENCE: Duration = Duration::from_millis(250);

/// As much of any other file of `/proc/PID` as is ever needed: a `Groups:` line can be long.
const FILE_BYTES: u64 = 64 << 10;

/// The part of `/proc/PID/stat` that tells one process from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Its name.
    pub(crate) comm: Text,
    /// Its parent.
    pub(crate) parent: u32,
    /// When it started: boottime nanoseconds, rounded down to a tick.
    pub(crate) start: u64,
    /// It ended: no thread of it runs any more.
    pub(crate) ended: bool,
}

/// Users and groups that decide what a process may do to files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Real user id.
    pub(crate) uid: u32,
    /// User id that file permissions are checked against.
    pub(crate) fsuid: u32,
    /// Every group that counts for files.
    pub(crate) groups: Vec<u32>,
    /// Permission bits do not bind it (`CAP_DAC_OVERRIDE`).
    pub(crate) overrides: bool,
}

/// Whether `/proc` shows all processes of the host, by the numbers that the kernel has for them: PROC_PID_INIT_INO of
/// include/linux/proc_ns.h is the first pid namespace, since Linux 3.8.
pub fn all_are_seen() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == 0xEFFF_FFFC)
}

/// Every process id of this host, in order.
pub(crate) fn ids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let mut ids: Vec<u32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids
}

/// The essentials of a process.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&read(pid, "stat", FILE_BYTES).ok()?)
}

/// State of a process's first thread; absent when it is gone.
pub(crate) fn state(pid: u32) -> Option<TaskState> {
    let bytes = read(pid, "stat", FILE_BYTES).ok()?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    Some(match bytes.get(close + 2)? {
        b'R' => TaskState::Running,
        b'D' => TaskState::Blocked,
        b'T' => TaskState::Stopped,
        b't' => TaskState::Traced,
        b'Z' | b'X' => TaskState::Ended,
        _ => TaskState::Sleeping,
    })
}

/// Whether that very process lives, and not another that got its id.
pub(crate) fn lives(key: ProcessKey) -> bool {
    stat(key.pid).is_some_and(|stat| !stat.ended && same_start(stat.start, key.start()))
}

/// Start times are the same when they lie in the same tick.
pub(crate) fn same_start(one: u64, other: u64) -> bool {
    one / TICK == other / TICK
}

/// Everything that is known of a process; absent when it is gone.
pub(crate) fn describe(pid: u32) -> Option<Process> {
    let stat = stat(pid)?;
    Some(Process {
        pid,
        start: stat.start,
        parent: stat.parent,
        comm: stat.comm,
        uid: identity(pid).map(|identity| identity.uid),
        exe: exe(pid),
        cgroup: cgroup(pid),
        cmdline: cmdline(pid),
    })
}

/// The calling thread.
///
/// # Errors
/// When `/proc` does not show it.
pub fn this_task() -> io::Result<Task> {
    use std::os::unix::fs::MetadataExt as _;
    let pid = std::process::id();
    let own = stat(pid).ok_or_else(|| io::Error::other("/proc does not show this process"))?;
    let netns = std::fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok(Task {
        pid,
        tid: rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(),
        uid: rustix::process::getuid().as_raw(),
        netns: Netns(u32::try_from(netns).map_err(io::Error::other)?),
        start: own.start,
        cgroup: 0,
        comm: own.comm,
        family: false,
    })
}

/// Who a process is to the file system.
pub(crate) fn identity(pid: u32) -> Option<Identity> {
    parse_status(&String::from_utf8_lossy(&read(pid, "status", FILE_BYTES).ok()?))
}

/// The cgroup of a process.
pub(crate) fn cgroup(pid: u32) -> Option<Text> {
    parse_cgroup(&read(pid, "cgroup", FILE_BYTES).ok()?)
}

/// The command line of a process, secrets hidden. It is read from the memory of the process, which may lie where no page
/// ever comes from.
fn cmdline(pid: u32) -> Vec<Text> {
    let bytes = within(CMDLINE_PATIENCE, move || read(pid, "cmdline", CMDLINE_BYTES)).and_then(Result::ok);
    bytes.map(|bytes| parse_cmdline(&bytes)).unwrap_or_default()
}

/// Path of the executable, in its own mount namespace.
fn exe(pid: u32) -> Option<Text> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let bytes = path.as_os_str().as_bytes();
    Some(Text::new(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)))
}

/// The beginning of one file of `/proc/PID`.
fn read(pid: u32, file: &str, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/{file}"))?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// `PID (COMM) STATE PPID … threads … starttime`: a name may hold spaces and parentheses, so it ends at the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let comm = Text::new(bytes.get(open + 1..close)?);
    let rest = String::from_utf8_lossy(bytes.get(close + 1..)?);
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // A leader that called pthread_exit is a zombie while its other threads work on.
    let ended = matches!(*fields.first()?, "Z" | "X") && number(17)? <= 1;
    Some(Stat { comm, parent: u32::try_from(number(1)?).ok()?, start: number(19)?.checked_mul(TICK)?, ended })
}

/// The `Uid`, `Gid`, `Groups` and `CapEff` lines.
fn parse_status(text: &str) -> Option<Identity> {
    const DAC_OVERRIDE: u64 = 1 << 1; // include/uapi/linux/capability.h
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let numbers = |name: &str| -> Vec<u32> {
        line(name).unwrap_or_default().split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect()
    };
    let uids = numbers("Uid:");
    let mut groups = numbers("Groups:");
    groups.extend(numbers("Gid:").get(3));
    let effective = line("CapEff:").and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or_default();
    Some(Identity { uid: *uids.first()?, fsuid: *uids.get(3)?, groups, overrides: effective & DAC_OVERRIDE != 0 })
}

/// The unified hierarchy's path, unless all it says is `/` and a version 1 hierarchy says more.
fn parse_cgroup(bytes: &[u8]) -> Option<Text> {
    let paths = bytes.split(|b| *b == b'\n').filter_map(|line| {
        let mut parts = line.splitn(3, |b| *b == b':');
        let (id, _, path) = (parts.next()?, parts.next()?, parts.next()?);
        Some((id == b"0", path))
    });
    let best = paths.max_by_key(|(unified, path)| (path.len() > 1, *unified, path.len()))?;
    Some(Text::new(best.1))
}

/// Arguments end at NUL; a title that was written over them leaves empty ones behind.
fn parse_cmdline(bytes: &[u8]) -> Vec<Text> {
    let mut arguments: Vec<&[u8]> = bytes.split(|b| *b == 0).collect();
    while arguments.last().is_some_and(|last| last.is_empty()) {
        arguments.pop();
    }
    secret::redact_arguments(&arguments.iter().map(|bytes| Text::new(bytes)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_describes_itself() {
        let me = std::process::id();
        let process = describe(me).expect("we live");
        assert_eq!(process.pid, me);
        assert_eq!(process.parent, std::os::unix::process::parent_id());
        assert_eq!(process.uid, Some(rustix::process::getuid().as_raw()));
        assert!(process.exe.is_some_and(|exe| exe.as_str().starts_with('/')));
        assert!(lives(ProcessKey::new(me, process.start + 1)));
        assert!(!lives(ProcessKey::new(me, process.start + TICK)));
    }

    #[test]
    fn a_child_that_ended_is_dead_before_it_is_reaped_and_after() {
        let mut child =
            std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let key = ProcessKey::new(child.id(), stat(child.id()).expect("it lives").start);
        assert!(lives(key));
        drop(child.stdin.take());
        let pid = rustix::process::Pid::from_child(&child);
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).expect("it ends");
        assert!(!lives(key), "a zombie does not live");
        child.wait().expect("it can be reaped");
        assert!(!lives(key));
        assert_eq!(describe(key.pid), None);
    }

    #[test]
    fn a_name_full_of_parentheses_and_escapes_is_read_whole() {
        let line = b"7 (a) S 1 (\x1b[2J)) R 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0 12345 0 0";
        let stat = parse_stat(line).expect("a stat line");
        assert_eq!(stat.comm.as_str(), "a) S 1 (\\u{1b}[2J)");
        assert_eq!((stat.parent, stat.start, stat.ended), (3, 123_450_000_000, false));
    }

    #[test]
    fn a_leader_that_left_its_threads_behind_still_lives() {
        let line = |threads: u8| format!("7 (x) Z 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 {threads} 0 1 0 0");
        assert!(!parse_stat(line(2).as_bytes()).expect("a stat line").ended);
        assert!(parse_stat(line(1).as_bytes()).expect("a stat line").ended);
    }

    #[test]
    fn the_unified_cgroup_wins_unless_it_says_nothing() {
        let cgroup = |text: &str| parse_cgroup(text.as_bytes()).map(|path| path.as_str().to_owned());
        assert_eq!(
            cgroup("4:memory:/a/much/longer/path\n0::/system.slice/x.service\n").as_deref(),
            Some("/system.slice/x.service")
        );
        assert_eq!(cgroup("4:memory:/docker/abc\n1:cpu:/\n0::/\n").as_deref(), Some("/docker/abc"));
        assert_eq!(cgroup("0::/\n").as_deref(), Some("/"));
        assert_eq!(cgroup(""), None);
    }

    #[test]
    fn a_rewritten_title_loses_its_padding_and_a_secret_is_not_shown() {
        let shown = |bytes: &[u8]| parse_cmdline(bytes).iter().map(|a| a.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(shown(b"redis-server 127.0.0.1:6379\0\0\0\0"), ["redis-server 127.0.0.1:6379"]);
        assert_eq!(shown(b"redis-cli\0-a\0hunter2\0ping\0"), ["redis-cli", "-a", "[redacted]", "ping"]);
    }

    #[test]
    fn file_permissions_follow_the_file_system_user() {
        let status = "Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t0000000000000002\n";
        let identity = parse_status(status).expect("a status");
        assert_eq!(identity, Identity { uid: 1, fsuid: 4, groups: vec![9, 10, 8], overrides: true });
    }
}
