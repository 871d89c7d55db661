//! What a scrape gets, however much there is.

use std::collections::BTreeSet;

use super::*;
use crate::redis::info::Info;
use crate::trace::fact::{BoundSocket, Socket};
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::report::HooksReport;

/// A refusal of this cause, at this port.
fn refusal(code: Code, outcome: Outcome, benign: bool, port: u32) -> Report {
    let json = serde_json::json!({
        "schema": "redis-trace.refusal/1", "time": "2026-11-23T12:00:00Z", "boottime_ns": 1, "seq": 1,
        "outcome": outcome, "side": "both", "summary": "", "evidence": [], "fix": [],
        "cause": {"code": code, "name": code.name(), "class": code.class(), "confidence": "certain"},
        "client_process": null, "server_process": null, "flow": null,
        "firewall": null, "lsm": null, "queue": null, "unix": {"path": format!("/run/{port}\n\"\\\u{1b}[2J\u{202e}")},
        "benign": benign, "count": 1, "first": "2026-11-23T12:00:00Z", "last": "2026-11-23T12:00:00Z",
    });
    serde_json::from_value(json).expect("a report")
}

fn listener(port: u16, queued: u32) -> BoundSocket {
    let local = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port };
    let socket = Socket { netns: Netns(1), local, ipv6: false, v6only: false, ifindex: 0, inode: 1 };
    BoundSocket { socket, listening: true, queued: Some(queued), backlog: Some(511), owner: None }
}

/// All that can be said is said.
fn standing() -> Standing {
    let hooks = HooksReport { up: 1, expected: 2, degraded: Code::ALL.to_vec() };
    let probe = |hook: &redis_trace_common::hook::Hook| Probe {
        name: hook.probe,
        hook: hook.target,
        is_up: true,
        misses: Some(0),
        ran: Some((7, 0.5)),
    };
    Standing {
        summary: Summary { coverage: Some(0.5), hooks, ..Summary::default() },
        probes: redis_trace_common::hook::HOOKS.iter().map(probe).collect(),
        servers: (0..SERVERS).map(|number| server(&format!("10.0.3.9:{number}"))).collect(),
        recording: Some(true),
        delivery: Some(Arc::default()),
        process: Some(Process { cpu_seconds: 1.5, resident_bytes: 1 << 20, started: 1.0 }),
        kernel: "6.1".to_owned(),
    }
}

/// A server that answered once, and failed to in every way that there is.
fn server(target: &str) -> Server {
    let mut server = Server::new(target.to_owned());
    let said = "redis_version:7.0.15\r\nconnected_clients:7\r\nmaxclients:100\r\nused_memory:1000\r\nmaxmemory:2000\r\n\
                rejected_connections:3\r\nuptime_in_seconds:60\r\n";
    for why in WHYS {
        server.take(Err(why), Timestamp::UNIX_EPOCH);
    }
    server.take(Ok(&Info::new(said)), Timestamp::UNIX_EPOCH);
    server
}

/// Every reason for which a server does not answer.
const WHYS: [&str; 18] = [
    "name",
    "refused",
    "timeout",
    "unreachable",
    "silent",
    "error",
    "plaintext-to-tls-port",
    "tls-to-plaintext-port",
    "tls-handshake-failed",
    "protected-mode",
    "max-clients",
    "auth-required",
    "wrong-password",
    "loading",
    "server-refuses-commands",
    "closed-after-accept",
    "protocol-mismatch",
    "server-closed",
];

const OUTCOMES: [Outcome; 6] =
    [Outcome::Refused, Outcome::Reset, Outcome::Timeout, Outcome::Denied, Outcome::Rejected, Outcome::ListenFailed];

/// The series of a page: everything that is no comment.
fn series(page: &str) -> Vec<&str> {
    page.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn whatever_happens_there_are_no_more_series_than_promised_and_no_refusal_is_missing() {
    let mut metrics = Metrics::default();
    let mut made = 0;
    for code in Code::ALL {
        for (outcome, benign) in OUTCOMES.iter().flat_map(|outcome| [(outcome, true), (outcome, false)]) {
            for port in 0..5 {
                metrics.count(&refusal(*code, *outcome, benign, port), 3);
                made += 3;
            }
        }
    }
    let busy = refusal(Code::RT1001, Outcome::Refused, false, 6379);
    metrics.count(&busy, 10_000);
    for port in 10_000..75_000 {
        metrics.count(&refusal(Code::RT1001, Outcome::Refused, false, port), 1);
    }
    made += 75_000;
    let all: Vec<BoundSocket> = (1..=1_000).map(|port| listener(port, u32::from(port % 7))).collect();
    metrics.queues.listeners(Netns(1), "shop", &all, |_| None);
    metrics.queues_read = Some(Timestamp::UNIX_EPOCH);
    let page = metrics.page(&standing()).expect("a page");
    assert!(series(&page).len() <= SERIES, "{} series", series(&page).len());
    let of = |name: &str| -> Vec<&str> { series(&page).into_iter().filter(|line| line.starts_with(name)).collect() };
    let number = |line: &&str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok()).expect("a number");
    assert_eq!(of("redistrace_refusals_total").iter().map(number).sum::<u64>(), made);
    let busy = of("redistrace_refusals_total{cause=\"RT1001\"").into_iter().find(|line| line.contains("/run/6379"));
    assert_eq!(busy.as_ref().map(number), Some(10_000), "what is counted most keeps its name");
    assert_eq!(of("redistrace_listen_queue_length").len(), LISTENERS + 1);
    let queued: u64 = all.iter().filter_map(|bound| bound.queued).map(u64::from).sum();
    assert_eq!(of("redistrace_listen_queue_length").iter().map(number).sum::<u64>(), queued);
    assert_eq!(of("redistrace_listeners ").iter().map(number).sum::<u64>(), 1_000);
}

#[test]
fn foreign_text_adds_no_line_and_no_label() {
    let mut metrics = Metrics::default();
    metrics.count(&refusal(Code::RT1001, Outcome::Refused, false, 1), 1);
    let page = metrics.page(&standing()).expect("a page");
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()) && !page.contains('\u{202e}'), "{page}");
    let line =
        series(&page).into_iter().find(|line| line.starts_with("redistrace_refusals_total")).expect("it is there");
    assert!(line.ends_with("\"} 1") && line.matches("=\"").count() == 5, "{line}");
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn what_is_not_known_is_not_there() {
    let page = Metrics::default().page(&Standing::default()).expect("a page");
    for absent in [
        "coverage",
        "recording",
        "redis_",
        "otlp_",
        "process_",
        "probe_",
        "listen_queue",
        "listeners",
        "refusals_total",
    ] {
        assert!(!page.contains(absent), "{absent}: {page}");
    }
}

#[test]
fn a_server_that_does_not_answer_has_no_facts_and_one_without_limits_has_none() {
    let page = |server: Server| {
        let standing = Standing { servers: vec![server], ..standing() };
        Metrics::default().page(&standing).expect("a page")
    };
    let asked = "redistrace_redis_asked_timestamp_seconds{target=\"db:6379\"} 0.0";
    let mut down = server("db:6379");
    down.take(Err("silent"), Timestamp::UNIX_EPOCH);
    let told = page(down);
    let ours: Vec<&str> = series(&told).into_iter().filter(|line| line.starts_with("redistrace_redis_")).collect();
    assert_eq!(ours.len(), 2 + WHYS.len(), "{told}");
    for line in [
        "redistrace_redis_up{target=\"db:6379\"} 0",
        asked,
        "redistrace_redis_unanswered_total{target=\"db:6379\",reason=\"silent\"} 2",
    ] {
        assert!(ours.contains(&line), "{line}: {told}");
    }
    let mut endless = Server::new("db:6379".to_owned());
    let hostile = "redis_version:6.0.16\nconnected_clients:1\nmaxmemory:0\nused_memory:-1\nuptime_in_seconds:99999999999999999999\n\
                   rejected_connections:1} 2\n";
    endless.take(Ok(&Info::new(hostile)), Timestamp::UNIX_EPOCH);
    let told = page(endless);
    let ours: Vec<&str> = series(&told).into_iter().filter(|line| line.starts_with("redistrace_redis_")).collect();
    let clients = "redistrace_redis_clients{target=\"db:6379\"} 1";
    assert_eq!(ours, ["redistrace_redis_up{target=\"db:6379\"} 1", asked, clients], "{told}");
    let unasked = page(Server::new("db:6379".to_owned()));
    assert!(!unasked.contains("redistrace_redis_"), "{unasked}");
}

#[test]
fn what_has_a_unit_says_so_and_every_family_says_what_it_is() {
    let page =
        Metrics { queues_read: Some(Timestamp::UNIX_EPOCH), ..Metrics::default() }.page(&standing()).expect("a page");
    for unit in [
        "# UNIT redistrace_redis_memory_limit_bytes bytes",
        "# UNIT redistrace_redis_uptime_seconds seconds",
        "# UNIT redistrace_coverage_ratio ratio",
        "# UNIT redistrace_probe_run_seconds seconds",
    ] {
        assert!(page.lines().any(|line| line == unit), "{unit}: {page}");
    }
    for name in names(&page).into_iter().map(|name| name.strip_suffix("_total").unwrap_or(name)) {
        assert!(page.contains(&format!("# HELP {name} ")) && page.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(page.contains("redistrace_probe_run_seconds_total{") && page.contains("process_resident_memory_bytes "));
}

/// Names of metrics that a text has.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("redistrace_") || word.starts_with("process_")).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let mut metrics = Metrics { queues_read: Some(Timestamp::UNIX_EPOCH), ..Metrics::default() };
    metrics.count(&refusal(Code::RT1001, Outcome::Refused, false, 1), 1);
    metrics.queues.listeners(Netns(1), "shop", &[listener(6379, 1)], |_| None);
    let page = metrics.page(&standing()).expect("a page");
    let there: BTreeSet<&str> = series(&page).into_iter().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for text in [include_str!("../../../../deploy/alerts.yaml"), include_str!("../../../../deploy/dashboard.json")] {
        let asked = names(text);
        assert!(asked.len() > 5, "{asked:?}");
        assert_eq!(asked.difference(&there).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(include_str!("../../../../deploy/dashboard.json")).expect("JSON");
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 5));
}

#[test]
fn alerts_name_causes_that_have_a_page() {
    let alerts = include_str!("../../../../deploy/alerts.yaml");
    let words = alerts.split(|c: char| !c.is_ascii_alphanumeric());
    let codes: BTreeSet<&str> = words.filter(|word| word.len() == 6 && word.starts_with("RT")).collect();
    assert!(!codes.is_empty());
    for code in codes {
        assert!(code.parse::<Code>().is_ok(), "{code} is no cause");
    }
}
