//! What this host shows of a server that runs here: its listener, its queue, its limits.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::dial::Place;
use super::file;
use super::report::{Doctor, State};
use super::talk::Told;
use crate::host::{self, Host};
use crate::trace::fact::{BoundSocket, Forbidden, Process, Task, UnixPath, Way, What};
use crate::trace::flow::{Endpoint, Flow, Netns};
use crate::trace::known::accepts;
use crate::trace::question::Question;
use crate::trace::text::Text;
use crate::trace::{container, errno};

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
    let task = host::this_task()?;
    let (netns, mut host) = (task.netns, Host::new());
    let address = match place {
        Some(Place::Tcp(address)) => address,
        Some(Place::Unix(path)) => return behind(doctor, &mut host, &task, path, told),
        None => return Ok(()),
    };
    if !is_here(&mut host, netns, address.ip()) {
        let why = format!("{} is not an address of this network namespace", address.ip());
        doctor.skip(&["listener"], &why)?;
        return route(doctor, &mut host, netns, address);
    }
    match listener(&mut host, netns, address) {
        Ok(Some(bound)) => {
            tell(doctor, &bound, told)?;
            let named = told.and_then(|told| told.info.text("config_file")).filter(|file| !file.is_empty());
            if let (Some(file), Some(owner)) = (named, bound.owner.as_deref()) {
                file::of_server(doctor, Path::new(file), owner.pid, address)?;
            }
        }
        Ok(None) if is_taken => {
            let text = format!("nobody listens on {address} here: it is translated, or passed on by the kernel");
            doctor.step("listener", State::Unknown, text)?;
        }
        Ok(None) => {
            doctor.step("listener", State::Bad, format!("nobody listens there for {address}"))?;
            file::of_host(doctor, address)?;
        }
        Err(why) => doctor.step("listener", State::Unknown, why)?,
    }
    Ok(())
}

/// The way to a server elsewhere.
fn route(doctor: &mut Doctor, host: &mut Host, netns: Netns, address: &SocketAddr) -> anyhow::Result<()> {
    let to = Endpoint { ip: address.ip().to_canonical(), port: address.port() };
    let question = Question::Way { netns, to, uid: rustix::process::getuid().as_raw() };
    let way = host.answer(&question, host::boottime()).into_iter().find_map(|answer| match answer {
        What::Way(way) => Some(way.way),
        _ => None,
    });
    let (state, text) = match way {
        Some(Way::Sent { hop, hop_failed: true }) => {
            (State::Bad, format!("packets go by {hop}, which does not answer for its hardware address"))
        }
        Some(Way::Sent { hop, .. }) if hop == to.ip => (State::Good, format!("{hop} is on a network of this host")),
        Some(Way::Sent { hop, .. }) => (State::Good, format!("packets go by {hop}")),
        Some(Way::Refused { errno, by }) => {
            let by = by.map_or_else(|| "no route matches".to_owned(), |by| format!("{by} says so"));
            (State::Bad, format!("a dial gets {}: {by}", errno::name(errno)))
        }
        Some(Way::Blocked { by }) => (State::Bad, format!("a policy of IPsec blocks it: {by}")),
        None => (State::Unknown, "the host does not say which way packets go".to_owned()),
    };
    Ok(doctor.step("route", state, text)?)
}

/// Who listens behind a unix socket's path, and who may use it.
fn behind(doctor: &mut Doctor, host: &mut Host, task: &Task, path: &str, told: Option<&Told>) -> anyhow::Result<()> {
    let uid = rustix::process::getuid().as_raw();
    let path = UnixPath::File(Text::from(path));
    let question = Question::Unix { pid: task.pid, uid, netns: task.netns, path };
    let state = host.answer(&question, host::boottime()).into_iter().find_map(|answer| match answer {
        What::UnixState(state) => Some(state),
        _ => None,
    });
    let Some(state) = state else {
        return Ok(doctor.step("listener", State::Unknown, "the host does not say who listens there".to_owned())?);
    };
    if let Some(Forbidden { path, mode, uid, gid }) = &state.forbidden {
        let text = format!("{path} has mode {mode:04o}, user {uid}, group {gid}: this user may not use it");
        doctor.step("mode", State::Bad, text)?;
    }
    let Some(queue) = state.queue else {
        let text = match (state.exists, state.is_socket) {
            (Some(false), _) => "nothing has this path",
            (_, Some(false)) => "it is no socket",
            _ => "nobody listens behind it",
        };
        return Ok(doctor.step("listener", State::Bad, text.to_owned())?);
    };
    let who = queue.owner.as_ref().map_or_else(
        || "somebody whom /proc does not show".to_owned(),
        |process| format!("{} (pid {})", process.comm, process.pid),
    );
    doctor.step("listener", State::Good, format!("{who} listens behind it"))?;
    let (queued, limit) = (queue.queued, queue.limit);
    let fill = if queued > limit { State::Bad } else { State::Good };
    doctor.step("backlog", fill, format!("{queued} of {limit} wait to be accepted"))?;
    queue.owner.as_ref().map_or(Ok(()), |process| of_process(doctor, process, told))
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
    memory(doctor, told)?;
    match fs::read(format!("/proc/{pid}/attr/current")) {
        Ok(label) if !label.is_empty() => {
            let label = Text::new(label.trim_ascii_end().strip_suffix(b"\0").unwrap_or(label.trim_ascii_end()));
            doctor.step("confined", State::Good, format!("it runs as {label}"))?;
        }
        _ => doctor.skip(&["confined"], "no security module says under which profile it runs")?,
    }
    Ok(())
}

/// The host's memory beside the server's: a background save forks, and without overcommit the fork may fail.
fn memory(doctor: &mut Doctor, told: Option<&Told>) -> anyhow::Result<()> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let Some(memory) = read("/proc/meminfo") else { return Ok(()) };
    let kibibytes = |name: &str| -> Option<u64> {
        let line = memory.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let (Some(free), Some(swap)) = (kibibytes("MemAvailable"), kibibytes("SwapFree")) else { return Ok(()) };
    let overcommit =
        read("/proc/sys/vm/overcommit_memory").map_or_else(|| "?".to_owned(), |text| text.trim().to_owned());
    let used = told.and_then(|told| told.info.number("used_memory_rss")).map(|bytes| bytes >> 10);
    let is_short = used.is_some_and(|used| overcommit != "1" && used > free + swap);
    let text =
        format!("{} MiB available, {} MiB of swap free, vm.overcommit_memory {overcommit}", free >> 10, swap >> 10);
    let (state, text) = if is_short {
        (State::Warn, format!("{text}: a background save may fail, and writes with it (-MISCONF)"))
    } else {
        (State::Good, text)
    };
    Ok(doctor.step("host", state, text)?)
}

fn open_files(pid: i32) -> Option<u64> {
    match procfs::process::Process::new(pid).ok()?.limits().ok()?.max_open_files.soft_limit {
        procfs::process::LimitValue::Value(files) => Some(files),
        procfs::process::LimitValue::Unlimited => Some(u64::MAX),
    }
}
