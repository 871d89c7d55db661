//! A server of this host as its files show it: the lines of its configuration that decide, its last words, what the security
//! modules denied it.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rustix::fs::OFlags;

use super::configuration::Configuration;
use super::lastwords;
use super::patience::within;
use super::scene::Scene;
use super::units::Unit;
use crate::redis::config::CommandLine;
use crate::trace::fact::{ConfigLine, Fault, Process, ProcessKey, What};
use crate::trace::text::Text;

/// How long its files may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// As much as is read of the kernel's log, and of the audit log's end.
const LOG_BYTES: usize = 1 << 20;

/// The audit daemon's log.
const AUDIT_LOG: &str = "/var/log/audit/audit.log";

/// The line of a running server's configuration file that decides each of these directives; those that no line names are
/// left out. The error is a sentence.
pub fn deciding_lines(server: &Process, file: &str, names: &'static [&str]) -> Result<Vec<ConfigLine>, String> {
    let (server, file) = (server.clone(), file.as_bytes().to_vec());
    let look = move || {
        let key = ProcessKey::new(server.pid, server.start);
        // The server's own root is asked for.
        let scene = Scene::of(key, server.cgroup.as_ref(), server.pid)
            .ok_or_else(|| "the root of the server's file system may not be entered".to_owned())?;
        let command_line = CommandLine { file: Some(file), ..CommandLine::default() };
        let configuration = Configuration::read(Some(&scene), &command_line);
        match configuration.unread() {
            Some(why) => Err(why),
            None => Ok(names.iter().filter_map(|name| configuration.decides(name.as_bytes()).cloned()).collect()),
        }
    };
    within(PATIENCE, look).unwrap_or_else(|| Err("its file could not be read in time".to_owned()))
}

/// Why the last process of a unit ended, by its log, the journal or its configuration.
pub fn last_words(unit: &Unit) -> Option<Fault> {
    let cgroup = Text::from(format!("/system.slice/{}", unit.name).as_str());
    match lastwords::of(unit.last()?, &unit.argv, Some(&cgroup), 1) {
        What::LastWords { fault, .. } => fault,
        _ => None,
    }
}

/// Denials of a security module that name a process by its name or its profile, the newest last; the error says why nobody
/// could be asked.
pub fn denials(comm: &str, profile: Option<&str>) -> Result<Vec<Text>, String> {
    let logs = [kernel_log(), audit_log()];
    if let [Err(why), Err(_)] = &logs {
        return Err(why.clone());
    }
    Ok(logs.into_iter().flatten().flat_map(|log| about(&log, comm, profile)).collect())
}

/// The denials of a log that name this process or this profile.
pub(crate) fn about(log: &str, comm: &str, profile: Option<&str>) -> Vec<Text> {
    let names = |field: &str, value: &str| format!("{field}=\"{value}\"");
    let is_denial = |line: &&str| line.contains("apparmor=\"DENIED\"") || line.contains("avc:  denied");
    let is_it = |line: &&str| {
        line.contains(&names("comm", comm)) || profile.is_some_and(|profile| line.contains(&names("profile", profile)))
    };
    log.lines().filter(is_denial).filter(is_it).map(Text::from).collect()
}

/// The kernel's log, which is read without waiting for more.
fn kernel_log() -> Result<String, String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut log = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open("/dev/kmsg")
        .map_err(|error| format!("the kernel's log may not be read: {error}"))?;
    let (mut text, mut record) = (Vec::new(), vec![0; 8 << 10]);
    // A read is one record; an error is that there is no more, or that it was written over.
    while text.len() < LOG_BYTES
        && let Ok(length @ 1..) = log.read(&mut record)
    {
        text.extend_from_slice(&record[..length]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The end of the audit daemon's log.
fn audit_log() -> Result<String, String> {
    use std::io::{Seek as _, SeekFrom};
    let failed = |error| format!("{AUDIT_LOG} may not be read: {error}");
    let mut log = fs::File::open(AUDIT_LOG).map_err(failed)?;
    let length = log.metadata().map_err(failed)?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES as u64))).map_err(failed)?;
    let mut text = Vec::new();
    log.take(LOG_BYTES as u64).read_to_end(&mut text).map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_of_this_server_are_told_from_those_of_others() {
        let log = "audit: apparmor=\"DENIED\" operation=\"bind\" profile=\"/usr/bin/redis-server\" comm=\"io_thd_1\"\n\
                   audit: apparmor=\"DENIED\" operation=\"open\" profile=\"/usr/bin/man\" comm=\"man\"\n\
                   audit: apparmor=\"STATUS\" operation=\"profile_load\" profile=\"/usr/bin/redis-server\"\n\
                   type=AVC avc:  denied  { name_bind } for  pid=7 comm=\"redis-server\" src=6380\n";
        assert_eq!(about(log, "redis-server", None).len(), 1);
        let both = about(log, "redis-server", Some("/usr/bin/redis-server"));
        assert_eq!(both.len(), 2);
        assert!(both[1].as_str().contains("name_bind"));
    }
}
