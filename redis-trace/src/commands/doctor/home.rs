//! What this host shows of a server that runs here: its listener, its queue, and the process behind it.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use super::dial::Place;
use super::report::{Doctor, State};
use super::talk::Told;
use super::{configured, confined, means, service, way};
use crate::host::{self, Host};
use crate::trace::fact::{BoundSocket, Process, UnixPath, What};
use crate::trace::flow::{Endpoint, Flow, Netns};
use crate::trace::known::accepts;
use crate::trace::question::Question;
use crate::trace::text::Text;

/// What was made of a place so far.
pub(super) struct Reached<'a> {
    pub(super) place: Option<&'a Place>,
    /// What its server told.
    pub(super) told: Option<&'a Told>,
    /// It took the connection.
    pub(super) is_taken: bool,
}

/// Looks at the listener behind a place and at its process, when they are on this host and in this namespace.
pub(super) fn look(doctor: &mut Doctor, host: &mut Host, reached: &Reached<'_>) -> anyhow::Result<()> {
    let netns = host::this_task()?.netns;
    let server = match reached.place {
        Some(Place::Tcp(address)) if !way::is_here(host, netns, address) => {
            let why = format!("{} is not an address of this network namespace", address.ip());
            return Ok(doctor.skip(&["listener", "service", "config", "host"], &why)?);
        }
        Some(Place::Tcp(address)) => {
            let server = listener(doctor, host, netns, address, reached)?;
            if server.is_none() && !reached.is_taken {
                service::missing(doctor, address.port())?;
            }
            server
        }
        Some(Place::Unix(path)) => unix(doctor, host, netns, path)?,
        None => None,
    };
    if let Some(process) = &server {
        service::of_process(doctor, process, reached.told)?;
        configured::look(doctor, process, reached.told)?;
        confined::look(doctor, process)?;
    }
    means::look(doctor, reached.told)
}

/// The listener for an address, and who it is.
fn listener(
    doctor: &mut Doctor,
    host: &mut Host,
    netns: Netns,
    address: &SocketAddr,
    reached: &Reached<'_>,
) -> anyhow::Result<Option<Process>> {
    match find(host, netns, address) {
        Ok(Some(bound)) => {
            let owner = bound.owner.as_deref();
            let who = owner.map_or_else(
                || "somebody whom /proc does not show".to_owned(),
                |process| format!("{} (pid {})", process.comm, process.pid),
            );
            doctor.step("listener", State::Good, format!("{who} listens on {}", bound.socket.local))?;
            queue(doctor, &bound, reached.told.and_then(|told| told.number("tcp-backlog")))?;
            return Ok(owner.cloned());
        }
        Ok(None) if reached.is_taken => {
            let text = format!("nobody listens on {address} here: it is translated, or passed on by the kernel");
            doctor.step("listener", State::Unknown, text)?;
        }
        Ok(None) => doctor.step("listener", State::Bad, format!("nobody listens there for {address}"))?,
        Err(why) => doctor.step("listener", State::Unknown, why)?,
    }
    Ok(None)
}

/// Who listens for an address; the error is a sentence.
fn find(host: &mut Host, netns: Netns, address: &SocketAddr) -> Result<Option<BoundSocket>, String> {
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

/// A unix socket: what stands at its path, whose it is, who may connect, who listens.
fn unix(doctor: &mut Doctor, host: &mut Host, netns: Netns, path: &str) -> anyhow::Result<Option<Process>> {
    let place = UnixPath::written(path);
    match std::fs::metadata(path) {
        _ if matches!(place, UnixPath::Abstract(_)) => {
            let text = "an abstract name is no file, and everybody in this network namespace may connect";
            doctor.step("file", State::Good, text.to_owned())?;
        }
        Ok(file) => {
            let (mode, uid, gid) = (file.mode() & 0o7777, file.uid(), file.gid());
            let kind = if file.file_type().is_socket() { "a socket" } else { "no socket" };
            let state = if file.file_type().is_socket() { State::Good } else { State::Bad };
            let text = format!("{kind} of user {uid} and group {gid}, mode {mode:o}: who may write may connect");
            doctor.step("file", state, text)?;
        }
        Err(why) => doctor.step("file", State::Bad, format!("{}: {why}", Text::from(path)))?,
    }
    for answer in host.answer(&Question::UnixListeners(netns), host::boottime()) {
        match answer {
            What::UnixListeners { listeners, .. } => {
                if let Some(listener) = listeners.into_iter().find(|listener| listener.path == place) {
                    let Process { comm, pid, .. } = &listener.owner;
                    doctor.step("listener", State::Good, format!("{comm} (pid {pid}) listens on it"))?;
                    return Ok(Some(listener.owner));
                }
                doctor.step(
                    "listener",
                    State::Unknown,
                    "no Redis-like server is seen to listen on this path".to_owned(),
                )?;
            }
            What::Unreadable { why, .. } => doctor.step("listener", State::Unknown, why.to_string())?,
            _ => {}
        }
    }
    Ok(None)
}
