//! How refusals are told: the blocks of the text, and the objects of the JSON.

#[path = "support/reports.rs"]
mod reports;

use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use redis_trace::sink::json::Json;
use redis_trace::sink::{Clock, Look, Sink as _};
use redis_trace::trace::cause::{Code, Confidence};
use redis_trace::trace::report::ProcessReport;
use redis_trace::trace::report::{Lost, Outcome, Report, Summary, UnixReport, Update, schema};
use redis_trace::trace::text::Text;
use unicode_width::UnicodeWidthStr as _;

use crate::reports::{Page, cause, end, look, moment, process, refusal, summary, told};

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
fn a_first_word_says_what_is_known_so_far() {
    let report = Report {
        partial: true,
        count: 0,
        cause: cause(Code::RT1001, Confidence::Likely),
        summary: "nothing listens on 10.0.3.9:6379".to_owned(),
        ..refusal()
    };
    let (text, _) = told(look(), |sink| {
        sink.first_word(&report).expect("said");
        sink.report(&refusal()).expect("told");
    });
    let lines: Vec<&str> = text.lines().take(3).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    12:03:41      … 10.0.3.9:6379  RT1001 no-listener likely
                    so far: nothing listens on 10.0.3.9:6379
    12:03:41.208 REFUSED  python3(4123) 10.0.3.7 → 10.0.3.9:6379  RT1007 bound-to-other-address certain
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
