//! What is remembered, and what must not be.

use super::*;
use crate::trace::fact::{Asked, Bind, Denial, Ending, Module, Said};
use crate::trace::flow::{Endpoint, Flow};

const NETNS: Netns = Netns(7);

fn socket(inode: u64) -> Socket {
    let local = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port: 6379 };
    Socket { netns: NETNS, local, ipv6: false, v6only: false, ifindex: 0, inode }
}

fn dialled() -> Flow {
    let Socket { local, .. } = socket(0);
    Flow { netns: NETNS, client: local, server: local, ifindex: 1 }
}

fn task() -> Task {
    let comm = Text::from("redis-server");
    Task { pid: 9, tid: 9, uid: 0, netns: NETNS, start: 0, cgroup: 1, comm, family: false }
}

/// A listener began at 1 and was closed by its process's end at 2.
fn listener_that_ended() -> Known {
    let mut known = Known::new(Bounds::default());
    known.learn(&Fact { time: 1, what: What::ListenUp { socket: socket(5), task: task(), backlog: 511 } });
    let ending = Some(Ending::Killed { signal: 9, core: false });
    known.learn(&Fact {
        time: 2,
        what: What::ListenDown { socket: socket(5), task: task(), ending, queued: 0, backlog: 128 },
    });
    known
}

#[test]
fn a_listener_that_ended_is_remembered_with_its_owner() {
    let known = listener_that_ended();
    assert!(known.listeners.is_empty());
    let ended = known.endings.last_listener(&dialled(), 3).expect("it is remembered");
    assert_eq!((ended.process.pid, ended.listener.backlog), (9, Some(511)));
}

#[test]
fn a_new_namespace_under_an_old_number_has_no_history() {
    let mut known = listener_that_ended();
    known.learn(&Fact { time: 3, what: What::NetnsReborn { netns: NETNS } });
    assert_eq!(known.endings.last_listener(&dialled(), 4), None);
}

#[test]
fn a_listen_that_failed_leaves_no_listener_behind() {
    let mut known = listener_that_ended();
    let bind =
        Bind { socket: socket(5), task: task(), errno: 98, listen: true, net_bind_service: true, unprivileged: 1024 };
    known.learn(&Fact { time: 3, what: What::Bind(bind) });
    assert_eq!(known.endings.last_listener(&dialled(), 4), None);
}

#[test]
fn a_denial_is_of_the_call_that_its_thread_ends_next_however_late_and_of_no_other() {
    let mut known = Known::new(Bounds::default());
    let denied = |thread: u32| What::Denial(Denial { tid: thread, programs: thread, ..Denial::default() });
    let ended = What::SocketDenied { task: task(), ipv6: false, errno: 1 };
    known.learn(&Fact { time: 1, what: denied(9) });
    known.learn(&Fact { time: 2, what: denied(8) });
    // The thread lost its processor between the two.
    known.learn(&Fact { time: 200_000_000, what: ended.clone() });
    known.learn(&Fact { time: 200_000_001, what: ended });
    assert_eq!(known.denials.of(9, 200_000_000).map(|denial| denial.programs), Some(9));
    assert_eq!(known.denials.of(9, 200_000_001), None);
    assert_eq!(known.denials.of(8, 200_000_000), None);
}

#[test]
fn a_low_port_is_denied_for_want_of_the_capability_unless_somebody_else_can_have_said_no() {
    let is_privileged = |denial: Denial| {
        let mut known = Known::new(Bounds::default());
        let Socket { local, .. } = socket(5);
        let socket = Socket { local: Endpoint { port: 79, ..local }, ..socket(5) };
        let bind = Bind { socket, task: task(), errno: 13, listen: false, net_bind_service: false, unprivileged: 1024 };
        known.learn(&Fact { time: 1, what: What::Denial(Denial { tid: 9, ..denial }) });
        known.learn(&Fact { time: 2, what: What::Bind(bind.clone()) });
        known.failed(2, &bind).privileged
    };
    let capability = Some(Asked::Lacked);
    assert!(is_privileged(Denial::default()));
    assert!(!is_privileged(Denial { seccomp: true, ..Denial::default() }), "the filter may have kept it out");
    assert!(is_privileged(Denial { seccomp: true, capability, ..Denial::default() }), "it let the call pass");
    assert!(!is_privileged(Denial { landlock: true, ..Denial::default() }));
    assert!(!is_privileged(Denial { capability, said: Some(Said::Module(Module::Apparmor)), ..Denial::default() }));
}
