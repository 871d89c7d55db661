//! A refusal and a summary as they are told, and what is written of them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use redis_trace::sink::text::Text as TextSink;
use redis_trace::sink::{Clock, Look, Sink};
use redis_trace::trace::cause::{Code, Confidence};
use redis_trace::trace::flow::{Endpoint, Netns, Protocol};
use redis_trace::trace::report::{
    CauseReport, Evidence, Fix, FlowReport, HooksReport, Lost, Outcome, ProcessReport, Report, Side, Summary, schema,
};
use redis_trace::trace::text::Text;

#[path = "page.rs"]
mod page;

pub(crate) use page::Page;

/// A sink off a terminal, as wide as it may be.
pub(crate) fn look() -> Look {
    Look { color: false, live: false, width: 100, clock: Clock::Time(TimeZone::UTC), fold: true }
}

/// What a sink of text writes, and what it says on the side.
pub(crate) fn told(look: Look, tell: impl FnOnce(&mut dyn Sink)) -> (String, String) {
    let (out, err) = (Page::default(), Page::default());
    tell(&mut TextSink::new(out.clone(), err.clone(), look));
    (out.text(), err.text())
}

/// An address and a port.
pub(crate) fn end(address: &str) -> Endpoint {
    let address: std::net::SocketAddr = address.parse().expect("an address");
    Endpoint { ip: address.ip(), port: address.port() }
}

/// When the refusal was.
pub(crate) fn moment() -> Timestamp {
    "2026-11-23T12:03:41.208113901Z".parse().expect("a time")
}

/// A process of this number and name.
pub(crate) fn process(pid: u32, comm: &str) -> ProcessReport {
    ProcessReport { pid, comm: Text::from(comm), exe: None, uid: Some(1000), container: None, unit: None }
}

/// A cause as it is told.
pub(crate) fn cause(code: Code, confidence: Confidence) -> CauseReport {
    CauseReport { code, name: code.name().to_owned(), class: code.class(), confidence }
}

/// The refusal that the contract shows.
pub(crate) fn refusal() -> Report {
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
        partial: false,
        count: 1,
        first: moment(),
        last: moment(),
    }
}

/// The end of a run.
pub(crate) fn summary() -> Summary {
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
