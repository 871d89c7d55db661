//! What the agent needs, and what it gives up once it watches.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket, socket_with, sockopt};
use rustix::process::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use tempfile::TempDir;

use crate::support::{Agent, refused, refused_at};

#[path = "support/executable.rs"]
mod executable;
mod support;

/// A port on which nothing ever listens.
const CLOSED: u16 = 1;

/// Numbers of capabilities, include/uapi/linux/capability.h.
const SYSLOG: u64 = 1 << 34;
const BPF: u64 = 1 << 39;

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_redis-trace"))
}

/// `/proc/…/status` as fields.
fn fields(status: &str) -> BTreeMap<&str, &str> {
    status.lines().filter_map(|line| line.split_once(":\t")).map(|(name, value)| (name, value.trim())).collect()
}

fn number(hexadecimal: &str) -> u64 {
    u64::from_str_radix(hexadecimal, 16).expect("a mask of capabilities")
}

/// The program where anybody may run it.
fn for_all() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("ours");
    let copy = place.path().join("redis-trace");
    executable::copy(program(), &copy);
    (place, copy)
}

#[test]
fn without_privilege_and_probes_full_queues_are_told_and_nothing_else() {
    let (_place, copy) = for_all();
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&full, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    listen(&full, 1).expect("it listens");
    let server: SocketAddr = rustix::net::getsockname(&full).expect("a name").try_into().expect("an address");
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let ports = ["--port", &server.port().to_string(), "--port", &CLOSED.to_string()];
    let mut nobody = Command::new("setpriv");
    nobody.args(user).arg(&copy).args(["watch", "--no-bpf", "-o", "json"]).args(ports);
    let (mut agent, said) = Agent::heard(&mut nobody);
    assert!(
        said.contains(" hooks 0/") && said.contains("degraded: without probes full queues alone are told"),
        "{said}"
    );
    assert!(holds_no_bpf(&agent), "nothing was loaded");

    refused(CLOSED);
    // Two fit.
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let client =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
            assert_eq!(connect(&client, &server), Err(Errno::INPROGRESS));
            client
        })
        .collect();
    let told = agent.next();
    assert_eq!((&told["cause"]["code"], &told["cause"]["confidence"]), (&"RT2001".into(), &"likely".into()), "{told}");
    assert_eq!(told["flow"]["server"]["port"], server.port(), "{told}");
    drop(waiting);
    agent.signal(Signal::TERM);
    let (rest, status) = agent.end();
    assert!(status.success());
    let codes: Vec<_> = rest[..rest.len() - 1].iter().map(|line| &line["cause"]["code"]).collect();
    assert!(codes.iter().all(|code| *code == "RT2001"), "{codes:?}");
}

/// Whether it has no program, map or link of BPF.
fn holds_no_bpf(agent: &Agent) -> bool {
    let files = fs::read_dir(format!("/proc/{}/fd", agent.child.id())).expect("its files");
    let links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links.into_iter().all(|link| !link.to_string_lossy().contains("bpf"))
}

#[test]
fn as_nobody_with_two_capabilities_the_no_listener_family_is_told() {
    let (_place, copy) = for_all();
    let only = "-all,+bpf,+perfmon";
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", only, "--ambient-caps", only];
    let mut agent =
        Agent::started(Command::new("setpriv").args(user).arg(&copy).args(["watch", "-o", "json", "--no-aggregate"]));

    let told = agent.refusal_of(refused(CLOSED));
    assert_eq!(told["cause"]["code"], "RT1001", "{told}");

    let elsewhere = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("a listener");
    let port = elsewhere.local_addr().expect("a name").port();
    let told = agent.refusal_of(refused(port));
    assert_eq!(told["cause"]["code"], "RT1007", "{told}");

    let other_family = socket(AddressFamily::INET6, SocketType::STREAM, None).expect("a socket");
    sockopt::set_ipv6_v6only(&other_family, true).expect("an option");
    bind(&other_family, &SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).expect("a free port");
    listen(&other_family, 1).expect("it listens");
    let name: SocketAddr = rustix::net::getsockname(&other_family).expect("a name").try_into().expect("an address");
    let told = agent.refusal_of(refused(name.port()));
    assert_eq!(told["cause"]["code"], "RT1009", "{told}");

    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&bound, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    let name: SocketAddr = rustix::net::getsockname(&bound).expect("a name").try_into().expect("an address");
    let told = agent.refusal_of(refused_at(name));
    assert!(["RT1014", "RT1001"].contains(&told["cause"]["code"].as_str().expect("a code")), "{told}");

    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn who_watches_has_given_up_what_it_does_not_need_and_still_names_owners() {
    let mut agent = Agent::start(&["--no-aggregate"]);
    let threads = fs::read_dir(format!("/proc/{}/task", agent.child.id())).expect("threads");
    let mut kept = BTreeSet::new();
    for thread in threads {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).expect("its status");
        let fields = fields(&status);
        assert_eq!((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"), "{status}");
        assert_eq!(fields["CapEff"], fields["CapPrm"], "{status}");
        kept.insert(number(fields["CapEff"]));
    }
    assert!(kept.contains(&(BPF | SYSLOG)), "the one that tells keeps two capabilities: {kept:x?}");
    let all = kept.iter().fold(0, |all, kept| all | kept);
    assert_eq!(all.count_ones(), 7, "{all:x}");
    let elsewhere = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("a listener");
    let told = agent.refusal_of(refused(elsewhere.local_addr().expect("a name").port()));
    assert_eq!(told["server_process"]["pid"], std::process::id(), "{told}");
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn who_watches_has_no_socket_of_the_internet() {
    let mut agent = Agent::start(&["--no-aggregate"]);
    agent.refusal_of(refused(CLOSED));
    let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
    let lines: String =
        tables.iter().map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default()).collect();
    // The tenth word of each is its inode: tcp4_seq_show(), udp4_seq_show().
    let internet: BTreeSet<String> = lines
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let files = fs::read_dir(format!("/proc/{}/fd", agent.child.id())).expect("its files");
    let held: Vec<_> = files
        .filter_map(|file| Some(fs::read_link(file.ok()?.path()).ok()?.display().to_string()))
        .filter(|held| internet.contains(held))
        .collect();
    assert_eq!(held, Vec::<String>::new());
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn the_command_that_is_watched_runs_with_all_that_it_was_given() {
    let command = "grep -E '^(NoNewPrivs|CapEff|CapPrm|CapInh|CapAmb|CapBnd|Seccomp):' /proc/self/status >&2";
    let ran = Command::new(program())
        .args(["watch", "--cmd", command])
        .stdin(Stdio::null())
        .output()
        .expect("the agent starts");
    let said = String::from_utf8(ran.stderr).expect("text");
    let own = fs::read_to_string("/proc/self/status").expect("our status");
    let (own, its) = (fields(&own), fields(&said));
    for field in ["NoNewPrivs", "CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd", "Seccomp"] {
        assert_eq!(its.get(field), own.get(field), "{field} in {said}");
    }
}

#[test]
fn what_cannot_be_given_up_ends_the_agent() {
    let started = thread::spawn(|| {
        let rules = BTreeMap::from([(libc::SYS_seccomp, Vec::new())]);
        let arch = TargetArch::try_from(std::env::consts::ARCH).expect("known");
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).expect("a filter");
        apply_filter(&BpfProgram::try_from(filter).expect("a program")).expect("it is set");
        let agent =
            |arguments: &[&str]| Command::new(program()).arg("watch").args(arguments).output().expect("it starts");
        (agent(&[]), agent(&["--sandbox", "off", "--duration", "100ms"]))
    });
    let (confined, free) = started.join().expect("it starts them");
    let said = String::from_utf8_lossy(&confined.stderr);
    assert_eq!(confined.status.code(), Some(4), "{said}");
    assert!(said.contains("error: cannot give up system calls, by seccomp: "), "{said}");
    assert!(said.contains("  try   --sandbox off") && !said.contains("watching"), "{said}");
    assert_eq!(free.status.code(), Some(0), "{}", String::from_utf8_lossy(&free.stderr));
}

#[test]
fn check_says_which_capability_shows_what() {
    let only = "-all,+bpf,+perfmon";
    let place = tempfile::tempdir().expect("a directory");
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).expect("ours");
    let copy = place.path().join("redis-trace");
    executable::copy(program(), &copy);
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", only, "--ambient-caps", only];
    let check = Command::new("setpriv").args(user).arg(&copy).args(["check", "--color", "never"]).output();
    let text = String::from_utf8(check.expect("it starts").stdout).expect("text");
    assert!(text.contains("✓ CAP_PERFMON "), "{text}");
    assert!(
        text.contains(
            "✗ CAP_NET_ADMIN        rules of nftables and policies of IPsec\n    hides, or tells with less: RT3001"
        ),
        "{text}"
    );
    assert!(text.ends_with("\nto see more: sudo redis-trace check\n"), "{text}");
}

#[test]
fn a_seccomp_filter_that_forbids_bpf_is_called_by_its_name() {
    let said = thread::spawn(|| {
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let arch = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture");
        let rules = [(libc::SYS_bpf, Vec::new())].into();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, arch).expect("a filter");
        let filter: BpfProgram = filter.try_into().expect("a program");
        // A child has the filter of the thread that starts it.
        apply_filter(&filter).expect("it is applied");
        Command::new(program()).arg("watch").output().expect("it starts")
    });
    let output = said.join().expect("it is heard");
    let words = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(4), "{words}");
    assert!(words.contains("most likely by the seccomp filter that is on this process"), "{words}");
    assert!(words.contains("seccomp=unconfined"), "{words}");
}

#[test]
fn in_a_pid_namespace_of_its_own_nobody_is_named_wrongly_and_that_is_said() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("a name").port();
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(program());
    command.args(["watch", "-o", "json", "--port", &port.to_string(), "--first"]);
    let (mut agent, said) = Agent::heard(&mut command);
    assert!(said.contains("this is a pid namespace of its own"), "{said}");
    let client = refused_at(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port)));
    let told = agent.refusal_of(client);
    assert_eq!(told["cause"]["code"], "RT1007");
    // The kernel says who dialled. Who listens is not to be seen from there: nobody is better than somebody else.
    assert_eq!(told["client_process"]["pid"], std::process::id());
    assert!(told["server_process"].is_null(), "{told}");
    assert!(agent.end().1.success());
}
