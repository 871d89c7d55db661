//! The commands as a user runs them: help, exit codes, errors, recordings. The ones that take root say so and skip nothing
//! else.

#[path = "support/executable.rs"]
mod executable;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis_trace::trace::cause::Code;
use redis_trace::trace::recording::{Header, line};
use serde_json::{Value, json};

/// `nobody`.
const NOBODY: u32 = 65_534;

/// What a run printed, and how it ended.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_redis-trace"))
}

fn redis_trace(arguments: &[&str]) -> Ran {
    ran(Command::new(program()).args(arguments))
}

/// A copy of the program where every user may run it.
fn public_copy() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("ours");
    let copy = directory.path().join("redis-trace");
    executable::copy(program(), &copy);
    (directory, copy)
}

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can give up privileges");
    }
    is_root
}

/// A recording of one refusal: nothing listens on 127.0.0.1:6399.
fn recording() -> Vec<u8> {
    let flow = json!({"netns": 1, "client": {"ip": "127.0.0.1", "port": 33666},
                      "server": {"ip": "127.0.0.1", "port": 6399}, "ifindex": 1});
    let task = json!({"pid": 42, "tid": 42, "uid": 0, "netns": 1, "start": 1, "cgroup": 1, "comm": "redis-cli"});
    let facts = [
        json!({"time": 1000, "fact": "clock", "unix_ns": 1_795_440_895_322_811_423_u64}),
        json!({"time": 1000, "fact": "sight", "kernel": "6.18.44", "version": "0.1.0", "since": 1000, "resets": true,
               "connects": true, "binds": true, "unix": true, "netns": 1}),
        json!({"time": 2000, "fact": "reset", "flow": flow, "isn": 7, "reason": "NO_SOCKET", "sk_lookup": false, "ttl": 64}),
        json!({"time": 2500, "fact": "connect_failed", "flow": flow, "task": task, "dialled": 1500, "errno": 111, "isn": 7}),
        json!({"time": 3000, "fact": "sockets", "netns": 1, "port": 6399, "sockets": [], "source": "sock_diag"}),
    ];
    let mut bytes = line(&Header::new("6.18.44")).expect("it fits");
    for fact in &facts {
        bytes.extend(line(fact).expect("it fits"));
    }
    bytes
}

/// The recording in a file.
fn recorded(bytes: &[u8]) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("case.rec");
    fs::write(&path, bytes).expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (directory, path)
}

#[test]
fn help_needs_no_root_and_names_every_command_and_exit_code() {
    let help = redis_trace(&["--help"]);
    assert_eq!(help.code, Some(0));
    for word in
        ["watch", "record", "replay", "doctor", "check", "explain", "schema", "completions", "man", "Exit codes", "70"]
    {
        assert!(help.out.contains(word), "{word} is missing in:\n{}", help.out);
    }
}

#[test]
fn what_is_no_command_line_ends_with_2_and_says_what_one_looks_like() {
    let wrong = [
        (&["watch", "--port", "redis"][..], "6379-6389"),
        (&["watch", "--from", "10.0.0.0/40"], "10.0.0.0/8"),
        (&["watch", "--duration", "soon"], "30s"),
        (&["watch", "--ring", "3M"], "power of two"),
        (&["watch", "--count", "0"], "1.."),
        (&["explain", "RT9999"], "redis-trace explain"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["replay", "/no/such/file"], "No such file"),
    ];
    for (arguments, hint) in wrong {
        let end = redis_trace(arguments);
        assert_eq!(end.code, Some(2), "{arguments:?}: {}", end.err);
        assert!(end.err.starts_with("error: ") && end.err.contains(hint), "{arguments:?}: {}", end.err);
        assert_eq!(end.out, "");
    }
}

#[test]
fn explain_knows_every_cause_by_code_number_and_name() {
    let list = redis_trace(&["explain"]);
    for code in Code::ALL {
        assert!(list.out.contains(&format!("{code} {}", code.name())), "{code} is not in the list");
    }
    let page = redis_trace(&["explain", "RT1007"]);
    assert!(page.code == Some(0) && page.out.starts_with("# RT1007 bound-to-other-address"));
    for other in ["1007", "rt1007", "bound-to-other-address"] {
        assert_eq!(redis_trace(&["explain", other]).out, page.out);
    }
}

#[test]
fn completions_and_the_manual_page_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = redis_trace(&["completions", shell]);
        assert!(script.code == Some(0) && script.out.contains("replay"), "{shell}");
    }
    let man = redis_trace(&["man"]);
    assert!(
        man.out.contains(".TH") && man.out.contains("REDIS\\-TRACE REPLAY") || man.out.contains("REDIS-TRACE REPLAY")
    );
    assert!(man.out.contains("fail\\-on\\-cause"));
    for signal in ["SIGTERM", "SIGHUP", "SIGUSR1"] {
        assert!(man.out.contains(signal), "{signal}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = Command::new(program()).arg("explain").stdout(writer).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_recording_gives_its_verdicts_without_root() {
    let (_directory, path) = recorded(&recording());
    let text = redis_trace(&["replay", &path, "--utc", "--color", "never"]);
    assert_eq!(text.code, Some(0));
    assert!(text.out.contains("redis-cli(42) 127.0.0.1 → 127.0.0.1:6399  RT1001 no-listener certain"), "{}", text.out);
    assert!(text.err.contains("1 refusals in"), "{}", text.err);

    let json = redis_trace(&["replay", &path, "-o", "json"]);
    let objects: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(objects[0]["cause"]["code"], "RT1001");
    assert_eq!(objects[0]["client_process"]["pid"], 42);
    assert_eq!(objects.last().expect("a summary")["schema"], "redis-trace.summary/1");
    assert_eq!(objects.last().expect("a summary")["seen"], 1);
}

#[test]
fn where_filters_are_applied_is_said_without_watching() {
    let said = |arguments: &[&str]| {
        let ran = redis_trace(&[&["watch", "--print-filter"], arguments].concat());
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        ran.out
    };
    assert!(said(&[]).contains("samples of it are sent\nprogram  no filter"));
    assert!(said(&["--port", "6379", "--to", "::1"]).contains("samples of it are sent\nprogram  --port --to: chooses"));
    assert!(said(&["--comm", "redis-cli"]).contains("every refusal is sent by itself"));
}

#[test]
fn filters_and_causes_decide_what_a_replay_tells_and_how_it_ends() {
    let (_directory, path) = recorded(&recording());
    let with = |more: &[&str]| redis_trace(&[&["replay", &path, "-o", "json"], more].concat());
    assert!(with(&["--port", "6379"]).out.starts_with("{\"schema\":\"redis-trace.summary/1\""));
    assert!(with(&["--port", "!6379", "--comm", "redis-*"]).out.starts_with("{\"schema\":\"redis-trace.refusal/1\""));
    assert_eq!(with(&["--fail-on-cause", "RT1001"]).code, Some(1));
    assert_eq!(with(&["--fail-on-cause", "RT1002"]).code, Some(0));
}

#[test]
fn a_damaged_recording_is_told_up_to_the_damage() {
    let mut bytes = recording();
    bytes.extend(b"deadbeef {}\n");
    let (_directory, path) = recorded(&bytes);
    let damaged = redis_trace(&["replay", &path, "-o", "json"]);
    assert!(damaged.code == Some(0) && damaged.out.contains("RT1001"));
    assert!(
        damaged.err.contains("the recording ended early at line 7: the checksum does not match"),
        "{}",
        damaged.err
    );
    assert_eq!(redis_trace(&["replay", &path, "--strict"]).code, Some(5));
}

#[test]
fn a_recording_never_overwrites_a_file() {
    let (_directory, path) = recorded(b"precious");
    let refused = redis_trace(&["record", &path, "--duration", "1s"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("never overwritten"), "{}", refused.err);
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
}

#[test]
fn without_privilege_watch_says_what_is_missing_and_how_to_get_it() {
    if !is_root() {
        return;
    }
    let (_directory, program) = public_copy();
    let began = Instant::now();
    let refused = ran(Command::new(&program).arg("watch").uid(NOBODY).gid(NOBODY));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(100), "it took {took:?}");
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    let lines: Vec<&str> = refused.err.lines().collect();
    assert_eq!(lines[0], "error: cannot load probes: CAP_BPF and CAP_PERFMON are missing (have neither)");
    assert!(lines[1].starts_with("  facts kernel ") && lines[1].contains("unprivileged_bpf_disabled="), "{}", lines[1]);
    assert_eq!(lines[2], "  try   sudo redis-trace watch");
    assert!(lines[3].starts_with("  or    sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace+ep "), "{}", lines[3]);
    assert_eq!(lines[4], "  or    redis-trace watch --no-bpf, which tells of full queues alone");
    assert_eq!(lines.len(), 5);
}

#[test]
fn the_version_names_the_probes_by_their_digest() {
    let said = redis_trace(&["--version"]).out;
    let lock = include_str!("../redis-trace/bpf/redis-trace.bpf.lock");
    let digest = lock.lines().find_map(|line| line.strip_prefix("object = \"")?.strip_suffix('"')).expect("a digest");
    assert_eq!(said, format!("redis-trace {}\nprobes sha256 {digest}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn half_the_capabilities_are_told_from_none() {
    if !is_root() {
        return;
    }
    let (_directory, program) = public_copy();
    let only = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all,+bpf", "--ambient-caps"];
    let refused = ran(Command::new("setpriv").args(only).arg("-all,+bpf").arg(&program).arg("watch"));
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    assert!(refused.err.contains(" probes: CAP_PERFMON is missing (have CAP_BPF)\n"), "{}", refused.err);
}

#[test]
fn the_root_of_a_user_namespace_is_told_that_it_is_none_of_the_kernel() {
    if !is_root() {
        return;
    }
    // As in a container without privileges, of LXC or of podman.
    let refused = ran(Command::new("unshare").args(["--user", "--map-root-user"]).arg(program()).arg("watch"));
    assert_eq!(refused.code, Some(4), "{}", refused.err);
    let why =
        "error: cannot load probes: this process is in a user namespace, whose capabilities do not reach the kernel";
    assert_eq!(refused.err.lines().next(), Some(why));
    assert!(refused.err.contains("  try   run it as root outside of the container"), "{}", refused.err);
}

#[test]
fn without_the_kernel_s_types_watch_says_so() {
    if !is_root() {
        return;
    }
    let hide = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" watch";
    let refused = ran(Command::new("unshare").args(["--mount", "sh", "-c", hide]).arg(program()));
    assert_eq!(refused.code, Some(3), "{}", refused.err);
    assert!(
        refused.err.starts_with("error: cannot read the kernel's types from /sys/kernel/btf/vmlinux: "),
        "{}",
        refused.err
    );
    assert!(refused.err.contains("BTF missing") && refused.err.contains("CONFIG_DEBUG_INFO_BTF"), "{}", refused.err);
}

#[test]
fn where_tracefs_is_not_mounted_hooks_on_system_calls_attach_and_it_still_is_not() {
    if !is_root() {
        return;
    }
    let apart = "umount -a -t tracefs && \"$0\" check -o json && ! grep tracefs /proc/self/mounts";
    let check = ran(Command::new("unshare").args(["--mount", "sh", "-c", apart]).arg(program()));
    let object: Value = serde_json::from_str(&check.out).unwrap_or_else(|error| panic!("{error}: {}", check.err));
    let hooks = object["hooks"].as_array().expect("hooks");
    let calls: Vec<&Value> =
        hooks.iter().filter(|hook| hook["name"].as_str().is_some_and(|it| it.starts_with("sys_"))).collect();
    assert_eq!(calls.len(), 6, "{hooks:?}");
    assert!(calls.iter().all(|hook| hook["state"] == "up" || hook["state"] == "spare"), "{calls:?}");
    let mounted = ran(Command::new(program()).arg("check"));
    assert_eq!(check.code, mounted.code, "{}", check.err);
}

#[test]
fn check_works_without_privilege_and_says_what_would_show_more() {
    if !is_root() {
        return;
    }
    let (_directory, program) = public_copy();
    let check = ran(Command::new(&program).args(["check", "--color", "never"]).uid(NOBODY).gid(NOBODY));
    assert_eq!(check.code, Some(1), "{}", check.err);
    assert!(check.out.contains("✗ refused connections, the server's end"), "{}", check.out);
    assert!(
        check.out.contains("hides RT1001") && check.out.contains("  try   sudo redis-trace watch"),
        "{}",
        check.out
    );
    let json = ran(Command::new(&program).args(["check", "-o", "json"]).uid(NOBODY).gid(NOBODY));
    let object: Value = serde_json::from_str(&json.out).expect("one object");
    assert_eq!(object["schema"], "redis-trace.check/1");
    assert!(object["blocked"].as_str().is_some_and(|why| why.contains("CAP_BPF")));
    // What this kernel needs no hook for is not missing.
    let needless: &[&str] = if redis_trace::kernel::keeps_last_words() {
        &["tcp_sendmsg", "tcp_rcv_state_process"]
    } else {
        &["tcp_reset"]
    };
    let is_as_it_should = |hook: &Value| {
        let is_needless = hook["name"].as_str().is_some_and(|name| needless.contains(&name));
        hook["state"] == if is_needless { "spare" } else { "down" }
    };
    assert!(object["hooks"].as_array().is_some_and(|hooks| hooks.iter().all(is_as_it_should)), "{object}");
}

#[test]
fn a_hostile_name_forges_no_line_and_no_field_of_a_real_denial() {
    if !is_root() {
        return;
    }
    let denied = format!("{} demo-actor landlock bind part bind-hostile 127.0.0.1:6379", program().display());
    let text = redis_trace(&["watch", "--color", "never", "--time", "none", "--cmd", &denied]);
    assert!(!text.out.chars().any(|c| c.is_control() && c != '\n'), "{:?}", text.out);
    let spelt_out = "\\u{1b}[2J\\u{a}\"},{\\\\\\xff\\u{85}";
    // What the command itself said is a line of JSON, before the verdict or after it.
    let is_the_command_s = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    let told = text.out.lines().filter(|line| !is_the_command_s(line));
    let heads = told.filter(|line| !line.starts_with(' ')).collect::<Vec<_>>();
    assert!(matches!(heads[..], [only] if only.starts_with(&format!("LISTEN FAILED {spelt_out}("))), "{}", text.out);
    let json = redis_trace(&["watch", "-o", "json", "--cmd", &denied]);
    let mut lines = json.out.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    let refusal = lines.find(|line| line["schema"] == "redis-trace.refusal/1").expect("the denial");
    assert_eq!(refusal["server_process"]["comm"], spelt_out);
    assert_eq!(refusal["lsm"]["module"], "landlock");
}
