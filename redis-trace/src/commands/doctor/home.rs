//! What this host shows of a server that runs here: its listener, its queue, its limits.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use super::dial::Place;
use super::report::{Doctor, State};
use super::talk::Told;
use crate::host::{self, Host};
use crate::trace::container;
use crate::trace::fact::{BoundSocket, Process, What};
use crate::trace::flow::{Endpoint, Flow, Netns};
use crate::trace::known::accepts;
use crate::trace::question::Question;
use crate::trace::text::Text;

/// Files that a server keeps for itself, beside its clients: `CONFIG_MIN_RESERVED_FDS`, src/server.h.
const RESERVED_FILES: u64 = 32;

/// Looks at the listener behind a place, when it is on this host and in this namespace; `is_taken` when somebody took the
/// connection.
pub(super) fn look(
    doctor: &mut Doctor,
    place: Option<&Place>,
    told: Option<&Told>,
    is_taken: bool,
) -> anyhow::Result<()> {
    let Some(Place::Tcp(address)) = place else {
        doctor.skip(&["listener"], "a unix socket's owner is not looked for yet")?;
        return Ok(());
    };
    let netns = host::this_task()?.netns;
    let mut host = Host::new();
    if !is_here(&mut host, netns, address.ip()) {
        let why = format!("{} is not an address of this network namespace", address.ip());
        doctor.skip(&["listener"], &why)?;
        return Ok(());
    }
    match listener(&mut host, netns, address) {
        Ok(Some(bound)) => tell(doctor, &bound, told)?,
        Ok(None) if is_taken => {
            let text = format!("nobody listens on {address} here: it is translated, or passed on by the kernel");
            doctor.step("listener", State::Unknown, text)?;
        }
        Ok(None) => doctor.step("listener", State::Bad, format!("nobody listens there for {address}"))?,
        Err(why) => doctor.step("listener", State::Unknown, why)?,
    }
    Ok(())
}

fn is_here(host: &mut Host, netns: Netns, ip: IpAddr) -> bool {
    ip.is_loopback()
        || host
            .answer(&Question::Addresses(netns), host::boottime())
            .into_iter()
            .any(|answer| matches!(answer, What::Addresses { addresses, .. } if addresses.contains(&ip)))
}

/// Who listens for an address; the error is a sentence.
fn listener(host: &mut Host, netns: Netns, address: &SocketAddr) -> Result<Option<BoundSocket>, String> {
    let server = Endpoint { ip: address.ip().to_canonical(), port: address.port() };
    let flow = Flow { netns, client: server, server, ifindex: 0 };
    let question = Question::Sockets { netns, port: address.port() };
    for answer in host.answer(&question, host::boottime()) {
        match answer {
            What::Sockets { sockets, .. } => {
                return Ok(sockets.into_iter().find(|bound| bound.listening && accepts(&bound.socket, &flow)));
            }
            What::Unreadable { why, .. } => return Err(why.to_string()),
            _ => {}
        }
    }
    Err("the host does not say who listens there".to_owned())
}

fn tell(doctor: &mut Doctor, bound: &BoundSocket, told: Option<&Told>) -> anyhow::Result<()> {
    let owner = bound.owner.as_deref();
    let who = owner.map_or_else(
        || "somebody whom /proc does not show".to_owned(),
        |process| format!("{} (pid {})", process.comm, process.pid),
    );
    doctor.step("listener", State::Good, format!("{who} listens on {}", bound.socket.local))?;
    queue(doctor, bound, told.and_then(|told| told.backlog))?;
    if let Some(process) = owner {
        of_process(doctor, process, told)?;
    }
    Ok(())
}

/// The accept queue, and whether the system cut what the server asked for.
fn queue(doctor: &mut Doctor, bound: &BoundSocket, asked: Option<u64>) -> anyhow::Result<()> {
    let (Some(queued), Some(limit)) = (bound.queued, bound.backlog) else { return Ok(()) };
    let waits = format!("{queued} of {limit} wait to be accepted");
    let (state, text) = match asked.filter(|asked| *asked > u64::from(limit)) {
        _ if queued > limit => (State::Bad, format!("{waits}: the accept queue is full")),
        Some(asked) => (State::Warn, format!("{waits}: net.core.somaxconn cuts the {asked} that tcp-backlog asks for")),
        None => (State::Good, waits),
    };
    Ok(doctor.step("backlog", state, text)?)
}

/// What the process may do, and under whom it runs.
fn of_process(doctor: &mut Doctor, process: &Process, told: Option<&Told>) -> anyhow::Result<()> {
    let pid = process.pid;
    let (container, unit) = process.cgroup.as_ref().map_or((None, None), container::of);
    let place = match (container, unit) {
        (Some(container), _) => format!("container {} ({})", container.id, container.runtime),
        (None, Some(unit)) => format!("unit {unit}"),
        (None, None) => "no unit and no container".to_owned(),
    };
    doctor.step("service", State::Good, place)?;
    let files = i32::try_from(pid).ok().and_then(open_files);
    match (files, told.and_then(|told| told.info.number("maxclients"))) {
        (Some(files), Some(clients)) if files < clients + RESERVED_FILES => {
            let text = format!("{files} files may be open, {clients} clients and {RESERVED_FILES} more need files");
            doctor.step("files", State::Warn, text)?;
        }
        (Some(files), _) => doctor.step("files", State::Good, format!("{files} files may be open"))?,
        (None, _) => doctor.skip(&["files"], "the limits of the process may not be read")?,
    }
    match fs::read(format!("/proc/{pid}/attr/current")) {
        Ok(label) if !label.is_empty() => {
            let label = Text::new(label.trim_ascii_end().strip_suffix(b"\0").unwrap_or(label.trim_ascii_end()));
            doctor.step("confined", State::Good, format!("it runs as {label}"))?;
        }
        _ => doctor.skip(&["confined"], "no security module says under which profile it runs")?,
    }
    Ok(())
}

fn open_files(pid: i32) -> Option<u64> {
    match procfs::process::Process::new(pid).ok()?.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(files) => Some(files),
        procfs::process::LimitValue::Unlimited => Some(u64::MAX),
    }
}
