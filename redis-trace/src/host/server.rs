//! A server of this host as its files show it: the lines of its configuration that decide, its last words, what the security
//! modules denied it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use super::configuration::Configuration;
use super::lastwords;
use super::log::{self, KernelLog};
use super::patience::within;
use super::scene::Scene;
use super::units::Unit;
use crate::redis::config::CommandLine;
use crate::trace::fact::{ConfigLine, Fault, Process, ProcessKey, What};
use crate::trace::text::Text;

/// How long its files may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// What the last process of a unit left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Why it ended, by its log, the journal or its configuration.
    pub fault: Option<Fault>,
    /// Where it listened or would have; empty when its configuration may not be read.
    pub ports: Vec<u16>,
}

/// Looks for it.
pub fn left_behind(unit: &Unit) -> Left {
    let cgroup = Text::from(format!("/system.slice/{}", unit.name).as_str());
    match unit.last().map(|process| lastwords::of(process, &unit.argv, Some(&cgroup), 1)) {
        Some(What::LastWords { fault, ports, .. }) if !ports.is_empty() && is_read(&unit.argv) => Left { fault, ports },
        Some(What::LastWords { fault, .. }) => Left { fault, ports: Vec::new() },
        _ => Left::default(),
    }
}

/// Whether we may read the configuration file that a command line names, if it names one.
fn is_read(argv: &[Text]) -> bool {
    let arguments: Vec<Vec<u8>> = argv.iter().map(Text::to_bytes).collect();
    CommandLine::new(&arguments).file.is_none_or(|file| fs::File::open(OsStr::from_bytes(&file)).is_ok())
}

/// Denials of a security module that name a process by its name or its profile, the newest last; the error says why nobody
/// could be asked.
pub fn denials(comm: &str, profile: Option<&str>) -> Result<Vec<Text>, String> {
    let logs = [KernelLog::open().map(|mut log| log.read()), log::audit()];
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
