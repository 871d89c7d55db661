//! The host asked about itself: real sockets, real processes, real namespaces.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::thread::UnshareFlags;

use super::netns::stranger::Stranger;
use super::*;
use crate::trace::fact::{Process, UnixPath, UnixState};

/// A listener in another namespace, held by this process.
fn listener_in(stranger: &Stranger) -> (TcpListener, u16) {
    let listener = netns::inside(stranger.netns(), &stranger.door(), || TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a visit").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// The sockets of a namespace, out of many facts.
fn sockets_of(facts: &[What], wanted: Netns) -> Vec<BoundSocket> {
    let found = facts.iter().filter_map(|fact| match fact {
        What::Sockets { netns, sockets, .. } if *netns == wanted => Some(sockets.clone()),
        _ => None,
    });
    found.flatten().collect()
}

#[test]
fn a_snapshot_names_every_namespace_its_listeners_and_their_owner() {
    let stranger = Stranger::new();
    let (_listener, port) = listener_in(&stranger);
    let facts = Host::new().snapshot();
    let named = What::NetnsName { netns: stranger.netns(), name: None, pid: Some(stranger.id()) };
    assert!(facts.contains(&named));
    let sockets = sockets_of(&facts, stranger.netns());
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].socket.local.port, port);
    assert_eq!(sockets[0].owner.as_ref().map(|owner| owner.pid), Some(std::process::id()));
}

#[test]
fn a_question_about_a_port_finds_who_holds_it_in_another_namespace() {
    let stranger = Stranger::new();
    let (_listener, port) = listener_in(&stranger);
    let mut host = Host::new();
    let answer = host.answer(&Question::Sockets { netns: stranger.netns(), port }, boottime());
    let sockets = sockets_of(&answer, stranger.netns());
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].owner.as_ref().map(|owner| owner.pid), Some(std::process::id()));
    let nobody = host.answer(&Question::Sockets { netns: stranger.netns(), port: port ^ 1 }, boottime());
    assert!(matches!(&nobody[..], [What::Sockets { sockets, source: Source::SockDiag, .. }] if sockets.is_empty()));
}

#[test]
fn a_fork_that_keeps_the_socket_open_does_not_own_it() {
    use std::os::fd::AsFd;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let copy = listener.as_fd().try_clone_to_owned().expect("a copy");
    let mut command = Command::new("/bin/cat");
    let mut child = command.stdin(Stdio::piped()).stderr(copy).spawn().expect("cat");
    let mut host = Host::new();
    let own = netns::current().expect("a namespace");
    for answer in [host.snapshot(), host.answer(&Question::Sockets { netns: own, port }, boottime())] {
        let sockets = sockets_of(&answer, own);
        let socket = sockets.iter().find(|socket| socket.socket.local.port == port).expect("it listens");
        assert_eq!(socket.owner.as_ref().map(|owner| owner.pid), Some(std::process::id()));
    }
    drop(child.stdin.take());
    child.wait().expect("cat ends");
}

#[test]
fn an_heir_owns_the_socket_of_a_process_that_is_gone() {
    // In a thread with files of its own: what other tests start meanwhile would hold the listener until it executes.
    std::thread::spawn(heir).join().expect("it passes");
}

fn heir() {
    #[expect(deprecated, reason = "nothing else in this thread has a file open, which is what its successor asks for")]
    rustix::thread::unshare(UnshareFlags::FILES).expect("a table of its own");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut command = Command::new("/bin/cat");
    let child = command.stdin(Stdio::piped()).stderr(std::os::fd::OwnedFd::from(listener));
    let mut child = child.spawn().expect("cat");
    drop(command);
    let own = netns::current().expect("a namespace");
    let answer = Host::new().answer(&Question::Sockets { netns: own, port }, boottime());
    let owner = sockets_of(&answer, own).pop().and_then(|socket| socket.owner);
    assert_eq!(owner.map(|owner| owner.pid), Some(child.id()));
    drop(child.stdin.take());
    child.wait().expect("cat ends");
}

#[test]
fn a_namespace_answers_with_its_addresses_and_one_that_is_gone_with_a_sentence() {
    let stranger = Stranger::new();
    let netns = stranger.netns();
    let mut host = Host::new();
    let loopback = ["127.0.0.1", "::1"].map(|ip| ip.parse().expect("an address")).to_vec();
    assert_eq!(host.answer(&Question::Addresses(netns), boottime()), [What::Addresses { netns, addresses: loopback }]);
    drop(stranger);
    for question in [Question::Addresses(netns), Question::Sockets { netns, port: 1 }] {
        assert!(
            matches!(&host.answer(&question, boottime())[..], [What::Unreadable { why, .. }] if why.as_str().ends_with('.'))
        );
    }
    assert_eq!(
        host.answer(&Question::NetnsName(netns), boottime()),
        [What::NetnsName { netns, name: None, pid: None }]
    );
}

#[test]
fn a_namespace_that_gets_its_name_after_it_was_found_has_it() {
    let stranger = Stranger::new();
    let (netns, pid) = (stranger.netns(), stranger.id());
    let mut host = Host::new();
    assert_eq!(
        host.answer(&Question::NetnsName(netns), boottime()),
        [What::NetnsName { netns, name: None, pid: Some(pid) }]
    );
    let name = format!("redis-trace-test-{pid}");
    let ip = |arguments: &[&str]| Command::new("ip").arg("netns").args(arguments).status().expect("ip is there");
    assert!(ip(&["attach", &name, &pid.to_string()]).success());
    let answer = host.answer(&Question::NetnsName(netns), boottime());
    assert!(ip(&["del", &name]).success());
    assert_eq!(answer, [What::NetnsName { netns, name: Some(Text::from(name.as_str())), pid: Some(pid) }]);
}

#[test]
fn of_namespaces_that_died_together_only_the_first_is_searched_for() {
    let strangers = [Stranger::new(), Stranger::new()];
    let gone = strangers.each_ref().map(Stranger::netns);
    drop(strangers);
    let (mut host, asked) = (Host::new(), boottime());
    let searched = gone.map(|netns| {
        assert!(matches!(&host.answer(&Question::Addresses(netns), asked)[..], [What::Unreadable { .. }]));
        host.searched
    });
    assert_eq!(searched[0], searched[1]);
    host.answer(&Question::Addresses(gone[0]), boottime());
    assert!(host.searched > searched[1], "it may have been found since, by a name");
}

#[test]
fn a_process_answers_only_for_itself() {
    let pid = std::process::id();
    let me = process::describe(pid).expect("we live");
    let (mut host, key) = (Host::new(), ProcessKey::new(pid, me.start));
    assert_eq!(host.answer(&Question::Process(key), boottime()), [What::Process(me)]);
    let other = ProcessKey::new(pid, key.start() - 20_000_000);
    let gone = [What::ProcessState { pid, start: other.start(), alive: false }];
    assert_eq!(host.answer(&Question::Process(other), boottime()), gone);
    assert_eq!(host.answer(&Question::Alive(other), boottime()), gone);
    assert_eq!(
        host.answer(&Question::Alive(key), boottime()),
        [What::ProcessState { pid, start: key.start(), alive: true }]
    );
}

/// What the host says of a unix path that this process dials.
fn unix_state(host: &mut Host, path: UnixPath) -> UnixState {
    let (pid, uid) = (std::process::id(), rustix::process::getuid().as_raw());
    let netns = netns::current().expect("a namespace");
    match host.answer(&Question::Unix { pid, uid, netns, path }, boottime()).pop() {
        Some(What::UnixState(state)) => state,
        other => panic!("{other:?} is no answer"),
    }
}

#[test]
fn a_unix_path_is_alive_then_stale_then_missing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("redis.sock");
    let mut host = Host::new();
    let mut state = || {
        let state = unix_state(&mut host, UnixPath::File(Text::from(path.to_str().expect("a path"))));
        (state.exists, state.is_socket, state.listening)
    };
    let listener = UnixListener::bind(&path).expect("a free path");
    assert_eq!(state(), (Some(true), Some(true), Some(true)));
    drop(listener);
    assert_eq!(state(), (Some(true), Some(true), Some(false)));
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(state(), (Some(false), None, Some(false)));
}

#[test]
fn a_unix_listener_of_another_namespace_is_behind_its_file_too() {
    let stranger = Stranger::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("redis.sock");
    let listener = netns::inside(stranger.netns(), &stranger.door(), || UnixListener::bind(&path));
    let _listener = listener.expect("a visit").expect("a free path");
    let state = unix_state(&mut Host::new(), UnixPath::File(Text::from(path.to_str().expect("a path"))));
    assert_eq!(state.listening, Some(true));
}

#[test]
fn an_abstract_name_lives_as_long_as_its_listener() {
    const LISTEN: &str = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind('\\0' + sys.argv[1]); s.listen(); \
                          print(flush=True); sys.stdin.read()";
    let name = format!("redis-trace-{}", std::process::id());
    let path = UnixPath::Abstract(Text::from(name.as_str()));
    let mut host = Host::new();
    // In a process of its own: what another test starts meanwhile would inherit ours for a moment.
    let mut server = Command::new("python3");
    server.args(["-c", LISTEN, &name]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("python3 is set up");
    let mut ready = [0];
    server.stdout.as_mut().expect("a pipe").read_exact(&mut ready).expect("it listens");
    let state = unix_state(&mut host, path.clone());
    assert_eq!((state.exists, state.is_socket, state.listening), (Some(true), Some(true), Some(true)));
    drop(server.stdin.take());
    server.wait().expect("it ends");
    let state = unix_state(&mut host, path);
    assert_eq!((state.exists, state.listening), (Some(false), Some(false)));
}

#[test]
fn only_servers_unix_sockets_are_listed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("ours.sock");
    let _listener = UnixListener::bind(&path).expect("a free path");
    let netns = netns::current().expect("a namespace");
    let answer = Host::new().answer(&Question::UnixListeners(netns), boottime());
    let [What::UnixListeners { listeners, .. }] = &answer[..] else { panic!("{answer:?} is no answer") };
    assert!(listeners.iter().all(|listener| listener.owner.pid != std::process::id()));
    let socket = unix_sockets::listeners()
        .expect("a dump")
        .into_iter()
        .find(|socket| matches!(&socket.name, UnixPath::File(name) if name.as_str() == path.to_str().expect("a path")));
    let socket = socket.expect("it listens");
    let owner = Arc::new(Process { comm: Text::from("redis-server"), ..Process::default() });
    let listed = unix::of_servers(vec![socket.clone()], &HashMap::from([(socket.inode, owner)]));
    assert_eq!(listed.len(), 1);
}
