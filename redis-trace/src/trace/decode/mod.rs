//! From records to facts: kernel numbers get their names, bytes become text, sentinels become absence.

mod denial;
mod dropped;
mod early;

use std::collections::BTreeMap;

use redis_trace_common::record::{self, Record};
use redis_trace_common::tally::{End, Key};

use denial::denial;
use dropped::dropped;
use early::early_end;

use super::fact::{
    AcceptFailed, Alike, Bind, ConnectFailed, Ending, Fact, IcmpError, Overflow, Phase, Process, QueueKind, Reset,
    Socket, Task, UnixPath, What,
};
use super::flow::{Endpoint, Flow, Netns};
use super::text::Text;

/// Names that the running kernel gives its numbers, from its BTF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `enum sk_rst_reason` without its prefix, by number; empty on kernels without it.
    pub reset_reasons: Vec<Option<Text>>,
    /// `enum skb_drop_reason` without its prefix, by number; empty on kernels without it.
    pub drop_reasons: Vec<Option<Text>>,
    /// Functions by addresses within them, as far as they were looked up.
    pub functions: BTreeMap<u64, Text>,
}

impl Names {
    /// The name of a number, when there is one.
    fn of(names: &[Option<Text>], number: u32) -> Option<Text> {
        names.get(usize::try_from(number).ok()?).cloned().flatten()
    }
}

/// What a record says.
pub fn decode(record: &Record, names: &Names) -> Fact {
    let (time, what) = match record {
        Record::Reset(r) => (r.time, reset(r, names)),
        Record::ConnectFailed(r) => (r.time, What::ConnectFailed(connect_failed(r))),
        Record::Dropped(r) => (r.time, What::Dropped(dropped(r, names))),
        Record::Connected(r) => (r.time, What::Connected { flow: flow(&r.flow), task: task(&r.task) }),
        Record::ListenUp(r) => {
            (r.time, What::ListenUp { socket: socket(&r.socket), task: task(&r.task), backlog: r.backlog })
        }
        Record::ListenDown(r) => (
            r.time,
            What::ListenDown {
                socket: socket(&r.socket),
                task: task(&r.task),
                ending: (r.exiting != 0).then(|| ending(r.exit_code)),
                queued: r.queued,
                backlog: r.backlog,
            },
        ),
        Record::Bind(r) => (
            r.time,
            What::Bind(Bind {
                socket: socket(&r.socket),
                task: task(&r.task),
                errno: r.errno,
                listen: r.listen != 0,
                net_bind_service: r.capabilities & (1 << CAP_NET_BIND_SERVICE) != 0,
                unprivileged: r.unprivileged,
            }),
        ),
        Record::Denial(r) => (r.time, What::Denial(denial(r))),
        Record::SocketDenied(r) => {
            (r.time, What::SocketDenied { task: task(&r.task), ipv6: r.family == u32::from(AF_INET6), errno: r.errno })
        }
        Record::QueueFull(r) => (r.time, What::QueueFull(overflow(r))),
        Record::AcceptFailed(r) => (
            r.time,
            What::AcceptFailed(AcceptFailed {
                socket: socket(&r.socket),
                task: task(&r.task),
                errno: r.errno,
                queued: r.queued,
                backlog: r.backlog,
                limit: limited(r.limit),
                hard: limited(r.hard),
            }),
        ),
        Record::EarlyEnd(r) => (r.time, What::EarlyEnd(early_end(r))),
        Record::UnixConnect(r) => {
            (r.time, What::UnixConnect { task: task(&r.task), errno: r.errno, path: unix_path(&r.path, r.length) })
        }
        Record::UnixListen(r) => (r.time, What::UnixListen { task: task(&r.task), path: unix_path(&r.path, r.length) }),
        Record::Exec(r) => {
            (r.time, What::Exec { task: task(&r.task), parent: r.parent, argv: arguments(taken(&r.argv, r.length)) })
        }
        Record::Exit(r) => (r.time, What::Exit { task: task(&r.task), ending: ending(r.exit_code) }),
        Record::Signal(r) => (
            r.time,
            What::Signal { sender: task(&r.sender), target: r.target, signal: r.signal, by_kernel: r.code > 0 },
        ),
        Record::OomVictim(r) => (r.time, What::OomVictim { pid: r.pid }),
        Record::Who(r) => (
            r.time,
            What::Process(Process {
                pid: r.task.pid,
                start: r.task.start,
                parent: r.parent,
                comm: Text::until_nul(&r.task.comm),
                uid: Some(r.task.uid),
                exe: walked_path(taken(&r.exe, r.exe_length)),
                cgroup: walked_path(taken(&r.cgroup, r.cgroup_length)),
                cmdline: Vec::new(),
            }),
        ),
    };
    Fact { time, what }
}

/// What refusals have in common that were counted under this key; nothing for a key that counts none.
pub fn alike(key: &Key) -> Option<Alike> {
    let netns = Netns(key.netns);
    let end = End::ALL.into_iter().find(|end| *end as u32 == key.end)?;
    let [low, high, lowest, highest] = key.port.to_le_bytes();
    let (port, how) = (u16::from_le_bytes([low, high]), u16::from_le_bytes([lowest, highest]));
    let (client, server) = (Endpoint::from_bytes(key.client, 0).ip, Endpoint::from_bytes(key.server, port));
    let word = |at: usize| key.client.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_ne_bytes);
    let (pid, errno) = (word(0)?, word(4)?);
    Some(match end {
        End::Server => Alike::Server { netns, client, server },
        End::Queue => Alike::Queue { netns, client, server },
        End::Client => Alike::Client { netns, client, server },
        End::Early => Alike::Early { netns, client, server, how },
        End::Dropped => Alike::Dropped { netns, client, server },
        End::Unix => Alike::Unix { pid, errno, tail: unix_path(&key.server, key.port).text().clone() },
        End::Listen => Alike::Listen { pid, errno, port },
    })
}

fn reset(r: &record::Reset, names: &Names) -> What {
    What::Reset(Reset {
        flow: flow(&r.flow),
        isn: r.isn,
        reason: Names::of(&names.reset_reasons, r.reason),
        sk_lookup: r.sk_lookup != 0,
        ttl: r.ttl,
    })
}

fn overflow(r: &record::QueueFull) -> Overflow {
    Overflow {
        flow: flow(&r.flow),
        socket: socket(&r.socket),
        isn: r.isn,
        queue: if r.queue == 0 { QueueKind::Accept } else { QueueKind::Syn },
        by_ack: r.ack != 0,
        reset: r.reset != 0,
        length: r.length,
        limit: r.limit,
    }
}

fn connect_failed(r: &record::ConnectFailed) -> ConnectFailed {
    let hops = |ttl: u32| (ttl != 0).then_some(ttl);
    let icmp = || IcmpError { from: Endpoint::from_bytes(r.icmp_from, 0).ip, kind: r.icmp_type, code: r.icmp_code };
    ConnectFailed {
        flow: flow(&r.flow),
        task: task(&r.task),
        dialled: r.dialled,
        errno: r.errno,
        isn: r.isn,
        phase: phase(r.phase),
        retransmits: r.retransmits,
        icmp: (r.icmp_type != NO_ICMP).then(icmp),
        ttl: hops(r.ttl),
        peer_ttl: hops(r.peer_ttl),
    }
}

/// The type of an ICMP error when there was none.
const NO_ICMP: u32 = u32::MAX;

fn phase(number: u32) -> Phase {
    const AT_ONCE: u32 = record::Phase::AtOnce as u32;
    const WAITING: u32 = record::Phase::Waiting as u32;
    const OVER_AT_LAST: u32 = record::Phase::OverAtLast as u32;
    const ANSWERED: u32 = record::Phase::Answered as u32;
    match number {
        AT_ONCE => Phase::AtOnce,
        WAITING => Phase::Waiting,
        OVER_AT_LAST => Phase::OverAtLast,
        ANSWERED => Phase::Answered,
        _ => Phase::Over,
    }
}

fn flow(r: &record::Flow) -> Flow {
    Flow {
        netns: Netns(r.netns),
        client: Endpoint::from_bytes(r.client, r.client_port),
        server: Endpoint::from_bytes(r.server, r.server_port),
        ifindex: r.ifindex,
    }
}

fn task(r: &record::Task) -> Task {
    Task {
        pid: r.pid,
        tid: r.tid,
        uid: r.uid,
        netns: Netns(r.netns),
        start: r.start,
        cgroup: r.cgroup,
        comm: Text::until_nul(&r.comm),
        family: r.family != 0,
    }
}

/// Its bit, include/uapi/linux/capability.h.
const CAP_NET_BIND_SERVICE: u32 = 10;

/// `AF_INET6`, include/linux/socket.h.
const AF_INET6: u16 = 10;

fn socket(r: &record::Socket) -> Socket {
    Socket {
        netns: Netns(r.netns),
        local: Endpoint::from_bytes(r.address, r.port),
        ipv6: r.family == AF_INET6,
        v6only: r.v6only != 0,
        ifindex: r.ifindex,
        inode: r.inode,
    }
}

/// A process's end from its code as `wait(2)` gives it.
fn ending(code: u32) -> Ending {
    let [low, high, ..] = code.to_le_bytes();
    match low & 0x7f {
        0 => Ending::Exited(high),
        signal => Ending::Killed { signal, core: low & 0x80 != 0 },
    }
}

/// A limit of resources that is one: `RLIM_INFINITY` is none.
fn limited(limit: u64) -> Option<u64> {
    (limit != u64::MAX).then_some(limit)
}

/// The bytes of a record's array that count.
fn taken(bytes: &[u8], length: u32) -> &[u8] {
    &bytes[..usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len())]
}

fn unix_path(bytes: &[u8], length: u32) -> UnixPath {
    match taken(bytes, length) {
        [0, name @ ..] => UnixPath::Abstract(Text::new(name)),
        path => UnixPath::File(Text::until_nul(path)),
    }
}

/// NUL-ended arguments, secrets redacted.
fn arguments(bytes: &[u8]) -> Vec<Text> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let arguments: Vec<Text> = bytes.split(|b| *b == 0).map(Text::new).collect();
    crate::redis::secret::redact_arguments(&arguments)
}

/// A path whose components a probe walked from the last to the first.
fn walked_path(bytes: &[u8]) -> Option<Text> {
    let parts: Vec<&[u8]> = bytes.split(|b| *b == 0).filter(|part| !part.is_empty() && *part != b"/").collect();
    if bytes.is_empty() {
        return None;
    }
    let mut path = Vec::with_capacity(bytes.len() + 1);
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Some(Text::new(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walked_path_is_put_the_right_way_round() {
        assert_eq!(walked_path(b"redis-server\0bin\0usr\0/\0"), Some(Text::from("/usr/bin/redis-server")));
        assert_eq!(walked_path(b"/\0"), Some(Text::from("/")));
        assert_eq!(walked_path(b""), None);
    }

    #[test]
    fn an_exit_code_tells_exit_signal_and_core() {
        assert_eq!(ending(0), Ending::Exited(0));
        assert_eq!(ending(1 << 8), Ending::Exited(1));
        assert_eq!(ending(9), Ending::Killed { signal: 9, core: false });
        assert_eq!(ending(0x80 | 0xb), Ending::Killed { signal: 11, core: true });
    }

    #[test]
    fn a_unix_address_is_a_path_or_a_name() {
        let mut bytes = [0; record::UNIX_PATH_LEN];
        bytes[..6].copy_from_slice(b"/run/x");
        assert_eq!(unix_path(&bytes, 7), UnixPath::File(Text::from("/run/x")));
        bytes[..5].copy_from_slice(b"\0name");
        assert_eq!(unix_path(&bytes, 5), UnixPath::Abstract(Text::from("name")));
    }
}
