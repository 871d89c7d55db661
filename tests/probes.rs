//! The probes on this kernel: real refusals, listeners, binds, unix sockets and processes, and the facts they must give.
//!
//! Needs root and a kernel with BTF; run it in a virtual machine for the tiers that this one refuses. Everything happens on
//! loopback with ports and paths of the test's own.

#[path = "support/executable.rs"]
mod executable;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use caps::{CapSet, Capability};
use redis_trace::kernel::{self, Options, Probes, State, TierWish};
use redis_trace::trace::decode::decode;
use redis_trace::trace::fact::{Ending, Process, Task, UnixPath, What};
use redis_trace::trace::flow::Endpoint;
use redis_trace_common::hook::{Role, Tier};
use redis_trace_common::record::Record;
use rustix::fs::chmod;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// The kernel answers within microseconds; an emulated one within seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a shell does to wait until it is killed: nobody writes to it.
const WAIT: &str = "read line";

/// Probes, and everything they told.
struct Watch {
    probes: Probes,
    told: Vec<What>,
}

impl Watch {
    /// Attaches; `None`, with the reason told, where this process may not.
    fn attach(tier: TierWish) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: probes need root");
            return None;
        }
        let options = Options { tier, ..Options::default() };
        let probes = kernel::attach(&options).unwrap_or_else(|error| panic!("{error}"));
        for hook in probes.hooks() {
            eprintln!("{:?} {:<22} {:?} {:?}", hook.tier(), hook.name(), hook.hook.kind, hook.state);
        }
        Some(Self { probes, told: Vec::new() })
    }

    /// Reads until a fact is the one looked for; gives what was found in it.
    async fn until<T>(&mut self, what: &str, find: impl Fn(&What) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(at) = self.told.iter().position(|told| find(told).is_some()) {
                    return find(&self.told.remove(at)).expect("found a moment ago");
                }
                let (names, told) = (self.probes.names().clone(), &mut self.told);
                let read = self.probes.read(|bytes| {
                    told.push(decode(&Record::decode(bytes).expect("a record"), &names).what);
                });
                read.await.expect("the ring can be read");
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: never told"))
    }

    /// Whether a role is served on this kernel; says why not where it is not.
    fn serves(&self, role: Role) -> bool {
        let hooks: Vec<_> = self.probes.hooks().iter().filter(|hook| hook.hook.role == role).collect();
        let served = [Tier::T1, Tier::T2].iter().any(|tier| {
            let mut of_tier = hooks.iter().filter(|hook| hook.tier() == *tier).peekable();
            of_tier.peek().is_some() && of_tier.all(|hook| hook.state == State::Up)
        });
        if !served {
            eprintln!("skipped: no hook of this kernel serves {role:?}");
        }
        served
    }
}

/// An address at which nobody listens, nor can while the socket is kept that has it.
fn closed(ip: IpAddr) -> (OwnedFd, SocketAddr) {
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let holder = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&holder, &SocketAddr::new(ip, 0)).expect("loopback has ports");
    let address = getsockname(&holder).expect("it is bound").try_into().expect("an internet address");
    (holder, address)
}

fn is_me(task: &Task) -> bool {
    task.pid == std::process::id()
}

#[test]
fn every_fact_is_told_by_the_best_hooks_of_this_kernel() {
    told_on(TierWish::Auto);
}

#[test]
fn every_fact_is_told_by_tracepoints_alone() {
    told_on(TierWish::NoTrampoline);
}

/// Attaches once, which an emulated kernel takes its time for, and makes everything happen.
fn told_on(tier: TierWish) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let Some(mut watch) = Watch::attach(tier) else { return };
        let watch = &mut watch;
        what_is_said_is_heard_only_where_the_kernel_does_not_keep_it(watch);
        a_refused_connect_is_told_from_both_ends(watch).await;
        a_success_is_told_only_right_after_a_refusal_of_the_same_thread_at_the_same_port(watch).await;
        a_listener_is_told_when_it_comes_and_when_it_goes(watch).await;
        a_bind_is_told_with_its_errno(watch).await;
        a_filter_is_suspected_only_where_it_may_keep_a_call_out(watch).await;
        a_unix_connect_that_fails_is_told_with_its_path(watch).await;
        a_server_is_told_from_its_start_to_its_end(watch).await;
        a_listener_s_process_is_followed_to_its_end(watch).await;
        assert_eq!(watch.probes.lost().expect("counts"), [], "records were lost");
    });
}

fn what_is_said_is_heard_only_where_the_kernel_does_not_keep_it(watch: &Watch) {
    let mut hooks = watch.probes.hooks().iter();
    let hook = hooks.find(|hook| hook.hook.role == Role::Words).expect("it is one of them");
    assert_eq!(hook.is_idle(), kernel::keeps_last_words(), "{:?}", hook.state);
}

async fn a_refused_connect_is_told_from_both_ends(watch: &mut Watch) {
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let (_holder, server) = closed(ip);
        let error = TcpStream::connect(server).expect_err("nobody listens");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);

        let failed = watch
            .until("the client's end", |what| match what {
                What::ConnectFailed(failed) if failed.flow.server.port == server.port() => Some(failed.clone()),
                _ => None,
            })
            .await;
        assert!(is_me(&failed.task), "{failed:?}");
        assert_eq!(failed.task.tid, thread_id());
        assert_eq!(failed.errno, 111);
        assert_eq!((failed.flow.server.ip, failed.flow.client.ip), (ip, ip));
        assert_ne!(failed.flow.client.port, 0);
        assert_eq!(failed.task.netns, failed.flow.netns);
        assert_eq!(u64::from(failed.flow.netns.0), own_netns());

        if watch.serves(Role::Resets) {
            let reset = watch
                .until("the server's end", |what| match what {
                    What::Reset(reset) if reset.flow.server.port == server.port() => Some(reset.clone()),
                    _ => None,
                })
                .await;
            assert_eq!((reset.flow.client, reset.flow.server), (failed.flow.client, failed.flow.server));
            assert_eq!((reset.flow.netns, reset.isn), (failed.flow.netns, failed.isn));
            assert!(reset.reason.is_none_or(|reason| reason.as_str() == "NO_SOCKET"));
            assert!(!reset.sk_lookup && reset.ttl > 0 && reset.flow.ifindex > 0);
        }
    }
    let me = process(watch, std::process::id()).await;
    let exe = std::env::current_exe().expect("a test has an executable");
    assert_eq!(me.exe.map(|exe| exe.to_string()), Some(exe.display().to_string()));
    assert!(me.cgroup.is_some_and(|cgroup| cgroup.to_string().starts_with('/')));
}

async fn a_success_is_told_only_right_after_a_refusal_of_the_same_thread_at_the_same_port(watch: &mut Watch) {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let [listener, other] = [listen(), listen()];
    let [address, elsewhere] = [&listener, &other].map(|listener| listener.local_addr().expect("it is bound"));
    let refused = (Ipv4Addr::new(127, 0, 0, 2), address.port());
    let (before, after) = std::thread::spawn(move || {
        let before = TcpStream::connect(address).expect("it listens");
        TcpStream::connect(refused).expect_err("nobody listens");
        TcpStream::connect(elsewhere).expect("it listens");
        (before, TcpStream::connect(address).expect("it listens"))
    })
    .join()
    .expect("no panic");
    let client = watch
        .until("the success", |what| match what {
            What::Connected { flow, task } if is_me(task) && flow.server == endpoint(address) => Some(flow.client),
            _ => None,
        })
        .await;
    assert_eq!(client, endpoint(after.local_addr().expect("connected")));
    assert_ne!(client, endpoint(before.local_addr().expect("connected")));
    let at_another = |what: &What| matches!(what, What::Connected { flow, .. } if flow.server == endpoint(elsewhere));
    assert!(!watch.told.iter().any(at_another), "it was refused elsewhere");
}

async fn a_listener_is_told_when_it_comes_and_when_it_goes(watch: &mut Watch) {
    for (ip, v6) in [(IpAddr::V4(Ipv4Addr::LOCALHOST), false), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), true)] {
        let listener = TcpListener::bind((ip, 0)).expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let inode = rustix::fs::fstat(&listener).expect("it is open").st_ino;
        let (up, task, backlog) = watch
            .until("the listener", |what| match what {
                What::ListenUp { socket, task, backlog } if socket.local == endpoint(address) => {
                    Some((socket.clone(), task.clone(), *backlog))
                }
                _ => None,
            })
            .await;
        assert!(is_me(&task) && up.inode == inode && up.ipv6 == v6 && !up.v6only && backlog > 0, "{up:?}");
        drop(listener);
        let (down, ending) = watch
            .until("its end", |what| match what {
                What::ListenDown { socket, ending, .. } if socket.local == endpoint(address) => {
                    Some((socket.clone(), *ending))
                }
                _ => None,
            })
            .await;
        assert_eq!((down, ending), (up, None));
    }
}

async fn a_bind_is_told_with_its_errno(watch: &mut Watch) {
    if !watch.serves(Role::Binds) {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has ports").local_addr().expect("it is bound");
    let holder = TcpListener::bind(taken).expect("the port was free a moment ago");
    let nowhere: SocketAddr = "192.0.2.1:6379".parse().expect("an address");
    for (address, errno) in [(taken, 0), (taken, 98), (nowhere, 99)] {
        if errno != 0 {
            TcpListener::bind(address).expect_err("it cannot be had");
        }
        let bind = watch
            .until("the bind", |what| match what {
                What::Bind(bind) if bind.socket.local == endpoint(address) && bind.errno == errno => Some(bind.clone()),
                _ => None,
            })
            .await;
        assert!(is_me(&bind.task) && !bind.listen && !bind.socket.ipv6 && bind.socket.inode != 0, "{bind:?}");
    }
    drop(holder);
}

/// Denies the calling thread one system call, with EPERM.
fn deny(call: i64) {
    let arch = TargetArch::try_from(std::env::consts::ARCH).expect("filters are made for it");
    let rules = BTreeMap::from([(call, Vec::new())]);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(1), arch).expect("a filter");
    apply_filter(&BpfProgram::try_from(filter).expect("a program")).expect("it may be set");
}

/// Binds in a thread of its own that may not, by a filter that denies it a system call; the thread, and the errno.
fn kept_from_binding(call: i64) -> (u32, Option<i32>) {
    let bind = move || {
        caps::drop(None, CapSet::Effective, Capability::CAP_NET_BIND_SERVICE).expect("a capability can be given up");
        deny(call);
        let error = TcpListener::bind("127.0.0.1:79").expect_err("it may not");
        (thread_id(), error.raw_os_error())
    };
    std::thread::spawn(bind).join().expect("no panic")
}

async fn a_filter_is_suspected_only_where_it_may_keep_a_call_out(watch: &mut Watch) {
    if !watch.serves(Role::Binds) {
        return;
    }
    for (call, errno, suspected) in [(libc::SYS_bind, 1, true), (libc::SYS_ptrace, 13, false)] {
        let (tid, got) = kept_from_binding(call);
        assert_eq!(got, Some(errno));
        let seccomp = watch
            .until("the denial", |what| match what {
                What::Denial(denial) if denial.tid == tid => Some(denial.seccomp),
                _ => None,
            })
            .await;
        assert_eq!(seccomp, suspected);
    }
}

async fn a_unix_connect_that_fails_is_told_with_its_path(watch: &mut Watch) {
    if !watch.serves(Role::Connects) {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (stale, missing) = (directory.path().join("stale"), directory.path().join("missing"));
    drop(std::os::unix::net::UnixListener::bind(&stale).expect("a socket"));
    chmod(&stale, 0o777.into()).expect("it is ours");
    let name = UnixAddr::from_abstract_name(b"redis-trace-test").expect("a name");
    UnixStream::connect(&stale).expect_err("nobody listens");
    UnixStream::connect(&missing).expect_err("there is none");
    UnixStream::connect_addr(&name).expect_err("there is none");
    let file = |path: &std::path::Path| UnixPath::File(path.display().to_string().as_str().into());
    if watch.serves(Role::Listens) {
        let listened = |what: &What| match what {
            What::UnixListen { task, path } if is_me(task) && *path == file(&stale) => Some(()),
            _ => None,
        };
        watch.until("the unix listener", listened).await;
    }
    for (wanted, errno) in
        [(file(&stale), 111), (file(&missing), 2), (UnixPath::Abstract("redis-trace-test".into()), 111)]
    {
        let found = watch
            .until("the unix connect", |what| match what {
                What::UnixConnect { task, errno, path } if is_me(task) && *path == wanted => Some(*errno),
                _ => None,
            })
            .await;
        assert_eq!(found, errno, "{wanted:?}");
    }
}

async fn a_server_is_told_from_its_start_to_its_end(watch: &mut Watch) {
    let directory = tempfile::tempdir().expect("a directory");
    // Any program by that name: what it is called is what makes it a server. A shell, for it has no other names to heed.
    let server = directory.path().join("redis-server");
    executable::copy("/bin/sh", &server);
    for (signal, killed) in [("-TERM", 15), ("-KILL", 9)] {
        let mut child = sleeper(&server);
        let pid = child.id();
        let (parent, argv) = watch
            .until("the start", |what| match what {
                What::Exec { task, parent, argv } if task.pid == pid => Some((*parent, argv.clone())),
                _ => None,
            })
            .await;
        assert_eq!(parent, std::process::id());
        let argv: Vec<String> = argv.iter().map(ToString::to_string).collect();
        assert_eq!(argv, [server.display().to_string(), "-c".to_owned(), WAIT.to_owned()]);
        assert_eq!(process(watch, pid).await.exe, Some(server.display().to_string().as_str().into()));

        let mut kill = Command::new("sh").args(["-c", &format!("kill {signal} {pid}")]).spawn().expect("a shell");
        let sender = watch
            .until("the signal", |what| match what {
                What::Signal { sender, target, signal, by_kernel: false } if *target == pid => {
                    Some((sender.pid, *signal))
                }
                _ => None,
            })
            .await;
        assert_eq!(sender, (kill.id(), killed));
        let ending = ending(watch, pid).await;
        assert_eq!(ending, Ending::Killed { signal: killed.try_into().expect("small"), core: false });
        child.wait().and(kill.wait()).expect("children end");
    }
}

async fn a_listener_s_process_is_followed_to_its_end(watch: &mut Watch) {
    // The launcher forks and exits; only its child listens, fails to bind, and ends with a code of its own.
    let holder = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let port = holder.local_addr().expect("it is bound").port();
    let script =
        format!("import socket,sys\ntry: socket.socket().bind(('127.0.0.1',{port}))\nexcept OSError: sys.exit(7)");
    let Ok(mut child) = Command::new("python3").args(["-c", &script]).spawn() else {
        eprintln!("skipped: no python3 here");
        return;
    };
    if watch.serves(Role::Binds) {
        let pid = watch
            .until("the bind", |what| match what {
                What::Bind(bind) if bind.socket.local.port == port && bind.errno == 98 => Some(bind.task.pid),
                _ => None,
            })
            .await;
        assert_eq!(ending(watch, pid).await, Ending::Exited(7));
    }
    child.wait().expect("it ends");
}

/// Starts a process that waits to be killed.
fn sleeper(program: &std::path::Path) -> Child {
    Command::new(program).args(["-c", WAIT]).stdin(Stdio::piped()).spawn().expect("a process")
}

async fn process(watch: &mut Watch, pid: u32) -> Process {
    let find = |what: &What| match what {
        What::Process(process) if process.pid == pid => Some(process.clone()),
        _ => None,
    };
    watch.until("what the process is", find).await
}

async fn ending(watch: &mut Watch, pid: u32) -> Ending {
    let find = |what: &What| match what {
        What::Exit { task, ending } if task.pid == pid => Some(*ending),
        _ => None,
    };
    watch.until("the end of the process", find).await
}

fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().try_into().expect("positive")
}

fn own_netns() -> u64 {
    rustix::fs::stat("/proc/self/ns/net").expect("proc is mounted").st_ino
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { ip: address.ip(), port: address.port() }
}
