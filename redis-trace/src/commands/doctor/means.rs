//! What this host has left for a server: memory, swap, how it overcommits, whom it killed for want of memory.

use std::fs;

use procfs::{Current as _, Meminfo};

use super::report::{Doctor, State};
use super::talk::Told;

/// A host with less than a twentieth of its memory left is short of it.
const SHORT: u64 = 20;

/// Tells them.
pub(super) fn look(doctor: &mut Doctor, told: Option<&Told>) -> anyhow::Result<()> {
    let Ok(memory) = Meminfo::current() else {
        return Ok(doctor.skip(&["host"], "/proc/meminfo may not be read")?);
    };
    let left = memory.mem_available.unwrap_or(memory.mem_free);
    let swapped = memory.swap_total.saturating_sub(memory.swap_free);
    let overcommit = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    let killed = killed();
    let used = told.and_then(|told| told.info.number("used_memory")).unwrap_or_default();
    let mut warnings = Vec::new();
    if left < memory.mem_total / SHORT {
        warnings.push("the host is short of memory".to_owned());
    }
    if used > left && overcommit.trim() != "1" {
        let (overcommit, used) = (overcommit.trim(), used >> 20);
        warnings.push(format!("with vm.overcommit_memory={overcommit} a background save of {used} MiB may fail"));
    }
    if killed > 0 {
        warnings.push(format!("{killed} processes were killed for want of memory since boot"));
    }
    let state = if warnings.is_empty() { State::Good } else { State::Warn };
    let (left, all, swapped) = (left >> 20, memory.mem_total >> 20, swapped >> 20);
    warnings.insert(0, format!("{left} of {all} MiB of memory are left, {swapped} MiB are swapped out"));
    Ok(doctor.step("host", state, warnings.join("; "))?)
}

/// `oom_kill` of /proc/vmstat.
fn killed() -> u64 {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
}
