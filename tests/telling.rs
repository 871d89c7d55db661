//! How refusals are told: the blocks of the text, what repeats fold into, the objects of the JSON.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use redis_trace::sink::json::Json;
use redis_trace::sink::text::Text as TextSink;
use redis_trace::sink::{Clock, Look, Sink};
use redis_trace::trace::cause::{Code, Confidence};
use redis_trace::trace::flow::{Endpoint, Netns, Protocol};
use redis_trace::trace::report::{
    CauseReport, Evidence, Fix, FlowReport, HooksReport, Lost, Outcome, ProcessReport, Report, Side, Summary,
    UnixReport, Update, schema,
};
use redis_trace::trace::text::Text;
use unicode_width::UnicodeWidthStr as _;

/// What was written, to be read afterwards.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("one thread").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("one thread").clone()).expect("sinks write UTF-8")
    }
}

/// A sink off a terminal, as wide as it may be.
fn look() -> Look {
    Look { color: false, live: false, width: 100, clock: Clock::Time(TimeZone::UTC), fold: true }
}

fn told(look: Look, tell: impl FnOnce(&mut dyn Sink)) -> (String, String) {
    let (out, err) = (Page::default(), Page::default());
    tell(&mut TextSink::new(out.clone(), err.clone(), look));
    (out.text(), err.text())
}

fn end(address: &str) -> Endpoint {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    Endpoint { ip: address.ip(), port: address.port() }
}

fn moment() -> Timestamp {
    "2026-11-23T12:03:41.208113901Z".parse().expect("a time")
}

fn process(pid: u32, comm: &str) -> ProcessReport {
    ProcessReport { pid, comm: Text::from(comm), exe: None, uid: Some(1000), container: None, unit: None }
}

fn cause(code: Code, confidence: Confidence) -> CauseReport {
    CauseReport { code, name: code.name().to_owned(), class: code.class(), confidence }
}

/// The refusal that the contract shows.
fn refusal() -> Report {
    let flow = FlowReport {
        protocol: Protocol::Tcp,
        client: Some(end("10.0.3.7:50022")),
        server: Some(end("10.0.3.9:6379")),
        netns: Netns(4_026_532_201),
        netns_name: None,
    };
    let evidence = [
        ("tcp_v4_send_reset", "the kernel sent a reset, no socket matched"),
        ("sock_diag", "listener 127.0.0.1:6379 (backlog 511)"),
    ];
    Report {
        schema: schema::REFUSAL.to_owned(),
        time: moment(),
        boottime_ns: 48_211_320_113_901,
        seq: 17,
        outcome: Outcome::Refused,
        side: Side::Both,
        cause: cause(Code::RT1007, Confidence::Certain),
        summary: "nothing listens on 10.0.3.9:6379; redis-server (pid 991) listens on 127.0.0.1:6379 only".to_owned(),
        flow: Some(flow),
        client_process: Some(process(4123, "python3")),
        server_process: Some(process(991, "redis-server")),
        evidence: evidence.map(|(source, text)| Evidence { source: source.to_owned(), text: text.to_owned() }).into(),
        fix: vec![Fix {
            text: "let Redis listen on 10.0.3.9 too".to_owned(),
            command: Some("bind 127.0.0.1 -::1 10.0.3.9".to_owned()),
            file: Some(Text::from("/etc/redis/redis.conf")),
            line: Some(87),
            risk: Some("set a password or ACL first".to_owned()),
        }],
        reply: None,
        errno: Some("ECONNREFUSED".to_owned()),
        firewall: None,
        lsm: None,
        queue: None,
        files: None,
        unix: None,
        benign: false,
        count: 1,
        first: moment(),
        last: moment(),
    }
}

/// The same refusal for the `count`th time, so much later.
fn again(client: &str, count: u64, millis: i64) -> Report {
    let mut report = refusal();
    report.time = moment() + SignedDuration::from_millis(millis);
    (report.last, report.count) = (report.time, count);
    report.flow.as_mut().expect("it has one").client = Some(end(client));
    report
}

fn summary() -> Summary {
    Summary {
        schema: schema::SUMMARY.to_owned(),
        seconds: 18.2,
        seen: 12_433,
        delivered: 2,
        aggregated: 12_431,
        by_cause: [(Code::RT1007, 12_432), (Code::RT0000, 1)].into(),
        unknown: 1,
        hooks: HooksReport { up: 8, expected: 9, degraded: vec![Code::RT1015, Code::RT1016] },
        lost: Lost::default(),
        ..Summary::default()
    }
}

#[test]
fn a_refusal_is_told_as_in_the_contract() {
    let (text, _) = told(look(), |sink| sink.report(&refusal()).expect("told"));
    insta::assert_snapshot!(text, @r"
    12:03:41.208 REFUSED  python3(4123) 10.0.3.7 → 10.0.3.9:6379  RT1007 bound-to-other-address certain
      why   nothing listens on 10.0.3.9:6379; redis-server (pid 991) listens on 127.0.0.1:6379 only
      proof the kernel sent a reset, no socket matched · listener 127.0.0.1:6379 (backlog 511)
      fix   redis.conf:87  bind 127.0.0.1 -::1 10.0.3.9     set a password or ACL first
            redis-trace explain RT1007
    ");
}

#[test]
fn what_does_not_fit_into_one_line_goes_on_in_the_next() {
    let mut report = refusal();
    let flow = report.flow.as_mut().expect("it has one");
    flow.client = Some(end("[2001:db8:85a3:8d3:1319:8a2e:370:7348]:50022"));
    flow.server = Some(end("[2001:db8:85a3:8d3:1319:8a2e:370:7349]:6379"));
    report.summary = report.summary.replace("10.0.3.9", "[2001:db8:85a3:8d3:1319:8a2e:370:7349]");
    let (text, _) = told(look(), |sink| sink.report(&report).expect("told"));
    insta::assert_snapshot!(text, @r"
    12:03:41.208 REFUSED  python3(4123) 2001:db8:85a3:8d3:1319:8a2e:370:7348
                          → [2001:db8:85a3:8d3:1319:8a2e:370:7349]:6379
                          RT1007 bound-to-other-address certain
      why   nothing listens on [2001:db8:85a3:8d3:1319:8a2e:370:7349]:6379; redis-server (pid 991)
            listens on 127.0.0.1:6379 only
      proof the kernel sent a reset, no socket matched · listener 127.0.0.1:6379 (backlog 511)
      fix   redis.conf:87  bind 127.0.0.1 -::1 10.0.3.9     set a password or ACL first
            redis-trace explain RT1007
    ");
}

#[test]
fn a_narrow_terminal_gets_the_cause_and_the_why() {
    let (text, _) = told(Look { width: 60, ..look() }, |sink| sink.report(&refusal()).expect("told"));
    insta::assert_snapshot!(text, @r"
    12:03:41.208 REFUSED  python3(4123) 10.0.3.7 → 10.0.3.9:6379
                          RT1007 bound-to-other-address certain
      why   nothing listens on 10.0.3.9:6379; redis-server (pid
            991) listens on 127.0.0.1:6379 only
    ");
}

#[test]
fn a_server_that_cannot_listen_is_named_itself() {
    let mut report = refusal();
    report.outcome = Outcome::ListenFailed;
    report.cause = cause(Code::RT1011, Confidence::Likely);
    report.flow.as_mut().expect("it has one").client = None;
    report.summary = "bind to 10.0.3.9:6379 failed: python3 (pid 77) holds it".to_owned();
    report.fix.clear();
    let (text, _) = told(Look { clock: Clock::Off, ..look() }, |sink| sink.report(&report).expect("told"));
    insta::assert_snapshot!(text, @r"
    LISTEN FAILED redis-server(991) → 10.0.3.9:6379             RT1011 address-in-use           likely
      why   bind to 10.0.3.9:6379 failed: python3 (pid 77) holds it
      proof the kernel sent a reset, no socket matched · listener 127.0.0.1:6379 (backlog 511)
      more  redis-trace explain RT1011
    ");
}

#[test]
fn a_unix_socket_is_told_by_its_path() {
    let mut report = refusal();
    report.flow = None;
    report.unix = Some(UnixReport { path: Text::from("/run/redis/redis.sock") });
    report.outcome = Outcome::Denied;
    report.cause = cause(Code::RT1016, Confidence::Certain);
    report.summary = "/run/redis/redis.sock does not exist".to_owned();
    report.evidence.clear();
    report.fix.clear();
    let full = Look { clock: Clock::Full(TimeZone::UTC), ..look() };
    let (text, _) = told(full, |sink| sink.report(&report).expect("told"));
    insta::assert_snapshot!(text, @r"
    2026-11-23T12:03:41.208+00:00 DENIED   python3(4123) → /run/redis/redis.sock
                                           RT1016 unix-socket-missing certain
      why   /run/redis/redis.sock does not exist
      more  redis-trace explain RT1016
    ");
}

#[test]
fn repeats_fold_into_counter_lines_at_powers_of_ten_and_at_the_end() {
    let (text, sum) = told(look(), |sink| {
        for count in 1..=12_431 {
            let millis = i64::try_from(count).expect("small") * 18_000 / 12_431;
            sink.report(&again("10.0.3.7:50022", count, millis)).expect("told");
        }
        sink.report(&again("10.0.3.8:50022", 1, 18_000)).expect("told");
        sink.summary(&summary()).expect("told");
    });
    assert_eq!(text.lines().filter(|line| line.contains("REFUSED")).count(), 1, "{text}");
    let counters: Vec<&str> = text.lines().filter(|line| line.contains('↳')).collect();
    insta::assert_snapshot!(counters.join("\n"), @r"
    12:03:41      ↳ ×10 in 14 ms from 10.0.3.7
    12:03:41      ↳ ×100 in 144 ms from 10.0.3.7
    12:03:42      ↳ ×1,000 in 1.4 s (691/s) from 10.0.3.7
    12:03:55      ↳ ×10,000 in 14 s (691/s) from 10.0.3.7
    12:03:59      ↳ ×12,432 in 18 s (691/s) from 2 clients, top 10.0.3.7 99 %
    ");
    insta::assert_snapshot!(sum, @r"
    12,433 refusals in 18 s: 2 told, 12,431 repeats, 1 unknown; hooks 8/9
              1  RT0000 unknown
         12,432  RT1007 bound-to-other-address
    degraded: RT1015 RT1016; `redis-trace check` says why
    ");
}

#[test]
fn a_repeat_that_is_told_after_something_else_says_of_what_it_is_one() {
    let (text, _) = told(look(), |sink| {
        sink.report(&refusal()).expect("told");
        let mut other = refusal();
        other.cause = cause(Code::RT1001, Confidence::Certain);
        other.flow.as_mut().expect("it has one").server = Some(end("10.0.3.9:7000"));
        sink.report(&other).expect("told");
        sink.report(&again("10.0.3.7:50022", 10, 400)).expect("told");
    });
    insta::assert_snapshot!(text.lines().last().expect("a line"), @"12:03:41      ↳ RT1007 10.0.3.9:6379 ×10 in 400 ms from 10.0.3.7");
}

#[test]
fn a_storm_that_goes_on_is_told_every_minute_and_when_it_is_over() {
    let (text, _) = told(look(), |sink| {
        sink.report(&refusal()).expect("told");
        for second in 1..=8 {
            sink.report(&again("10.0.3.7:50022", 1 + second, 1000 * second.cast_signed())).expect("told");
            (0..18).for_each(|_| sink.tick().expect("told"));
        }
        (0..60).for_each(|_| sink.tick().expect("told"));
    });
    let counters: Vec<&str> = text.lines().filter(|line| line.contains('↳')).collect();
    insta::assert_snapshot!(counters.join("\n"), @r"
    12:03:48      ↳ ×8 in 7.0 s (1/s) from 10.0.3.7
    12:03:49      ↳ ×9 in 8.0 s (1/s) from 10.0.3.7
    ");
}

#[test]
fn a_terminal_draws_its_counters_again_in_place() {
    let (text, _) = told(Look { live: true, ..look() }, |sink| {
        sink.report(&refusal()).expect("told");
        for count in 2..5 {
            sink.report(&again("10.0.3.7:50022", count, 1000)).expect("told");
            sink.tick().expect("drawn");
        }
    });
    let live = text.split_once("explain RT1007\n").expect("the block").1.replace('\x1b', "ESC").replace('\r', "CR");
    insta::assert_snapshot!(live, @r"
    12:03:42      ↳ ×2 in 1.0 s (2/s) from 10.0.3.7
    ESC[1ACRESC[J12:03:42      ↳ ×3 in 1.0 s (3/s) from 10.0.3.7
    ESC[1ACRESC[J12:03:42      ↳ ×4 in 1.0 s (4/s) from 10.0.3.7
    ");
}

#[test]
fn a_scan_over_many_ports_is_twenty_blocks_and_a_counter() {
    let (text, _) = told(look(), |sink| {
        for port in 1..=10_000 {
            let mut report = refusal();
            report.flow.as_mut().expect("it has one").server = Some(Endpoint { port, ..end("10.0.3.9:1") });
            sink.report(&report).expect("told");
        }
        sink.summary(&summary()).expect("told");
    });
    assert_eq!(text.lines().filter(|line| line.contains("REFUSED")).count(), 20);
    assert!(text.contains("↳ RT1007 elsewhere ×") && text.lines().count() < 110, "{text}");
}

#[test]
fn without_aggregation_every_refusal_is_a_block() {
    let (text, _) = told(Look { fold: false, ..look() }, |sink| {
        (0..30).for_each(|_| sink.report(&refusal()).expect("told"));
    });
    assert_eq!(text.lines().filter(|line| line.contains("REFUSED")).count(), 30);
}

#[test]
fn a_refusal_that_hurt_nobody_is_folded_away() {
    let (text, _) = told(look(), |sink| {
        let mut report = refusal();
        report.benign = true;
        sink.report(&report).expect("told");
    });
    assert_eq!(text, "");
}

#[test]
fn a_correction_names_what_it_corrects() {
    let update = Update {
        schema: schema::UPDATE.to_owned(),
        time: moment() + SignedDuration::from_millis(3200),
        seq: 17,
        cause: Some(cause(Code::RT1018, Confidence::Certain)),
        summary: "a listener appeared on 10.0.3.9:6379 3.2 s later: start order".to_owned(),
        benign: false,
    };
    let (text, _) = told(look(), |sink| {
        sink.report(&refusal()).expect("told");
        sink.update(&update).expect("told");
        sink.update(&Update { seq: 99, ..update.clone() }).expect("what was never told is not corrected");
    });
    let lines: Vec<&str> = text.lines().skip(4).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
            redis-trace explain RT1007
    12:03:44      ↻ 10.0.3.9:6379  RT1018 listener-not-yet certain
                    a listener appeared on 10.0.3.9:6379 3.2 s later: start order
    ");
}

#[test]
fn what_was_lost_is_said_with_the_remedy() {
    let lost = Lost { ring: 1203, queue: 0, output: 0 };
    let (_, sum) = told(look(), |sink| sink.summary(&Summary { lost, ..summary() }).expect("told"));
    assert!(sum.contains("lost: 1,203 in the ring") && sum.contains("--ring"), "{sum}");
}

#[test]
fn json_is_one_object_a_line_and_the_summary_is_the_last() {
    let page = Page::default();
    let mut sink = Json::new(page.clone());
    sink.report(&refusal()).expect("told");
    sink.tick().expect("nothing");
    sink.summary(&summary()).expect("told");
    let text = page.text();
    let objects: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let schemas: Vec<&str> = objects.iter().map(|object| object["schema"].as_str().expect("its name")).collect();
    assert_eq!(schemas, [schema::REFUSAL, schema::SUMMARY]);
    assert_eq!(objects[0]["cause"]["code"], "RT1007");
    assert_eq!(objects[0]["flow"]["server"], serde_json::json!({"ip": "10.0.3.9", "port": 6379}));
    assert!(objects[0]["firewall"].is_null());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_else_s_text_can_break_ours(
        comm: Vec<u8>, path: Vec<u8>, name: Vec<u8>, file: Vec<u8>, color: bool, width in 1usize..120,
        raw in any::<String>(),
    ) {
        let mut report = refusal();
        report.client_process = Some(ProcessReport { comm: Text::new(&comm), ..process(1, "") });
        report.flow.as_mut().expect("it has one").netns_name = Some(Text::new(&name));
        report.fix[0].file = Some(Text::new(&file));
        report.summary = raw.clone();
        report.evidence[0].text = raw;
        report.unix = Some(UnixReport { path: Text::new(&path) });
        let page = Page::default();
        Json::new(page.clone()).report(&report).expect("told");
        prop_assert_eq!(page.text().matches('\n').count(), 1);

        let (text, _) = told(Look { color, width, ..look() }, |sink| sink.report(&report).expect("told"));
        let plain = anstream::adapter::strip_str(&text).to_string();
        prop_assert!(color || text == plain);
        prop_assert!(!plain.chars().any(|c| c.is_control() && c != '\n'), "{:?}", plain);
        prop_assert!(plain.lines().all(|line| line.width() <= width.max(40)), "{}", plain);
        // Who and cause take five lines at most, the why four, the proof three, the fix five.
        prop_assert!(plain.lines().count() <= 17, "{}", plain);
    }
}
