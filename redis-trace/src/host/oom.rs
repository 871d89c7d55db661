//! What the kernel's log says of a process that the OOM killer chose.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;

/// The longest record that any `/dev/kmsg` gives (CONSOLE_EXT_LOG_MAX, later PRINTK_MESSAGE_MAX, of linux/printk.h).
const RECORD: usize = 8192;

/// So many records are read; a kernel's log holds fewer.
const RECORDS: usize = 100_000;

/// Whether it was a memory cgroup's limit that killed this process; absent when the log does not say.
pub(super) fn by_cgroup(pid: u32) -> Option<bool> {
    let mut log = OpenOptions::new().read(true).custom_flags(flags()).open("/dev/kmsg").ok()?;
    let mut record = [0; RECORD];
    let mut last = None;
    for _ in 0..RECORDS {
        match log.read(&mut record) {
            Ok(length) => last = verdict(&record[..length], pid).or(last),
            // EPIPE: the record was overwritten while we read; the next one is there.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::InvalidInput) => {}
            Err(_) => break,
        }
    }
    last
}

/// The log never ends: what is there is enough.
fn flags() -> i32 {
    i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or_default()
}

/// `6,1234,5678,-;Memory cgroup out of memory: Killed process 4123 (redis-server) …` (mm/oom_kill.c).
pub(crate) fn verdict(record: &[u8], pid: u32) -> Option<bool> {
    let text = String::from_utf8_lossy(record);
    let (_, message) = text.split_once(';')?;
    let (why, victim) = message.split_once("Killed process ")?;
    let named = victim.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()?;
    match why.trim_end_matches([' ', ':']) {
        _ if named != pid => None,
        "Memory cgroup out of memory" => Some(true),
        "Out of memory" | "Out of memory (oom_kill_allocating_task)" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_tells_a_cgroup_from_the_whole_host() {
        let said = |message: &str| verdict(format!("3,99,12345,-;{message}\n").as_bytes(), 41);
        assert_eq!(said("Memory cgroup out of memory: Killed process 41 (redis-server) total-vm:1kB"), Some(true));
        assert_eq!(said("Out of memory: Killed process 41 (redis-server) total-vm:1kB"), Some(false));
        assert_eq!(said("Out of memory (oom_kill_allocating_task): Killed process 41 (x)"), Some(false));
        assert_eq!(said("Memory cgroup out of memory: Killed process 412 (redis-server)"), None);
        assert_eq!(said("usb 1-1: new device"), None);
        assert_eq!(verdict(b"\xff", 41), None);
    }

    #[test]
    fn a_process_that_nobody_killed_is_not_in_the_log() {
        assert_eq!(by_cgroup(u32::MAX), None);
    }
}
