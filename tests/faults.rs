//! What goes wrong around a running agent, made to go wrong for real: nothing is lost unsaid, nothing hangs, and the exit code
//! is right. Tests run beside each other and every agent hears the whole host: each watches a port that is its own.

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::fuse::Disk;
use crate::scraping::scrape;
use crate::support::{Agent, refused};

#[path = "support/fuse.rs"]
mod fuse;
#[path = "support/scrape.rs"]
mod scraping;
mod support;

/// How long the end may take.
const SOON: Duration = Duration::from_secs(2);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_redis-trace"))
}

impl Agent {
    /// Waits until it says a line on the side that has these words.
    fn word_with(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.err.read_line(&mut line).expect("its words are text"), 0, "it never said {words:?}");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Everything else that it says on the side, until it ends.
    fn last_words(&mut self) -> String {
        let mut said = String::new();
        self.err.read_to_string(&mut said).expect("its words are text");
        said
    }

    /// Reads no more of what it tells, and lets it know.
    fn close_output(&mut self) {
        self.out = None;
    }
}

/// The causes that a recording replays to.
fn replayed(recording: &[u8]) -> (Vec<String>, String) {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("case.rec");
    fs::write(&file, recording).expect("written");
    let replay = Command::new(program()).arg("replay").arg(&file).args(["-o", "json", "--no-aggregate"]).output();
    let replay = replay.expect("it starts");
    let lines = String::from_utf8(replay.stdout).expect("text");
    let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let codes = objects.filter_map(|object| object["cause"]["code"].as_str().map(str::to_owned)).collect();
    (codes, String::from_utf8(replay.stderr).expect("text"))
}

/// An agent that records, under a shell's preparation in a mount namespace of its own.
fn recording(port: u16, prepare: &str, file: &Path) -> Agent {
    let script = format!("{prepare}exec \"$0\" record \"$1\" -o json --no-aggregate --port {port}");
    Agent::started(Command::new("unshare").args(["--mount", "sh", "-c", &script]).arg(program()).arg(file))
}

#[test]
fn a_reader_that_stops_reading_costs_lines_that_are_counted_and_never_holds_up_the_end() {
    let mut agent = Agent::start(&["--no-aggregate", "--port", "1", "--output-buffer", "64K"]);
    for _ in 0..600 {
        refused(1);
    }
    let began = Instant::now();
    agent.signal(Signal::TERM);
    let said = agent.last_words();
    let status = agent.child.wait().expect("it ends");
    assert!(began.elapsed() < 2 * SOON, "it took {:?}", began.elapsed());
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains("bytes of output were not written"), "{said}");
}

#[test]
fn a_reader_that_goes_away_ends_the_agent_at_its_next_line() {
    let mut agent = Agent::start(&["--no-aggregate", "--port", "2"]);
    agent.close_output();
    refused(2);
    assert_eq!(agent.child.wait().expect("it ends").code(), Some(0));
    assert!(!agent.last_words().contains("error"));
}

#[test]
fn how_it_stands_is_said_when_asked() {
    let mut agent = Agent::start(&["--no-aggregate", "--port", "3"]);
    agent.refusal_of(refused(3));
    agent.signal(Signal::USR1);
    assert!(agent.word_with("refusals in").contains(" told"));
    agent.word_with("RT1001 no-listener");
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn a_recording_that_was_moved_away_is_begun_anew_and_both_replay() {
    let place = tempfile::tempdir().expect("a directory");
    let (file, moved) = (place.path().join("case.rec"), place.path().join("case.rec.1"));
    let mut agent = recording(4, "", &file);
    agent.signal(Signal::HUP);
    agent.word_with("the recording goes on as it was");
    agent.refusal_of(refused(4));
    fs::rename(&file, &moved).expect("moved");
    agent.signal(Signal::HUP);
    agent.word_with("is begun anew");
    agent.refusal_of(refused(4));
    agent.refusal_of(refused(4));
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
    for (file, times) in [(moved, 1), (file, 2)] {
        let (codes, said) = replayed(&fs::read(&file).expect("a recording"));
        let refusals = codes.iter().filter(|code| *code == "RT1001").count();
        assert!(refusals >= times && !said.contains("ended early"), "{codes:?} {said}");
        assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_disk_that_is_full_ends_the_recording_and_not_the_watching() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("case.rec");
    let mut agent = recording(5, "mount -t tmpfs -o size=128k none \"${1%/*}\" && ", &file);
    // The file is in the agent's mount namespace.
    let there = format!("/proc/{}/root{}", agent.child.id(), file.display());
    for _ in 0..400 {
        refused(5);
    }
    agent.word_with("the recording ends here, watching goes on: No space left on device");
    let told = agent.refusal_of(refused(5));
    assert_eq!(told["cause"]["code"], "RT1001");
    let kept = fs::read(there).expect("the recording");
    agent.signal(Signal::TERM);
    assert_eq!(agent.end().1.code(), Some(5));
    let (codes, _) = replayed(&kept);
    assert!(codes.iter().any(|code| code == "RT1001"), "{codes:?}");
}

/// An agent that records on a disk that can fail, and serves metrics there.
fn recording_on_a_disk(port: u16, metrics: SocketAddr) -> (Agent, Arc<Disk>) {
    let connection = File::options().read(true).write(true).open("/dev/fuse").expect("root may");
    let theirs = connection.try_clone().expect("a descriptor");
    let disk = Disk::serve(connection);
    let place = tempfile::tempdir().expect("a directory");
    let mount = "mount -i -t fuse -o fd=0,rootmode=40000,user_id=0,group_id=0 none \"$1\" && exec </dev/null && \
                 exec \"$0\" record \"$1/case.rec\" -o json --no-aggregate --port \"$2\" --metrics \"$3\"";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", mount]).arg(program()).arg(place.path());
    (Agent::started(unshare.args([port.to_string(), metrics.to_string()]).stdin(theirs)), disk)
}

#[test]
fn a_disk_that_fails_ends_the_recording_and_not_the_watching() {
    let metrics = SocketAddr::from((Ipv4Addr::new(127, 94, 64, 8), 9464));
    let (mut agent, disk) = recording_on_a_disk(8, metrics);
    let whole = |metrics| scrape(metrics).get("redistrace_recording_whole").cloned();
    assert_eq!(whole(metrics).as_deref(), Some("1"));
    for _ in 0..100 {
        agent.refusal_of(refused(8));
    }
    disk.is_broken.store(true, Ordering::Relaxed);
    for _ in 0..100 {
        refused(8);
    }
    agent.word_with("the recording ends here, watching goes on: Input/output error");
    assert_eq!(whole(metrics).as_deref(), Some("0"));
    let told = agent.refusal_of(refused(8));
    assert_eq!(told["cause"]["code"], "RT1001");
    agent.signal(Signal::TERM);
    let said = agent.last_words();
    // It is said once.
    assert!(!said.contains("Input/output error"), "{said}");
    assert_eq!(agent.child.wait().expect("it ends").code(), Some(5), "{said}");
    let (codes, _) = replayed(&disk.taken.lock().expect("nobody panicked"));
    assert!(codes.iter().any(|code| code == "RT1001"), "{codes:?}");
}

#[test]
fn a_disk_that_loses_what_it_took_is_said_at_the_end() {
    let metrics = SocketAddr::from((Ipv4Addr::new(127, 94, 64, 10), 9464));
    let (mut agent, disk) = recording_on_a_disk(10, metrics);
    disk.forgets.store(true, Ordering::Relaxed);
    agent.refusal_of(refused(10));
    agent.signal(Signal::TERM);
    let said = agent.last_words();
    assert!(said.contains("the recording ends here, watching goes on: Input/output error"), "{said}");
    assert_eq!(agent.child.wait().expect("it ends").code(), Some(5), "{said}");
}

#[test]
fn an_nft_that_hangs_costs_the_rule_and_not_the_verdict_and_is_not_left_behind() {
    let place = tempfile::tempdir().expect("a directory");
    let hang = place.path().join("nft");
    let pid = place.path().join("pid");
    fs::write(&hang, format!("#!/bin/sh\necho $$ > {}\nexec sleep infinity\n", pid.display())).expect("a program");
    fs::set_permissions(&hang, Permissions::from_mode(0o755)).expect("ours");
    let script = "mount --bind \"$1\" \"$(command -v nft)\" && exec \"$0\" watch -o json --no-aggregate --port 7";
    let mut agent =
        Agent::started(Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(program()).arg(&hang));
    // A namespace whose firewall rejects what is dialled.
    let staged = "ip link set lo up && nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }' \
                  && nft add rule inet t c tcp dport 7 reject with tcp reset; \
                  exec python3 -c \"import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 7)); input()\"";
    let mut staged = Command::new("unshare")
        .args(["--net", "sh", "-c", staged])
        .stdin(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    let mut told = || loop {
        let line = agent.next_word();
        if line["flow"]["server"]["port"] == 7 {
            break (Instant::now(), line);
        }
    };
    // Neither knows the rule; the first was not kept waiting for it.
    let [(first, word), (last, told)] = [told(), told()];
    assert_eq!((&word["partial"], &word["count"], &word["seq"]), (&true.into(), &0.into(), &told["seq"]), "{word}");
    assert!(last.duration_since(first) > SOON, "they came {:?} apart", last.duration_since(first));
    assert_eq!((&told["partial"], &told["count"]), (&Value::Null, &1.into()), "{told}");
    for told in [&word, &told] {
        assert_ne!(told["cause"]["confidence"], "certain", "{told}");
    }
    let hanging: u32 = fs::read_to_string(&pid).expect("nft was started").trim().parse().expect("its id");
    let began = Instant::now();
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
    // It was sent its end; nothing announces when the kernel has carried that out.
    let state = || fs::read_to_string(format!("/proc/{hanging}/stat")).unwrap_or_default();
    let is_left = |stat: &str| !stat.is_empty() && !stat.contains(") Z ") && !stat.contains(") X ");
    while is_left(&state()) && began.elapsed() < SOON {
        std::thread::yield_now();
    }
    assert!(!is_left(&state()), "nft was left behind: {}", state());
    staged.kill().expect("it lives");
    staged.wait().expect("it ends");
}

#[test]
fn namespaces_that_vanish_while_they_are_asked_about_are_told_all_the_same() {
    let mut agent = Agent::start(&["--no-aggregate", "--port", "9"]);
    let dial = "ip link set lo up; exec python3 -c \"import socket; socket.socket().connect_ex(('127.0.0.1', 9))\"";
    let clients: Vec<u32> = (0..12)
        .map(|_| {
            let mut client = Command::new("unshare").args(["--net", "sh", "-c", dial]).spawn().expect("unshare runs");
            client.wait().expect("it ends");
            client.id()
        })
        .collect();
    let mut told = Vec::new();
    while told.len() < clients.len() {
        let line = agent.next();
        if let Some(pid) = line["client_process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
            && clients.contains(&pid)
        {
            assert!(line["flow"]["server"]["port"] == 9, "{line}");
            told.push(pid);
        }
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), clients.len());
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}
