//! From records to facts: kernel numbers get their names, bytes become text, sentinels become absence.

use std::collections::BTreeMap;

use redis_trace_common::denial;
use redis_trace_common::record::{self, Record};
use redis_trace_common::reply::alert;
use redis_trace_common::tally::{End, Key};

use super::fact::{
    AcceptFailed, Alike, Asked, Bind, BpfProgram, ConnectFailed, Denial, Dropped, EarlyEnd, Ending, Fact, Filters,
    IcmpError, Module, Overflow, Parting, Passing, Phase, Process, QueueKind, Rejected, Reset, Said, Socket, Task,
    UnixPath, What,
};
use super::flow::{Endpoint, Flow, Netns};
use super::text::Text;
use crate::redis::reply;

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

fn dropped(r: &record::Dropped, names: &Names) -> Dropped {
    let known = |number: u32| (number != u32::MAX).then_some(number);
    Dropped {
        flow: flow(&r.flow),
        isn: r.isn,
        caller: (r.task.pid != 0).then(|| (task(&r.task), r.dialled)),
        reason: known(r.reason).and_then(|reason| Names::of(&names.drop_reasons, reason)),
        function: names.functions.get(&r.location).cloned(),
        ttl: r.ttl,
        sight: Passing {
            outgoing: r.outgoing != 0,
            input: r.input,
            output: r.output,
            mark: r.mark,
            tracking: known(r.tracking),
            flags: u8::try_from(r.flags & 0xff).unwrap_or_default(),
            generation: (r.generation != 0).then_some(r.generation),
            rejected: rejected(r),
        },
        filters: Filters {
            socket: known(r.filter).map(|filter| filter != 0),
            programs: r.programs,
            program: program(r.programs, r.program, &r.program_name),
        },
    }
}

/// What is known of the rule that rejected it; nothing where it was not seen to be rejected.
fn rejected(r: &record::Dropped) -> Option<Rejected> {
    let followers = (r.followers != record::MANY).then_some(r.followers);
    let is_seen = r.handles.iter().any(|handle| *handle != 0) || followers.is_some();
    is_seen.then_some(Rejected { handles: r.handles, table: (r.table != 0).then_some(r.table), followers })
}

fn denial(r: &record::Denial) -> Denial {
    let context = |bytes: &[u8], length: u32| (length > 0).then(|| Text::new(taken(bytes, length)));
    Denial {
        tid: r.tid,
        said: said(r.said),
        capability: match r.capability {
            lacked if lacked == denial::Asked::Lacked as u32 => Some(Asked::Lacked),
            denied if denied == denial::Asked::Denied as u32 => Some(Asked::Denied),
            _ => None,
        },
        seccomp: r.seccomp != 0,
        landlock: r.landlock == 1,
        domain: (r.domain != 0).then_some(r.domain),
        programs: r.programs,
        program: program(r.programs, r.program, &r.program_name),
        subject: context(&r.subject, r.subject_length),
        object: context(&r.object, r.object_length),
    }
}

/// The first of so many programs.
fn program(programs: u32, id: u32, name: &[u8]) -> Option<BpfProgram> {
    (programs > 0).then(|| BpfProgram { id, name: Text::until_nul(name) })
}

/// Who said no, by its number.
fn said(number: u32) -> Option<Said> {
    let said = denial::Said::ALL.into_iter().find(|said| *said as u32 == number)?;
    Some(Said::Module(match said {
        denial::Said::Nobody => return None,
        denial::Said::CgroupBpf => return Some(Said::CgroupBpf),
        denial::Said::Filter => return Some(Said::Filter),
        denial::Said::Landlock => Module::Landlock,
        denial::Said::Selinux => Module::Selinux,
        denial::Said::AppArmor => Module::Apparmor,
        denial::Said::Tomoyo => Module::Tomoyo,
        denial::Said::BpfLsm => Module::Bpf,
    }))
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

fn early_end(r: &record::EarlyEnd) -> EarlyEnd {
    EarlyEnd {
        flow: flow(&r.flow),
        server: (r.task.pid != 0).then(|| task(&r.task)),
        client: false,
        sent: r.sent,
        received: r.received,
        read: (r.read != UNKNOWN).then_some(r.read),
        end: r.end,
        idle_ms: r.idle,
        waiting: r.waiting,
        quiet_ms: r.quiet,
        parting: parting(r.parting),
        kind: u16::try_from(r.kind).unwrap_or_default(),
        known: r.length,
        reply: refusal(taken(&r.reply, r.length)),
        redirect: reply::redirect(taken(&r.reply, r.length), Endpoint::from_bytes(r.flow.server, r.flow.server_port)),
        alert: alert(taken(&r.reply, r.length)),
    }
}

/// A number of bytes that was not counted.
const UNKNOWN: u32 = u32::MAX;

fn parting(number: u32) -> Parting {
    const RESET: u32 = record::Parting::Reset as u32;
    const LEFT: u32 = record::Parting::Left as u32;
    const WAITED: u32 = record::Parting::Waited as u32;
    const ALERTED: u32 = record::Parting::Alerted as u32;
    const LEFT_BY_SERVER: u32 = record::Parting::LeftByServer as u32;
    const HELLO_UNANSWERED: u32 = record::Parting::HelloUnanswered as u32;
    match number {
        RESET => Parting::Reset,
        LEFT => Parting::Left,
        WAITED => Parting::Waited,
        ALERTED => Parting::Alerted,
        LEFT_BY_SERVER => Parting::LeftByServer,
        HELLO_UNANSWERED => Parting::HelloUnanswered,
        _ => Parting::Closed,
    }
}

/// The first line of what a server said; nothing when another reply than a refusal follows: whoever got one was served, and the
/// words may be a part of a value.
fn refusal(bytes: &[u8]) -> Option<Text> {
    let text = String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let refuses = |line: &str| line.strip_prefix('-').is_some_and(|error| reply::of_error(error).is_some());
    // The last may be cut short.
    let (whole, cut) = rest.rsplit_once("\r\n").map_or(("", rest), |(whole, cut)| (whole, cut));
    let are_refusals = whole.split("\r\n").filter(|line| !line.is_empty()).all(refuses);
    let is_error = first.starts_with('-') && (cut.is_empty() || cut.starts_with('-'));
    (is_error && are_refusals).then(|| Text::from(first))
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
    fn a_refusal_is_a_line_that_nothing_but_errors_follows() {
        assert_eq!(
            refusal(b"-NOAUTH Authentication required.\r\n"),
            Some(Text::from("-NOAUTH Authentication required."))
        );
        assert_eq!(refusal(b"-NOAUTH no\r\n-NOAUTH no\r\n"), Some(Text::from("-NOAUTH no")));
        assert_eq!(refusal(b"-DENIED Redis is running in pro"), Some(Text::from("-DENIED Redis is running in pro")));
        assert_eq!(refusal(b"-NOAUTH no\r\n+OK\r\n"), None);
        assert_eq!(refusal(b"-NOAUTH no\r\n-ERR value is not an integer or out of range\r\n"), None);
        assert_eq!(refusal(b"-NOAUTH no\r\n-NOAUTH no\r\n$3"), None);
        assert_eq!(refusal(b"+OK\r\n"), None);
        assert_eq!(refusal(b""), None);
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
