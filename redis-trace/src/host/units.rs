//! What systemd says of a unit: its state, how it ended last, whether it starts at boot, how many files it may open.

use std::path::Path;
use std::time::Duration;

use super::command::{output, program};
use crate::trace::fact::ProcessKey;
use crate::trace::text::Text;

/// There while systemd runs the host: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// It answers within this time or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much as is read of an answer.
const LIMIT: usize = 256 << 10;

/// What is asked of each unit.
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,UnitFileState,MainPID,ExecMainPID,ExecMainCode,\
                          ExecMainStatus,ExecMainStartTimestampMonotonic,NRestarts,Result,LimitNOFILESoft,ExecStart";

/// `CLD_EXITED`, include/uapi/asm-generic/siginfo.h.
const EXITED: u64 = 1;

/// How a service's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Exit(u64),
    /// By this signal.
    Signal(u64),
}

/// A service as systemd sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, with `.service`.
    pub name: Text,
    /// `active`, `inactive`, `failed`, `activating` …
    pub active: Text,
    /// `running`, `dead`, `auto-restart` …
    pub sub: Text,
    /// `enabled`, `disabled`, `masked` … at boot.
    pub boot: Text,
    /// Its process now.
    pub pid: Option<u32>,
    /// How the last one ended; absent while it runs or when there was none.
    pub ended: Option<Ended>,
    /// `success`, `exit-code`, `oom-kill`, `timeout` …
    pub result: Text,
    /// How often systemd started it again by itself.
    pub restarts: u64,
    /// How many files it may open.
    pub files: Option<u64>,
    /// What is executed.
    pub argv: Vec<Text>,
    /// The process that ended last.
    last: Option<ProcessKey>,
}

impl Unit {
    /// The process that ended last, where it wrote last words.
    pub(super) fn last(&self) -> Option<ProcessKey> {
        self.last
    }
}

/// Those of these units that the host has; the error says why nothing is known.
pub fn units(names: &[String]) -> Result<Vec<Unit>, String> {
    if !Path::new(BOOTED).is_dir() {
        return Err("systemd does not run this host".to_owned());
    }
    let mut systemctl = program("systemctl").ok_or("there is no systemctl".to_owned())?;
    systemctl.args(["show", "--no-pager", "--property", PROPERTIES, "--"]).args(names);
    let text = output(systemctl, PATIENCE, LIMIT)?;
    Ok(parse(&text))
}

/// Blocks of `NAME=VALUE`, a blank line between them.
pub(crate) fn parse(text: &str) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    for unit in text.split("\n\n").filter_map(unit) {
        // An alias is the unit that it stands for.
        if !units.iter().any(|known| known.name == unit.name) {
            units.push(unit);
        }
    }
    units
}

fn unit(block: &str) -> Option<Unit> {
    let value =
        |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
    let text = |name: &str| Text::from(value(name));
    let number = |name: &str| value(name).parse::<u64>().ok().filter(|number| *number != 0);
    let pid = |name: &str| u32::try_from(number(name)?).ok();
    if value("LoadState") != "loaded" {
        return None;
    }
    let status = value("ExecMainStatus").parse().unwrap_or_default();
    let ended =
        number("ExecMainCode").map(|code| if code == EXITED { Ended::Exit(status) } else { Ended::Signal(status) });
    let started = number("ExecMainStartTimestampMonotonic").and_then(|micros| micros.checked_mul(1_000));
    Some(Unit {
        name: text("Id"),
        active: text("ActiveState"),
        sub: text("SubState"),
        boot: text("UnitFileState"),
        pid: pid("MainPID"),
        ended: ended.filter(|_| pid("MainPID").is_none()),
        result: text("Result"),
        restarts: number("NRestarts").unwrap_or_default(),
        files: number("LimitNOFILESoft"),
        argv: argv(value("ExecStart")),
        last: pid("ExecMainPID").zip(started).map(|(pid, started)| ProcessKey::new(pid, started)),
    })
}

/// `{ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server /etc/redis/redis.conf ; ignore_errors=no ; … }`
fn argv(command: &str) -> Vec<Text> {
    let words = command.split_once("argv[]=").and_then(|(_, rest)| rest.split_once(" ; ")).map(|(words, _)| words);
    words.unwrap_or_default().split_ascii_whitespace().map(Text::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Id=redis-server.service\nLoadState=loaded\nActiveState=failed\nSubState=failed\n\
        UnitFileState=enabled\nMainPID=0\nExecMainPID=812\nExecMainCode=1\nExecMainStatus=1\n\
        ExecMainStartTimestampMonotonic=5000000\nNRestarts=5\nResult=exit-code\nLimitNOFILESoft=65535\n\
        ExecStart={ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server /etc/redis/redis.conf --daemonize no ; \
        ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }\n";

    #[test]
    fn a_unit_is_read_with_how_it_ended_and_one_that_is_not_there_is_none() {
        let alias = SHOWN;
        let units = parse(&format!("{SHOWN}\nId=valkey.service\nLoadState=not-found\nActiveState=inactive\n\n{alias}"));
        assert_eq!(units.len(), 1);
        let unit = &units[0];
        assert_eq!(
            (unit.name.as_str(), unit.active.as_str(), unit.boot.as_str()),
            ("redis-server.service", "failed", "enabled")
        );
        assert_eq!((unit.pid, unit.ended, unit.restarts, unit.files), (None, Some(Ended::Exit(1)), 5, Some(65_535)));
        assert_eq!(
            unit.argv.iter().map(Text::as_str).collect::<Vec<_>>().join(" "),
            "/usr/bin/redis-server /etc/redis/redis.conf --daemonize no"
        );
        assert_eq!(unit.last(), Some(ProcessKey::new(812, 5_000_000_000)));
    }

    #[test]
    fn a_signal_is_no_exit_code_and_a_process_that_lives_has_not_ended() {
        let killed = SHOWN.replace("ExecMainCode=1", "ExecMainCode=2").replace("ExecMainStatus=1", "ExecMainStatus=9");
        assert_eq!(parse(&killed)[0].ended, Some(Ended::Signal(9)));
        let lives = SHOWN.replace("MainPID=0", "MainPID=7");
        assert_eq!((parse(&lives)[0].pid, parse(&lives)[0].ended), (Some(7), None));
    }
}
