//! How many files a process has open and may open, and what set that limit.

use std::fs;
use std::time::Duration;

use procfs::process::LimitValue;

use super::command::{output, program};
use super::configuration::Configuration;
use super::process;
use super::scene::Scene;
use crate::redis::config::CommandLine;
use crate::trace::container;
use crate::trace::fact::{Files, ProcessKey, UnitLimit, What};
use crate::trace::text::Text;

/// systemd is answered within this time or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// As much as it may answer, bytes.
const ANSWER: usize = 1 << 10;

/// The files of a process that was started with these arguments, as far as that was seen.
pub(super) fn of(key: ProcessKey, argv: &[Text]) -> What {
    let mut files = Files { pid: key.pid, start: key.start(), ..Files::default() };
    [files.host_open, files.host_limit] = of_host();
    if process::lives(key) {
        let pid = key.pid;
        files.open = count(pid);
        files.unit = process::cgroup(pid).and_then(|cgroup| unit_limit(&cgroup));
        files.maxclients = (!argv.is_empty()).then(|| maxclients(key, argv));
    }
    What::Files(files)
}

/// How many files a process has open.
pub(super) fn count(pid: u32) -> Option<u64> {
    fs::read_dir(format!("/proc/{pid}/fd")).ok().map(|files| files.count() as u64)
}

/// How many it may open; absent when that is not limited.
pub(super) fn limit(pid: u32) -> Option<u64> {
    let limits = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.limits().ok()?;
    if let LimitValue::Value(files) = limits.max_open_files.soft_limit { Some(files) } else { None }
}

/// `/proc/sys/fs/file-nr`: open files, a zero, and how many may be.
fn of_host() -> [Option<u64>; 2] {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().ok());
    [numbers.next().flatten(), numbers.nth(1).flatten()]
}

/// What systemd sets for the unit that a process belongs to, containers left aside: their limit is their runtime's.
fn unit_limit(cgroup: &Text) -> Option<UnitLimit> {
    let (None, Some(unit)) = container::of(cgroup) else { return None };
    let mut command = program("systemctl")?;
    command.args(["show", "--value", "--property=LimitNOFILESoft", "--"]).arg(unit.as_str());
    let files = output(command, PATIENCE, ANSWER).ok()?.trim().parse().ok()?;
    unit.as_str().ends_with(".service").then_some(UnitLimit { unit, files })
}

/// The clients that a server's configuration allows.
fn maxclients(key: ProcessKey, argv: &[Text]) -> u64 {
    configuration(key, argv).settings.maxclients
}

/// The configuration of a process that was started with these arguments, as its files have it now.
pub(super) fn configuration(key: ProcessKey, argv: &[Text]) -> Configuration {
    let arguments: Vec<Vec<u8>> = argv.iter().map(Text::to_bytes).collect();
    let cgroup = process::cgroup(key.pid);
    let parent = process::stat(key.pid).map_or(0, |stat| stat.parent);
    let scene = Scene::of(key, cgroup.as_ref(), parent);
    Configuration::read(scene.as_ref(), &CommandLine::new(&arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_this_process_are_counted_against_their_limit() {
        let pid = std::process::id();
        let start = process::stat(pid).expect("we live").start;
        let What::Files(files) = of(ProcessKey::new(pid, start), &[]) else { panic!("another fact") };
        assert!(files.open.is_some_and(|open| open >= 3 && limit(pid).is_none_or(|limit| open <= limit)), "{files:?}");
        assert!(files.host_open < files.host_limit, "{files:?}");
        assert_eq!(files.maxclients, None, "no arguments were seen");
    }

    #[test]
    fn one_that_is_gone_has_none() {
        let What::Files(files) = of(ProcessKey::new(std::process::id(), 1), &[]) else { panic!("another fact") };
        assert_eq!((files.open, files.maxclients), (None, None));
    }
}
