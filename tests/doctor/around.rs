//! What is around a server: where it sends its clients, the file it has read, its unix socket, the way to it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::{PORT, Server, doctor, public_copy, ran};

/// Asks a server something.
fn told(server: &Server, command: &str) {
    let ip = server.ip.to_string();
    let mut cli = Command::new("redis-cli");
    cli.args(["-h", &ip, "-p", &PORT.to_string()]).args(command.split(' '));
    let output = cli.stdin(Stdio::null()).output().expect("redis-cli starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "OK\n", "{command}");
}

/// A server that is started with this file.
fn of_file(ip: Ipv4Addr, file: &Path, text: &str, options: &[&str]) -> Server {
    fs::write(file, format!("bind {ip}\nport {PORT}\n{text}\n")).expect("a file");
    let mut command = Command::new("redis-server");
    command.arg(file).args(options);
    Server::of(ip, command)
}

#[test]
fn a_cluster_is_asked_where_it_sends_clients_and_whether_all_slots_are_served() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path().to_str().expect("text");
    let server = Server::start(&["--cluster-enabled", "yes", "--dir", home]);
    let without = doctor(&server.target());
    assert_eq!((without.code, without.verdict()), (Some(1), ("RT6006", "server-refuses-commands")), "{}", without.out);
    assert_eq!(without.step("slots").0, "bad");
    told(&server, "CLUSTER ADDSLOTSRANGE 0 16383");
    let whole = doctor(&server.target());
    assert_eq!((whole.code, whole.verdict().1), (Some(0), "nothing-wrong"), "{}", whole.out);
    assert_eq!((whole.step("slots").0, whole.step("bus").0), ("good", "good"), "{}", whole.out);
    told(&server, "CONFIG SET cluster-announce-ip 127.86.0.9");
    let away = doctor(&server.target());
    assert_eq!((away.code, away.verdict()), (Some(1), ("RT6007", "redirected-to-unreachable")), "{}", away.out);
    assert!(away.step("owner").1.contains(&format!("127.86.0.9:{PORT}: ECONNREFUSED")), "{}", away.out);
}

#[test]
fn a_sentinel_is_asked_for_the_master_and_the_master_is_dialled() {
    let home = tempfile::tempdir().expect("a directory");
    let master = Server::start(&[]);
    let watch = |ip: Ipv4Addr| {
        let file = home.path().join(format!("sentinel-{ip}.conf"));
        let text = format!("sentinel monitor mymaster {ip} {PORT} 1\ndir {}", home.path().display());
        of_file(Server::free(), &file, &text, &["--sentinel"])
    };
    let sentinel = watch(master.ip);
    let ran = doctor(&sentinel.target());
    assert_eq!((ran.code, ran.verdict().1), (Some(0), "nothing-wrong"), "{}", ran.out);
    assert_eq!(ran.step("master").0, "good", "{}", ran.out);
    let sentinel = watch(Ipv4Addr::new(127, 86, 0, 10));
    let ran = doctor(&sentinel.target());
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT6007", "redirected-to-unreachable")), "{}", ran.out);
}

#[test]
fn the_line_of_the_file_that_decides_is_named_and_what_the_server_was_told_since() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("redis.conf");
    let server = of_file(Server::free(), &file, "save \"\"", &[]);
    let ran = doctor(&server.target());
    let (state, text) = ran.step("config");
    assert_eq!(state, "good", "{}", ran.out);
    assert!(text.contains(&format!("redis.conf:1 `bind {}`", server.ip)), "{text}");
    assert!(ran.step("host").1.contains("vm.overcommit_memory"), "{}", ran.out);
    let other = Server::free();
    fs::write(&file, format!("bind {other}\nport {PORT}\n")).expect("a file");
    let ran = doctor(&server.target());
    assert_eq!(ran.step("config").0, "warn", "{}", ran.out);
}

#[test]
fn a_server_that_did_not_start_is_found_by_its_file_and_its_last_words() {
    let home = tempfile::tempdir().expect("a directory");
    let log = home.path().join("redis.log");
    let fatal = "Fatal error loading the DB: Invalid argument. Exiting.";
    fs::write(&log, format!("7:M 23 Nov 2026 12:03:41.209 # {fatal}\n")).expect("a log");
    let file = home.path().join("redis.conf");
    fs::write(&file, format!("port 6379\nbind 127.0.0.1\nlogfile {}\n", log.display())).expect("a file");
    let mut stage = Command::new("unshare");
    let script =
        "ip link set lo up && mount --bind \"$1\" /etc/redis/redis.conf && exec \"$0\" doctor 127.0.0.1 -o json";
    stage.args(["--net", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_redis-trace")]).arg(&file);
    let ran = ran(stage);
    assert_eq!((ran.code, ran.verdict()), (Some(1), ("RT1001", "no-listener")), "{}", ran.out);
    assert_eq!(ran.step("config").0, "warn", "{}", ran.out);
    assert!(ran.step("config").1.contains("/etc/redis/redis.conf:2 `bind 127.0.0.1`"), "{}", ran.out);
    assert_eq!(ran.step("log").0, "bad", "{}", ran.out);
    assert!(ran.step("log").1.ends_with(fatal), "{}", ran.out);
}

#[test]
fn a_unix_socket_s_owner_is_named_and_whom_its_mode_keeps_out() {
    let home = tempfile::tempdir().expect("a directory");
    fs::set_permissions(home.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let path = home.path().join("redis.sock");
    let path = path.to_str().expect("text");
    let server = Server::start(&["--unixsocket", path, "--unixsocketperm", "700"]);
    let target = format!("unix:{path}");
    let seen = doctor(&target);
    assert_eq!((seen.code, seen.verdict().1), (Some(0), "nothing-wrong"), "{}", seen.out);
    assert!(seen.step("listener").1.contains(&format!("pid {}", server.child.id())), "{}", seen.out);
    let (_directory, program) = public_copy();
    let mut command = Command::new(program);
    command.args(["doctor", &target, "-o", "json"]);
    std::os::unix::process::CommandExt::uid(&mut command, super::NOBODY);
    let kept_out = ran(command);
    assert_eq!((kept_out.code, kept_out.verdict().0), (Some(1), "RT1017"), "{}", kept_out.out);
    assert!(kept_out.step("mode").1.contains("mode 0700"), "{}", kept_out.out);
}
