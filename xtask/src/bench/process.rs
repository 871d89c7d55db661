//! What a process costs: its CPU time to the nanosecond, its memory, what it holds open.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// CPU time that a process used so far, threads that ended included, in nanoseconds.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    let time = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).and_then(ClockId::now);
    let time: Duration = time.with_context(|| format!("cannot read the CPU clock of process {pid}"))?.into();
    Ok(time.as_secs_f64() * 1e9)
}

/// Keeps a process, or this one for 0, on the first CPU: what it is measured against shares its caches.
pub(crate) fn pin(pid: u32) -> Result<()> {
    let mut first = CpuSet::new();
    first.set(0)?;
    sched_setaffinity(Pid::from_raw(pid.cast_signed()), &first)
        .with_context(|| format!("cannot keep process {pid} on the first CPU"))
}

/// Memory of a process, in MiB: what is resident now, and the most that ever was.
pub(crate) fn memory(pid: u32) -> Result<(f64, f64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("cannot read the memory of process {pid}"))?;
    Ok((kibibytes(&status, "VmRSS:")? / 1024.0, kibibytes(&status, "VmHWM:")? / 1024.0))
}

/// From now on [`memory`] tells the most since now.
pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
        .with_context(|| format!("cannot reset the peak memory of process {pid}"))
}

/// A line of `/proc/PID/status` that is a number of kibibytes.
fn kibibytes(status: &str, name: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(number.with_context(|| format!("/proc/PID/status has no line {name}"))?.trim().parse()?)
}

/// How many descriptors a process holds.
pub(crate) fn descriptors(pid: u32) -> Result<f64> {
    let directory = format!("/proc/{pid}/fd");
    let count = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?.count();
    Ok(f64::from(u32::try_from(count)?))
}

/// What `/proc/PID/fdinfo` says under a name, one value a descriptor that has it.
pub(crate) fn fdinfo(pid: u32, name: &str) -> Result<Vec<u64>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let mut found = Vec::new();
    for file in fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))? {
        // A descriptor may be closed while this reads.
        let text = fs::read_to_string(file?.path()).unwrap_or_default();
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.extend(values.filter_map(|value| value.trim().parse::<u64>().ok()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{cpu, kibibytes};

    #[test]
    fn memory_is_read_from_its_own_line() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:").expect("it is there").to_string(), "10240");
        assert!(kibibytes(status, "VmSwap:").is_err());
    }

    #[test]
    fn the_cpu_clock_of_this_process_runs() {
        let before = cpu(std::process::id()).expect("it has a clock");
        let work: u64 = (0..1_000_000).map(std::hint::black_box).sum();
        assert!(work > 0 && cpu(std::process::id()).expect("it has a clock") > before);
    }
}
