//! What a process that should serve is doing instead.

use std::fs;

use super::queues::moment;
use super::{files, process};
use crate::trace::fact::{Serving, TaskState};
use crate::trace::text::Text;

/// How many looks tell whether a process runs all the time.
const LOOKS: u32 = 5;

/// What a process is doing; absent when it is gone.
pub(super) fn of(pid: u32) -> Option<Serving> {
    let state = process::state(pid)?;
    let mut states = vec![state];
    // One that is stopped or blocked is so at every look.
    if matches!(state, TaskState::Running | TaskState::Sleeping) {
        for _ in 1..LOOKS {
            moment();
            states.extend(process::state(pid));
        }
    }
    let looks = u32::try_from(states.len()).unwrap_or(LOOKS);
    let ran = states.iter().filter(|state| **state == TaskState::Running).count();
    Some(Serving {
        state: *states.last().unwrap_or(&state),
        ran: u32::try_from(ran).unwrap_or(looks),
        looks,
        call: call(pid),
        frozen: is_frozen(pid),
        files: files::count(pid),
        files_limit: files::limit(pid),
    })
}

/// Whether its cgroup of the unified hierarchy is frozen, or one above it: `docker pause`, `systemctl freeze`.
fn is_frozen(pid: u32) -> bool {
    // Where version 1 is mounted beside it, the unified hierarchy is one directory below.
    const ROOTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(own) = cgroups.lines().find_map(|line| line.strip_prefix("0::")) else { return false };
    let mut events = ROOTS.iter().filter_map(|root| fs::read_to_string(format!("{root}{own}/cgroup.events")).ok());
    events.any(|events| events.lines().any(|line| line == "frozen 1"))
}

/// The system call that a process's first thread is in: `/proc/PID/syscall` begins with its number, or says `running`.
fn call(pid: u32) -> Option<Text> {
    let line = fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
    let number: i64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    name(number).map(Text::from)
}

/// Calls that a server may be found in, arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(target_arch = "x86_64")]
fn name(number: i64) -> Option<&'static str> {
    Some(match number {
        0 => "read",
        1 => "write",
        7 => "poll",
        23 => "select",
        34 => "pause",
        35 => "nanosleep",
        43 => "accept",
        56 => "clone",
        57 => "fork",
        58 => "vfork",
        61 => "wait4",
        74 => "fsync",
        75 => "fdatasync",
        202 => "futex",
        230 => "clock_nanosleep",
        232 => "epoll_wait",
        247 => "waitid",
        270 => "pselect6",
        271 => "ppoll",
        281 => "epoll_pwait",
        288 => "accept4",
        426 => "io_uring_enter",
        435 => "clone3",
        441 => "epoll_pwait2",
        _ => return None,
    })
}

/// Elsewhere the numbers are others.
#[cfg(not(target_arch = "x86_64"))]
fn name(_: i64) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_waits_for_input_is_seen_to_sleep_in_read() {
        let mut child =
            std::process::Command::new("/bin/cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let seen = std::iter::repeat_with(|| of(child.id()).expect("it lives"))
            .find(|seen| seen.call.as_ref().is_some_and(|call| call.as_str() == "read") && seen.ran == 0)
            .expect("it reads until told otherwise");
        assert_eq!(seen.state, TaskState::Sleeping);
        assert!(seen.files.is_some_and(|files| files >= 3) && seen.files_limit.is_some());
        drop(child.stdin.take());
        child.wait().expect("it ends");
        assert_eq!(of(child.id()), None);
    }
}
