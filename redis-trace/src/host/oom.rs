//! What the kernel's log says of a process that the OOM killer chose.

use super::log::KernelLog;

/// Whether it was a memory cgroup's limit that killed this process; absent when the log does not say.
pub(super) fn by_cgroup(pid: u32) -> Option<bool> {
    let log = KernelLog::open().ok()?.read();
    log.lines().filter_map(|record| verdict(record, pid)).next_back()
}

/// `6,1234,5678,-;Memory cgroup out of memory: Killed process 4123 (redis-server) …` (mm/oom_kill.c).
pub(crate) fn verdict(record: &str, pid: u32) -> Option<bool> {
    let (_, message) = record.split_once(';')?;
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
        let said = |message: &str| verdict(&format!("3,99,12345,-;{message}"), 41);
        assert_eq!(said("Memory cgroup out of memory: Killed process 41 (redis-server) total-vm:1kB"), Some(true));
        assert_eq!(said("Out of memory: Killed process 41 (redis-server) total-vm:1kB"), Some(false));
        assert_eq!(said("Out of memory (oom_kill_allocating_task): Killed process 41 (x)"), Some(false));
        assert_eq!(said("Memory cgroup out of memory: Killed process 412 (redis-server)"), None);
        assert_eq!(said("usb 1-1: new device"), None);
        assert_eq!(verdict("", 41), None);
    }

    #[test]
    fn a_process_that_nobody_killed_is_not_in_the_log() {
        assert_eq!(by_cgroup(u32::MAX), None);
    }
}
