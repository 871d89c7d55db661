//! The service behind a listener, or the one that should be there and is not: process, unit, limits, last words.

use super::report::{Doctor, State, fix};
use super::talk::Told;
use crate::host;
use crate::host::server::left_behind;
use crate::host::units::{Ended, Unit, units};
use crate::trace::attribute::CRASHES;
use crate::trace::cause::Code;
use crate::trace::container;
use crate::trace::fact::{Fault, Process};
use crate::trace::report::Fix;
use crate::trace::text::Text;

/// Files that a server keeps for itself, beside its clients: `CONFIG_MIN_RESERVED_FDS`, src/server.h.
const RESERVED_FILES: u64 = 32;

/// Units that packages bring.
const UNITS: &[&str] =
    &["redis-server", "redis", "valkey-server", "valkey", "keydb-server", "dragonfly", "redis-sentinel"];

/// Units that packages bring for one port each.
const UNITS_OF_PORTS: &[&str] = &["redis@", "redis-server@", "valkey-server@", "valkey@"];

/// Who serves, under whom, since when, and how many files it may open.
pub(super) fn of_process(doctor: &mut Doctor, process: &Process, told: Option<&Told>) -> anyhow::Result<()> {
    let (container, name) = process.cgroup.as_ref().map_or((None, None), container::of);
    let seconds = host::boottime().saturating_sub(process.start) / 1_000_000_000;
    let user = process.uid.map_or_else(String::new, |uid| format!(", user {uid}"));
    let line = process.cmdline.iter().map(Text::as_str).collect::<Vec<_>>().join(" ");
    let service = name.as_ref().map(Text::as_str).filter(|name| container.is_none() && name.ends_with(".service"));
    let mut unit = None;
    let under = match (container, service) {
        (Some(container), _) => format!("container {} ({})", container.id, container.runtime),
        (None, Some(service)) => match units(&[service.to_owned()]).map(|units| units.into_iter().next()) {
            Ok(known) => {
                unit = known;
                unit.as_ref().map_or_else(|| format!("unit {service}"), |unit| format!("unit {}", state(unit)))
            }
            Err(why) => format!("unit {service}, of which nothing more is known: {why}"),
        },
        (None, None) => "no unit and no container: nobody starts it again".to_owned(),
    };
    let text = format!("{} (pid {}){user}, up {seconds} s: {line}; {under}", process.comm, process.pid);
    doctor.step("service", State::Good, text)?;
    files(doctor, process, service.is_some(), unit.as_ref(), told)
}

/// Whether so many files may be open as there may be clients.
fn files(
    doctor: &mut Doctor,
    process: &Process,
    is_unit_s: bool,
    unit: Option<&Unit>,
    told: Option<&Told>,
) -> anyhow::Result<()> {
    let Some(files) = i32::try_from(process.pid).ok().and_then(open_files) else {
        return Ok(doctor.skip(&["files"], "the limits of the process may not be read")?);
    };
    let of_unit = unit.and_then(|unit| unit.files).map_or_else(String::new, |most| format!(" (LimitNOFILE={most})"));
    match told.and_then(|told| told.info.number("maxclients")) {
        Some(clients) if files < clients + RESERVED_FILES => {
            let at_login = process.uid.and_then(host::login_limit).map_or_else(String::new, |given| {
                let heard = if is_unit_s { "which reaches no unit" } else { "from its next login on" };
                format!("; {given}, {heard}")
            });
            let text = format!(
                "{files} files may be open{of_unit}, {clients} clients and {RESERVED_FILES} more need files{at_login}"
            );
            doctor.step("files", State::Warn, text)?;
        }
        _ => doctor.step("files", State::Good, format!("{files} files may be open{of_unit}"))?,
    }
    Ok(())
}

fn open_files(pid: i32) -> Option<u64> {
    match procfs::process::Process::new(pid).ok()?.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(files) => Some(files),
        procfs::process::LimitValue::Unlimited => Some(u64::MAX),
    }
}

/// The services that could listen on a port where nobody does: their state, what they said last, what starts them.
pub(super) fn missing(doctor: &mut Doctor, port: u16) -> anyhow::Result<()> {
    let units = match units(&names(port)) {
        Ok(units) => units,
        Err(why) => return Ok(doctor.skip(&["service"], &why)?),
    };
    if units.is_empty() {
        let text = "systemd knows no unit of a Redis-like server".to_owned();
        return Ok(doctor.step("service", State::Unknown, text)?);
    }
    let alone = units.len() == 1;
    for unit in &units {
        let is_active = unit.active.as_str() == "active";
        doctor.step("service", if is_active { State::Warn } else { State::Bad }, state(unit))?;
        if is_active {
            continue;
        }
        let left = left_behind(unit);
        let fault = left.fault.as_ref();
        if let Some(fault) = fault {
            doctor.step("log", State::Bad, said(fault))?;
        }
        if alone {
            let words = fault.map_or_else(String::new, |fault| format!(": {}", fault.line));
            doctor.amend(&format!("{} is {}{words}", unit.name, how(unit)), fixes(unit, fault));
        }
        if let Some(cause) = cause(unit, fault).filter(|_| alone && left.ports.contains(&port)) {
            doctor.is_rather(cause);
        }
    }
    Ok(())
}

/// What became of the listener, as `watch` would have told it had it watched; nothing when its unit was never started.
fn cause(unit: &Unit, fault: Option<&Fault>) -> Option<Code> {
    match (unit.result.as_str(), unit.ended?) {
        ("oom-kill", _) => Some(Code::RT1004),
        (_, Ended::Signal(signal)) if CRASHES.iter().any(|crash| u64::from(*crash) == signal) => Some(Code::RT1005),
        (_, Ended::Signal(_)) => Some(Code::RT1003),
        (_, Ended::Exit(code)) if code != 0 && fault.is_some() => Some(Code::RT1020),
        (_, Ended::Exit(_)) => Some(Code::RT1002),
    }
}

fn names(port: u16) -> Vec<String> {
    let of_ports = UNITS_OF_PORTS.iter().map(|name| format!("{name}{port}.service"));
    UNITS.iter().map(|name| format!("{name}.service")).chain(of_ports).collect()
}

/// `redis-server.service is failed (exit code 1), enabled at boot, started again 5 times`.
fn state(unit: &Unit) -> String {
    let boot = match unit.boot.as_str() {
        "" => String::new(),
        boot => format!(", {boot} at boot"),
    };
    let again = match unit.restarts {
        0 => String::new(),
        times => format!(", started again {times} times"),
    };
    format!("{} is {}{boot}{again}", unit.name, how(unit))
}

/// `failed (exit code 1)`.
fn how(unit: &Unit) -> String {
    let result = match unit.result.as_str() {
        "" | "success" | "exit-code" | "signal" => String::new(),
        other => format!(", {other}"),
    };
    match unit.ended {
        None => format!("{} ({})", unit.active, unit.sub),
        Some(Ended::Exit(code)) => format!("{} (exit code {code}{result})", unit.active),
        Some(Ended::Signal(signal)) => format!("{} (signal {signal}{result})", unit.active),
    }
}

/// `/var/log/redis/redis-server.log: Failed listening on port 6379 (TCP), aborting. (/etc/redis/redis.conf:12 port 1)`.
fn said(fault: &Fault) -> String {
    let line = fault.config.as_ref();
    let line = line.map_or_else(String::new, |line| format!(" ({}:{} {})", line.file, line.line, line.text));
    format!("{}: {}{line}", fault.source, fault.line)
}

/// What lets it run.
fn fixes(unit: &Unit, fault: Option<&Fault>) -> Vec<Fix> {
    let name = unit.name.as_str();
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    let run = |what: &str| is_plain.then(|| format!("systemctl {what} {name}"));
    let mend = fault.and_then(|fault| fault.config.as_ref()).map(|line| Fix {
        file: Some(line.file.clone()),
        line: Some(line.line),
        ..fix("mend the line that it names", None)
    });
    let start = match unit.boot.as_str() {
        "disabled" => fix("start it, now and at boot", run("enable --now")),
        "masked" => fix("it was masked on purpose: undo that first", run("unmask")),
        _ => fix("start it", run("start")),
    };
    mend.into_iter().chain([start]).collect()
}
