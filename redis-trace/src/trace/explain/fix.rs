//! What would end the refusals. Nothing here is ever done by the tool itself.

use std::net::IpAddr;

use crate::trace::container;
use crate::trace::fact::{Process, UnixListener};
use crate::trace::known::{EndedListener, FailedStart, Known, Listener, OomLimit, is_redis_like};
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::report::Fix;
use crate::trace::text::Text;
use crate::trace::verdict::Cause;

use super::denial;
use super::summary::target;
use super::{elsewhere, filtered, firewall, queue, rejected, words};

pub(super) fn fix(refusal: &Refusal, cause: &Cause, known: &Known) -> Vec<Fix> {
    match cause {
        Cause::Unknown { .. } => vec![],
        Cause::NoListener => vec![advice(&format!(
            "start the server that belongs on {}, or correct the client's address",
            target(&refusal.attempt)
        ))],
        Cause::ListenerExited { ended, .. } => vec![start(ended, known, "start it again")],
        Cause::ListenerKilled { ended, .. } => vec![start(ended, known, "start it again, and find out who kills it")],
        Cause::ListenerCrashed { ended, .. } => {
            vec![start(ended, known, "start it again, and keep its log and core dump")]
        }
        Cause::ListenerOomKilled { ended, limit, .. } => out_of_memory(ended, *limit, known),
        Cause::ListenerClosed { ended } => vec![start_or(ended, known, "restart")],
        Cause::BoundToOtherAddress { listeners } | Cause::OtherAddressFamily { listeners } => {
            widen(refusal, listeners, known)
        }
        Cause::BoundToOtherPort { listeners } => listeners
            .first()
            .map(|listener| {
                advice(&format!("dial port {} instead, or set `port` on the server", listener.local().port))
            })
            .into_iter()
            .collect(),
        Cause::ListenerInOtherNetns { listeners } => listeners
            .first()
            .map(|listener| {
                let netns = words::netns(listener.socket.netns, known);
                advice(&format!("dial an address of {netns}, or publish the port to this one"))
            })
            .into_iter()
            .collect(),
        Cause::AddressInUse { holder, .. } => {
            let owner = holder.as_ref().and_then(|holder| holder.owner.as_deref());
            let text = owner.map_or_else(
                || "free the port, or choose another".to_owned(),
                |owner| format!("stop {}, or choose another port", words::process(owner)),
            );
            vec![Fix { command: owner.and_then(|owner| unit_command("stop", owner)), ..advice(&text) }]
        }
        Cause::AddressNotAvailable { failed } => vec![
            advice(&format!(
                "give {} to an interface before the server starts, or take it out of `bind`",
                failed.socket.local.ip
            )),
            Fix {
                command: Some(format!("bind 127.0.0.1 -{}", failed.socket.local.ip)),
                ..advice("or let the server start without it: a `-` before the address makes it optional")
            },
        ],
        Cause::PrivilegedPort { failed } => vec![
            advice(&format!("use a port from 1024 up instead of {}", failed.socket.local.port)),
            Fix {
                command: Some("AmbientCapabilities=CAP_NET_BIND_SERVICE".to_owned()),
                ..advice("or give the unit the capability")
            },
        ],
        Cause::BoundNotListening { owner, .. } => vec![advice(&format!(
            "{} is still starting, or is stuck before listen: look at its log",
            words::owner(owner.as_ref())
        ))],
        Cause::UnixSocketStale { .. } => {
            vec![advice("start the server that owns the socket; it replaces a stale file itself")]
        }
        Cause::UnixSocketMissing { real, .. } => vec![match real.first() {
            Some(listener) => advice(&format!("dial {} instead", words::unix_path(&listener.path))),
            None => advice("start the server, or set `unixsocket` in its configuration"),
        }],
        Cause::UnixSocketPermission { .. } => vec![Fix {
            command: Some("unixsocketperm 770".to_owned()),
            risk: Some("every member of the socket's group may then connect".to_owned()),
            ..advice("let the client's user in: add it to the socket's group, and set")
        }],
        Cause::SkLookupRefused { .. } => vec![Fix {
            command: Some("bpftool net list; bpftool link list".to_owned()),
            ..advice("find the sk_lookup program and its owner")
        }],
        Cause::Denied(denied) | Cause::StartDenied(denied) | Cause::PartlyDenied { denied, .. } => {
            denial::fix(denied, denial::caller(refusal, denied, known))
        }
        Cause::StartFailed { failed } => vec![correct_start(failed, known)],
        Cause::PartialListen { failed, .. } => vec![Fix {
            command: unit_command("restart", &failed.process),
            ..advice(&format!("{} is there now: restart the server so that it binds it", failed.socket.local.ip))
        }],
        Cause::UnixSocketOnly { listener } => unix_socket_only(listener),
        Cause::AcceptQueueFull { .. }
        | Cause::SynQueueFull { .. }
        | Cause::UnixBacklogFull { .. }
        | Cause::SomeQueueFull { .. }
        | Cause::FdLimit { .. }
        | Cause::ListenerClosedWithQueue { .. } => queue::fix(cause),
        Cause::Firewall { filtered } => firewall::fix(filtered, refusal, known),
        Cause::NatToNowhere { arrived, .. } => vec![firewall::serve(*arrived)],
        Cause::ConntrackFull { most, .. } => filtered::track_more(*most),
        Cause::PacketFiltered { dropped } => filtered::fix(dropped, known),
        Cause::Dialling(cause) => elsewhere::fix(refusal, cause),
        Cause::Rejected(it) => rejected::fix(&refusal.attempt, it),
        Cause::Redirected(it) => rejected::fix_redirect(&it.redirect),
    }
}

pub(super) fn advice(text: &str) -> Fix {
    Fix { text: text.to_owned(), command: None, file: None, line: None, risk: None }
}

/// The unix socket itself, or a TCP port beside it.
fn unix_socket_only(listener: &UnixListener) -> Vec<Fix> {
    vec![
        advice(&format!("dial the unix socket {}", words::unix_path(&listener.path))),
        Fix {
            command: Some("port 6379".to_owned()),
            risk: Some("reachable over TCP: keep `bind` narrow and set a password".to_owned()),
            ..advice("or let the server listen on TCP too")
        },
    ]
}

/// `systemctl restart redis-server.service`, when the process belongs to a unit.
fn unit_command(verb: &str, process: &Process) -> Option<String> {
    let (container, unit) = container::of(process.cgroup.as_ref()?);
    match (container, unit) {
        (None, Some(unit)) if unit.as_str().ends_with(".service") => {
            words::plain(&unit).map(|unit| format!("systemctl {verb} {unit}"))
        }
        _ => None,
    }
}

fn start(ended: &EndedListener, known: &Known, text: &str) -> Fix {
    let process = known.process(ended.process.key()).unwrap_or(&ended.process);
    Fix { command: unit_command("start", process), ..advice(text) }
}

fn start_or(ended: &EndedListener, known: &Known, verb: &str) -> Fix {
    let process = known.process(ended.process.key()).unwrap_or(&ended.process);
    let text = format!("{verb} {}, or make it listen again", words::process(process));
    Fix { command: unit_command(verb, process), ..advice(&text) }
}

fn out_of_memory(ended: &EndedListener, limit: OomLimit, known: &Known) -> Vec<Fix> {
    let text = match limit {
        OomLimit::Cgroup => "raise the memory limit of its cgroup, or set `maxmemory` well below it",
        OomLimit::Host => "give the host more memory or fewer tasks, or set `maxmemory`",
        OomLimit::Unsaid => "give it more memory, or set `maxmemory`",
    };
    vec![start(ended, known, "start it again"), advice(text)]
}

/// The `bind` line that would take the dialled address too.
fn widen(refusal: &Refusal, listeners: &[Listener], known: &Known) -> Vec<Fix> {
    let Attempt::Connect(connect) = &refusal.attempt else { return Vec::new() };
    let (Some(flow), Some(first)) = (connect.flow(), listeners.first()) else { return Vec::new() };
    let dial = advice(&format!("dial {} instead", first.local()));
    let Some(owner) = first.owner.as_deref().filter(|owner| is_redis_like(owner)) else {
        let text = format!("let {} listen on {} too", words::owner(first.owner.as_deref()), flow.server.ip);
        return vec![advice(&text), dial];
    };
    let mut addresses: Vec<IpAddr> = listeners.iter().map(|listener| listener.local().ip).collect();
    addresses.push(flow.server.ip);
    addresses.dedup();
    let bind: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let risk =
        (!flow.server.ip.is_loopback()).then(|| "reachable from the network: set a password or ACL first".to_owned());
    let widen = Fix {
        text: format!("let {} listen on {} too", owner.comm, flow.server.ip),
        command: Some(format!("bind {}", bind.join(" "))),
        file: config_file(owner, known),
        line: None,
        risk,
    };
    if flow.client.ip == flow.server.ip { vec![dial, widen] } else { vec![widen, dial] }
}

/// The configuration file a server was started with.
fn config_file(owner: &Process, known: &Known) -> Option<Text> {
    let started = known.servers.start_of(owner.key()).map(|(argv, _)| argv.to_vec());
    let argv = started.unwrap_or_else(|| owner.cmdline.clone());
    argv.get(1).filter(|first| first.as_str().starts_with('/')).cloned()
}

fn correct_start(failed: &FailedStart, known: &Known) -> Fix {
    let config = failed.fault.as_ref().and_then(|fault| fault.config.as_ref());
    let process = known.process(failed.process.key()).unwrap_or(&failed.process);
    Fix {
        text: match config {
            Some(config) => format!("correct the line `{}`, then start it again", config.text),
            None => "correct what its last words name, then start it again".to_owned(),
        },
        command: unit_command("start", process),
        file: config.map(|config| config.file.clone()),
        line: config.map(|config| config.line),
        risk: None,
    }
}
