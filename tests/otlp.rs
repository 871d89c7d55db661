//! Refusals as an OpenTelemetry collector gets them: a real agent delivers, and what arrives is decoded as a collector does. In a
//! program with the feature `otlp` alone.

#[expect(dead_code, reason = "agents are started with an environment")]
mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use rustix::process::Signal;

use crate::support::{Agent, refused};

/// A request, as it came.
struct Request {
    head: String,
    logs: ExportLogsServiceRequest,
}

impl Request {
    fn read(client: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if client.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        client.read_exact(&mut body).ok()?;
        Some(Self { head, logs: ExportLogsServiceRequest::decode(&body[..]).expect("it is what it says that it is") })
    }

    fn records(&self) -> impl Iterator<Item = &LogRecord> {
        self.logs.resource_logs.iter().flat_map(|logs| &logs.scope_logs).flat_map(|logs| &logs.log_records)
    }
}

/// A collector that answers its requests with these statuses, the last for ever, and says how many records it does not take.
fn collector(statuses: &'static [u16], rejects: i64) -> (SocketAddr, Receiver<Request>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("a name");
    let (to, requests) = channel();
    thread::spawn(move || {
        let partial_success = (rejects > 0)
            .then(|| ExportLogsPartialSuccess { rejected_log_records: rejects, error_message: "no".to_owned() });
        let answer = ExportLogsServiceResponse { partial_success }.encode_to_vec();
        let mut statuses = statuses.iter();
        let mut status = 200;
        for client in listener.incoming() {
            let mut client = BufReader::new(client.expect("a client"));
            while let Some(request) = Request::read(&mut client) {
                status = *statuses.next().unwrap_or(&status);
                let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", answer.len());
                let said = client.get_mut().write_all(&[head.as_bytes(), &answer].concat());
                if said.is_err() || to.send(request).is_err() {
                    break;
                }
            }
        }
    });
    (address, requests)
}

/// An agent that tells of this port, and delivers there.
fn agent(port: u16, to: &str, flags: &[&str]) -> Agent {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    command.args(["watch", "-o", "json", "--no-aggregate", "--port", &port.to_string(), "--otlp", to]).args(flags);
    Agent::started(command.env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=shop, authorization=Bearer canary"))
}

/// Attributes, as text.
fn attributes(attributes: &[KeyValue]) -> BTreeMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(array) => format!("{} texts", array.values.len()),
        other => panic!("{other:?}"),
    };
    let value = |attribute: &KeyValue| attribute.value.as_ref().and_then(|any| any.value.as_ref()).map(text);
    attributes.iter().map(|attribute| (attribute.key.as_str(), value(attribute).expect("a value"))).collect()
}

/// How long anything may take that is not to fail.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_refusal_arrives_by_the_names_of_the_conventions() {
    let (address, requests) = collector(&[200], 0);
    let mut agent = agent(21, &format!("http://{address}"), &[]);
    let client = refused(21);
    let told = agent.refusal_of(client);
    let request = requests.recv_timeout(PATIENCE).expect("it is delivered");
    let head = request.head.to_ascii_lowercase();
    for line in [
        "post /v1/logs http/1.1",
        "content-type: application/x-protobuf",
        "x-tenant: shop",
        "authorization: bearer canary",
    ] {
        assert!(head.contains(line), "{line}: {head}");
    }
    let who = attributes(&request.logs.resource_logs[0].resource.as_ref().expect("who sends it").attributes);
    assert_eq!((who["service.name"].as_str(), who["os.type"].as_str()), ("redis-trace", "linux"));
    assert!(!who["host.name"].is_empty() && who["service.version"] == env!("CARGO_PKG_VERSION"));
    let records: Vec<&LogRecord> = request.records().collect();
    let [record] = records[..] else { panic!("{records:?}") };
    let said = attributes(&record.attributes);
    for (name, value) in [
        ("redistrace.cause.code", "RT1001"),
        ("redistrace.cause.name", "no-listener"),
        ("redistrace.cause.class", "no_listener"),
        ("redistrace.outcome", "refused"),
        ("redistrace.count", "1"),
        ("client.address", "127.0.0.1"),
        ("client.port", &client.port().to_string()),
        ("server.address", "127.0.0.1"),
        ("server.port", "21"),
        ("network.transport", "tcp"),
        ("network.type", "ipv4"),
        ("process.pid", &std::process::id().to_string()),
        ("redistrace.seq", &told["seq"].to_string()),
    ] {
        assert_eq!(said.get(name).map(String::as_str), Some(value), "{name}: {said:#?}");
    }
    assert!(said.contains_key("error.type") && said.contains_key("redistrace.evidence"), "{said:#?}");
    assert_eq!((record.severity_text.as_str(), record.event_name.as_str()), ("ERROR", "redistrace.refusal"));
    let body = record.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(body, told["summary"].as_str().map(|text| Value::StringValue(text.to_owned())));
    let time: jiff::Timestamp = told["time"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(i128::from(record.time_unix_nano), time.as_nanosecond());
    agent.signal(Signal::TERM);
    assert!(agent.end().1.success());
}

#[test]
fn what_a_collector_does_not_take_now_is_delivered_later_and_what_it_never_takes_is_lost_and_said() {
    let (address, requests) = collector(&[503, 200, 400], 0);
    let metrics = SocketAddr::from((Ipv4Addr::new(127, 94, 67, 1), 9464));
    let mut agent = agent(22, &format!("http://{address}/otel/logs"), &["--metrics", &metrics.to_string()]);
    drop(agent.refusal_of(refused(22)));
    let [first, again] = [(); 2].map(|()| requests.recv_timeout(PATIENCE).expect("it is tried again"));
    assert!(first.head.starts_with("POST /otel/logs HTTP/1.1\r\n"), "{}", first.head);
    assert_eq!(first.logs, again.logs);
    drop(agent.refusal_of(refused(22)));
    assert_eq!(requests.recv_timeout(PATIENCE).expect("it is sent").records().count(), 1);
    let counted = |fate: &str| {
        let mut client = TcpStream::connect(metrics).expect("it listens");
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").expect("sent");
        let mut page = String::new();
        client.read_to_string(&mut page).expect("a page");
        let name = format!("redistrace_otlp_records_total{{fate=\"{fate}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).expect("it is counted")
    };
    let began = Instant::now();
    while counted("lost") < 1 {
        assert!(began.elapsed() < PATIENCE);
    }
    assert_eq!(counted("delivered"), 1);
    agent.signal(Signal::TERM);
    let mut said = String::new();
    agent.err.read_to_string(&mut said).expect("text");
    assert!(said.contains("it answers 503") && said.contains("1 log records were not delivered"), "{said}");
    assert_eq!(agent.end().1.code(), Some(5));
}

#[test]
fn a_collector_that_is_away_costs_records_and_neither_time_nor_another_line() {
    // It takes connections and never answers; nobody is where the other would be.
    let hangs = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    for to in [hangs.local_addr().expect("a name"), SocketAddr::from((Ipv4Addr::LOCALHOST, 23))] {
        let mut agent = agent(23, &format!("http://{to}"), &[]);
        let began = Instant::now();
        // More than may wait for it.
        for _ in 0..3_000 {
            refused(23);
        }
        drop(agent.refusal_of(refused(23)));
        assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
        let ending = Instant::now();
        agent.signal(Signal::TERM);
        let mut said = String::new();
        let mut out = agent.out.take().expect("it is read");
        let heard = thread::spawn(move || {
            let mut rest = String::new();
            out.read_to_string(&mut rest).map(|_| rest)
        });
        agent.err.read_to_string(&mut said).expect("text");
        assert_eq!(agent.child.wait().expect("it ends").code(), Some(5), "{said}");
        assert!(ending.elapsed() < Duration::from_secs(5), "{:?}", ending.elapsed());
        let rest = heard.join().expect("it reads").expect("text");
        let summary: serde_json::Value = serde_json::from_str(rest.lines().last().expect("a line")).expect("JSON");
        assert_eq!((&summary["seen"], &summary["lost"]["output"]), (&3_001.into(), &0.into()), "{summary}");
        let undelivered = said
            .lines()
            .find_map(|line| line.strip_suffix(" log records were not delivered: the collector is away or too slow"));
        assert_eq!(undelivered, Some("3001"), "{said}");
    }
}

#[test]
fn records_that_a_collector_rejects_one_by_one_are_counted() {
    let (address, requests) = collector(&[200], 1);
    let mut agent = agent(24, &format!("http://{address}"), &[]);
    drop(agent.refusal_of(refused(24)));
    assert_eq!(requests.recv_timeout(PATIENCE).expect("it is delivered").records().count(), 1);
    agent.signal(Signal::TERM);
    let mut said = String::new();
    agent.err.read_to_string(&mut said).expect("text");
    assert!(said.contains("it did not take 1 records"), "{said}");
    assert_eq!(agent.end().1.code(), Some(5));
}

#[test]
fn what_is_no_collector_is_said_before_it_watches_and_no_secret_is_repeated() {
    let said = |to: &str| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        let output = program.args(["watch", "--duration", "1ms", "--otlp", to]).output().expect("it starts");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    for (to, why) in [
        ("grpc://127.0.0.1:4317", "is not spoken here"),
        ("collector", "no URL"),
        ("http://me:canary@127.0.0.1:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
    ] {
        let (code, words) = said(to);
        assert!(code == Some(2) && words.contains(why) && !words.contains("canary"), "{to}: {words}");
    }
}
