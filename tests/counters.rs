//! What repeats of a refusal fold into: counter lines.

#[path = "support/reports.rs"]
mod reports;

use jiff::SignedDuration;
use redis_trace::sink::Look;
use redis_trace::trace::cause::{Code, Confidence};
use redis_trace::trace::flow::Endpoint;
use redis_trace::trace::report::Report;

use crate::reports::{cause, end, look, moment, refusal, summary, told};

/// The same refusal for the `count`th time, so much later.
fn again(client: &str, count: u64, millis: i64) -> Report {
    let mut report = refusal();
    report.time = moment() + SignedDuration::from_millis(millis);
    (report.last, report.count) = (report.time, count);
    report.flow.as_mut().expect("it has one").client = Some(end(client));
    report
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
