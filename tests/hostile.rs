//! What others wrote is told and never obeyed: for any bytes in any field, no output gains a line, a control character or a
//! member; no way in panics.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use redis_trace::commands::telling::Telling;
use redis_trace::hostile::{WAYS, Way};
use redis_trace::sink::json::Json;
use redis_trace::sink::text::Text as TextSink;
use redis_trace::sink::{Clock, Look, Sink};
use redis_trace::trace::cause::{Code, Confidence};
use redis_trace::trace::fact::{Fact, What};
use redis_trace::trace::filter::Filter;
use redis_trace::trace::flow::{Endpoint, Netns, Protocol};
use redis_trace::trace::recording::{Header, Reader, line};
use redis_trace::trace::remembered::Bounds;
use redis_trace::trace::report::{
    CauseReport, ContainerReport, Evidence, Fix, FlowReport, HooksReport, Lost, Missed, Outcome, ProcessReport, Report,
    Side, Summary, UnixReport, Update, schema,
};
use redis_trace::trace::text::Text;
use serde_json::Value;

#[path = "support/page.rs"]
mod page;
use page::Page;

/// Reports that are made up, each of [`FIELDS`] foreign texts: with the recordings' fields more than a hundred thousand.
const REPORTS: u32 = 8_000;
/// Foreign texts in a report.
const FIELDS: usize = 14;
/// How often each recording has all its texts replaced.
const ROUNDS: u64 = 3;
/// Random bytes that each way in is given, and as many changes to what it should be given.
const BYTES: u32 = 1_500;

/// What each format made of the same reports.
struct Told {
    json: String,
    text: String,
    side: String,
}

/// Tells to every format.
fn told(color: bool, tell: impl Fn(Box<dyn Sink>)) -> Told {
    let (json, text, side) = (Page::default(), Page::default(), Page::default());
    tell(Box::new(Json::new(json.clone())));
    let look = Look { color, live: false, width: 100, clock: Clock::Time(TimeZone::UTC), fold: true };
    tell(Box::new(TextSink::new(text.clone(), side.clone(), look)));
    Told { json: json.text(), text: text.text(), side: side.text() }
}

/// Moves the cursor, breaks a line, reorders, or is not seen: known here by Unicode, not by what the program thinks.
fn is_weapon(c: char) -> bool {
    c.is_control()
        || ('\u{2028}'..='\u{202e}').contains(&c)
        || ('\u{2060}'..='\u{206f}').contains(&c)
        || ('\u{200b}'..='\u{200f}').contains(&c)
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{feff}')
}

/// The text without the program's own colours and cursor movements.
fn plain(text: &str) -> String {
    let own = ["0", "2", "1", "1;31", "33", "32", "1;36"].map(|sgr| format!("\x1b[{sgr}m"));
    own.iter().fold(text.to_owned(), |text, sgr| text.replace(sgr, ""))
}

/// Whether a line of text begins as one of ours: with the time, or indented.
fn is_ours(line: &str) -> bool {
    let clock = |at: usize, byte: u8| if at % 3 == 2 { byte == b':' } else { byte.is_ascii_digit() };
    line.starts_with("  ") || line.len() > 8 && line.bytes().take(8).enumerate().all(|(at, byte)| clock(at, byte))
}

/// What is wrong with what was told: nothing.
fn wrong(told: &Told) -> Result<(), String> {
    for line in told.json.split_terminator('\n') {
        if let Some(weapon) = line.chars().find(|c| is_weapon(*c)) {
            return Err(format!("JSON holds {weapon:?}: {line:?}"));
        }
        let value: Value = serde_json::from_str(line).map_err(|why| format!("no JSON: {why}: {line:?}"))?;
        let again = match value["schema"].as_str() {
            Some(schema::REFUSAL) => serde_json::from_value::<Report>(value.clone()).and_then(serde_json::to_value),
            Some(schema::UPDATE) => serde_json::from_value::<Update>(value.clone()).and_then(serde_json::to_value),
            Some(schema::SUMMARY) => serde_json::from_value::<Summary>(value.clone()).and_then(serde_json::to_value),
            other => return Err(format!("an object of schema {other:?}")),
        };
        // A member that our structures do not have would not come back.
        if again.map_err(|why| why.to_string())? != value {
            return Err(format!("a member was gained: {line}"));
        }
    }
    for line in plain(&told.text).split_terminator('\n') {
        if let Some(weapon) = line.chars().find(|c| is_weapon(*c)) {
            return Err(format!("text holds {weapon:?}: {line:?}"));
        }
        if !is_ours(line) {
            return Err(format!("text gained a line: {line:?}"));
        }
    }
    match told.side.chars().find(|c| is_weapon(*c) && *c != '\n') {
        Some(weapon) => Err(format!("the summary holds {weapon:?}: {:?}", told.side)),
        None => Ok(()),
    }
}

/// Bytes that somebody may have chosen: any, text, and what has broken terminals, logs and JSON before.
fn foreign() -> impl Strategy<Value = Vec<u8>> {
    let weapons = prop::sample::select(vec![
        &b"\x1b[2J\x1b[1;1H OK"[..],
        b"x\n12:00:00.000 REFUSED  forged(1)",
        b"a\r\x08\x7f\x9b31m",
        b"\",\"code\":\"RT1001\",\"x\":\"",
        b"\\\",\\n\\u001b[0m",
        "\u{202e}gpj.exe\u{2066}\u{200b}\u{2028}\u{85}".as_bytes(),
        b"\xff\xfe\xc0\x80\xed\xa0\x80",
        b"'; rm -rf / #$(reboot)`id`",
        b"\x1b]52;c;cm0gLXJm\x07",
        b"=cmd|' /C calc'!A0",
        b"",
    ]);
    let any = prop::collection::vec(any::<u8>(), 0..24);
    let text = ".{0,24}".prop_map(String::into_bytes);
    prop_oneof![any, text, (weapons, "[ -~]{0,6}").prop_map(|(weapon, more)| [weapon, more.as_bytes()].concat())]
}

fn moment() -> Timestamp {
    "2026-11-23T12:03:41.208113901Z".parse().expect("a time")
}

/// A refusal all of whose foreign texts are these, in the sentences too, as they are put together there.
fn report(texts: &[Text; FIELDS], seq: u64) -> Report {
    let [comm, exe, id, unit, netns, summary, seen, advice, command, file, path, other, name, reply] = texts;
    let container = ContainerReport { runtime: "docker".to_owned(), id: id.clone() };
    let client = ProcessReport {
        pid: 1,
        comm: comm.clone(),
        exe: Some(exe.clone()),
        uid: None,
        container: Some(container),
        unit: Some(unit.clone()),
    };
    let server = Endpoint { ip: [127, 0, 0, 1].into(), port: 6379 };
    Report {
        schema: schema::REFUSAL.to_owned(),
        time: moment(),
        boottime_ns: 1,
        seq,
        outcome: if seq.is_multiple_of(2) { Outcome::Refused } else { Outcome::ListenFailed },
        side: Side::Both,
        cause: CauseReport {
            code: Code::RT1007,
            name: Code::RT1007.name().to_owned(),
            class: Code::RT1007.class(),
            confidence: Confidence::Certain,
        },
        summary: format!("{summary} (pid 1) listens elsewhere: {other}"),
        flow: Some(FlowReport {
            protocol: Protocol::Tcp,
            client: Some(server),
            server: seq.is_multiple_of(3).then_some(server),
            netns: Netns(1),
            netns_name: Some(netns.clone()),
        }),
        client_process: Some(client.clone()),
        server_process: Some(ProcessReport { comm: name.clone(), ..client }),
        evidence: vec![Evidence { source: "sock_diag".to_owned(), text: format!("listener of {seen}") }],
        fix: vec![Fix {
            text: format!("correct {advice}"),
            command: Some(format!("edit {command}")),
            file: Some(file.clone()),
            line: Some(1),
            risk: None,
        }],
        reply: Some(reply.clone()),
        errno: None,
        firewall: None,
        lsm: None,
        queue: None,
        files: None,
        unix: Some(UnixReport { path: path.clone() }),
        benign: false,
        partial: false,
        count: 1,
        first: moment(),
        last: moment(),
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn no_bytes_in_any_field_of_a_refusal_change_what_the_lines_are() {
    let texts = prop::array::uniform14(foreign());
    let cases = (texts, any::<u64>(), any::<bool>());
    let checked = runner(REPORTS).run(&cases, |(bytes, seq, color)| {
        let report = report(&bytes.each_ref().map(|bytes| Text::new(bytes)), seq);
        let update = Update {
            schema: schema::UPDATE.to_owned(),
            time: moment(),
            seq,
            cause: None,
            summary: report.summary.clone(),
            benign: false,
        };
        let told = told(color, |mut sink| {
            sink.first_word(&report).expect("said");
            sink.report(&report).expect("told");
            sink.update(&update).expect("told");
            sink.summary(&Summary { schema: schema::SUMMARY.to_owned(), ..Summary::default() }).expect("told");
        });
        prop_assert_eq!(told.json.lines().count(), 4);
        wrong(&told).map_err(TestCaseError::fail)
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

fn recordings() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests").join("recordings");
    let files = fs::read_dir(place).expect("recordings").map(|file| file.expect("a file").path());
    files.filter(|file| file.extension().is_some_and(|ending| ending == "rec")).collect()
}

/// Every text in it that may be any text: each is replaced alone, and stays replaced where the fact is still one.
fn with_foreign_texts(fact: &Value, texts: &mut impl FnMut() -> String, replaced: &mut u32) -> Value {
    let mut places = Vec::new();
    find_texts(fact, &mut String::new(), &mut places);
    let mut hostile = fact.clone();
    for place in places {
        let mut tried = hostile.clone();
        *tried.pointer_mut(&place).expect("it is there") = Value::String(texts());
        if serde_json::from_value::<Fact>(tried.clone()).is_ok() {
            hostile = tried;
            *replaced += 1;
        }
    }
    hostile
}

/// Where texts are.
fn find_texts(value: &Value, at: &mut String, places: &mut Vec<String>) {
    let mut below = |name: String, value: &Value| {
        let length = at.len();
        at.push('/');
        at.push_str(&name);
        find_texts(value, at, places);
        at.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name.clone(), value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(nth, value)| below(nth.to_string(), value)),
        Value::String(_) => places.push(at.clone()),
        _ => {}
    }
}

/// What replaying these facts tells.
fn replayed(facts: &[Fact]) -> Told {
    told(false, |sink| {
        let mut telling = Telling::new(Bounds::default(), Filter::default(), Box::new(|_, _| true), true, sink);
        let end = facts.last().map_or(0, |fact| fact.time);
        let later = (1..=70).map(|second| Fact { time: end + second * 1_000_000_000, what: What::Tick });
        for fact in facts.iter().cloned().chain(later) {
            telling.take(&fact).expect("told");
        }
        telling.tell_waiting().expect("told");
        telling.finish(Lost::default(), Missed::default(), HooksReport::default()).expect("told");
    })
}

#[test]
fn a_recording_that_somebody_wrote_changes_no_line_either() {
    let mut runner = runner(1);
    let mut next = || {
        let tree = foreign().new_tree(&mut runner).expect("bytes");
        String::from_utf8_lossy(&tree.current()).into_owned()
    };
    let mut replaced = 0;
    for path in recordings() {
        let bytes = fs::read(&path).expect("a recording");
        let lines: Vec<Value> = bytes
            .split(|byte| *byte == b'\n')
            .skip(1)
            .filter_map(|line| serde_json::from_slice(line.get(9..)?).ok())
            .collect();
        for _ in 0..ROUNDS {
            let hostile = lines.iter().map(|fact| with_foreign_texts(fact, &mut next, &mut replaced));
            let facts: Vec<Fact> = hostile.map(|fact| serde_json::from_value(fact).expect("a fact")).collect();
            wrong(&replayed(&facts)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
    }
    let cases = replaced + REPORTS * u32::try_from(FIELDS).expect("few");
    assert!(cases >= 100_000, "only {cases} foreign texts were tried, {replaced} of them in recordings");
}

/// What each way in should be given, as far as there is an example of it here.
fn example(name: &str) -> Vec<u8> {
    match name {
        "recording" => {
            let mut bytes = line(&Header::new("6.18.44")).expect("it fits");
            let (_, facts) = Reader::new(&*fs::read(&recordings()[0]).expect("a recording")).map(|(header, facts)| {
                (header, facts.flatten().collect::<Vec<_>>())
            }).expect("it is one");
            facts.iter().take(12).for_each(|fact| bytes.extend(line(fact).expect("it fits")));
            bytes
        }
        "record" => [&4_u32.to_ne_bytes()[..], &[0; 400]].concat(),
        "btf" => vec![
            0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0, 0, 24, 0, 0, 0, 8, 0, 0, 0, // header
            1, 0, 0, 0, 0, 0, 0, 4, 8, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 4, 4, 0, 0, 0, // two structures
            0, b's', 0, b't', 0, b'u', 0, 0,
        ],
        "redis_conf" => b"bind 127.0.0.1 -::1\nport 6379\nrequirepass \"a b\\x41\"\nuser al on >pw ~* +@all\n".to_vec(),
        "server_log" => b"1:M 23 Nov 2026 12:03:41.209 # Failed listening on port 6379 (TCP), aborting.\n".to_vec(),
        "resp" => b"*3\r\n$3\r\nfoo\r\n:1\r\n%1\r\n+a\r\n-ERR max number of clients reached\r\n".to_vec(),
        "info" => b"redis_version:7.0.15\r\nconnected_clients:7\r\nmaxclients:10000\r\nused_memory:1\r\nmaxmemory:0\r\n".to_vec(),
        "scrape" => b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
        "nft" => br#"{"nftables":[{"table":{"family":"inet","name":"f","handle":1}},{"chain":{"family":"inet","table":"f","name":"input","handle":1,"type":"filter","hook":"input","prio":0,"policy":"drop"}},{"rule":{"family":"inet","table":"f","chain":"input","handle":2,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[6379,{"range":[7000,7005]}]}}},{"reject":{"type":"tcp reset"}}]}}]}"#.to_vec(),
        "iptables_save" => b"*filter\n:INPUT ACCEPT [0:0]\n[0:0] -A INPUT -p tcp -m tcp --dport 6379 -m comment --comment \"a \\\"b\" -j REJECT --reject-with tcp-reset\nCOMMIT\n".to_vec(),
        "cgroup" => b"/kubepods.slice/kubepods-burstable.slice/cri-containerd-0123456789abcdef0123.scope".to_vec(),
        "command_line" => b"redis-server\0/etc/redis.conf\0--requirepass\0secret\0--user\0al\0>pw\0".to_vec(),
        "tls" => {
            // A hello of TLS 1.2, and an alert after it.
            let mut hello = vec![0x16, 3, 3, 0, 45, 2, 0, 0, 41, 3, 3];
            hello.extend([7; 32]);
            hello.extend([0, 0xc0, 0x2f, 0, 0, 1, 0, 0x15, 3, 3, 0, 2, 2, 40]);
            hello
        }
        "host_log" => b"4,9,12345,-;type=AVC avc:  denied  { name_bind } for  pid=7 comm=\"redis-server\" src=6380\nMemory cgroup out of memory: Killed process 41 (redis-server)\n".to_vec(),
        "systemd" => b"Id=redis-server.service\nLoadState=loaded\nMainPID=0\nExecMainPID=812\nExecMainCode=1\nExecMainStartTimestampMonotonic=5000000\nExecStart={ path=/usr/bin/redis-server ; argv[]=/usr/bin/redis-server /etc/redis.conf ; pid=0 }\n".to_vec(),
        "filter" => b"!10.0.0.0/8".to_vec(),
        other => panic!("{other} has no example"),
    }
}

#[test]
fn no_bytes_break_any_way_in() {
    for (name, way) in WAYS {
        let example = example(name);
        way(&example);
        let change = (any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..4), 0_usize..6);
        let changed = prop::collection::vec(change, 1..6).prop_map(|changes| {
            changes.into_iter().fold(example.clone(), |mut bytes, (place, new, cut)| {
                let at = place.index(bytes.len() + 1);
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, new);
                bytes
            })
        });
        let any = prop::collection::vec(any::<u8>(), 0..256);
        let take = |way: Way| {
            move |bytes: Vec<u8>| -> Result<(), TestCaseError> {
                way(&bytes);
                Ok(())
            }
        };
        runner(BYTES).run(&changed, take(*way)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        runner(BYTES).run(&any, take(*way)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    }
}

#[test]
fn every_way_in_has_a_fuzz_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("fuzz").join("fuzz_targets");
    let files = fs::read_dir(targets).expect("targets").map(|file| file.expect("a file").path());
    let mut names: Vec<String> =
        files.map(|file| file.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
    let mut ways: Vec<String> = WAYS.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort_unstable();
    ways.sort_unstable();
    assert_eq!(names, ways);
}
