//! Refusals as log records of OpenTelemetry, by the names of its semantic conventions where there is one
//! (<https://opentelemetry.io/docs/specs/semconv/>) and `redistrace.…` where there is none.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use jiff::Timestamp;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::Sink;
use super::metrics::Delivery;
use crate::trace::flow::{Endpoint, Protocol};
use crate::trace::report::{CauseReport, Fix, Outcome, ProcessReport, Report, Summary, Update};

/// What is said of a record, or of who sends it.
#[derive(Default)]
struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, text: impl Into<String>) {
        self.add(key, Value::StringValue(text.into()));
    }

    fn number(&mut self, key: &str, number: impl Into<u64>) {
        self.add(key, Value::IntValue(i64::try_from(number.into()).unwrap_or(i64::MAX)));
    }

    fn list(&mut self, key: &str, texts: impl Iterator<Item = String>) {
        let values: Vec<AnyValue> = texts.map(|text| any(Value::StringValue(text))).collect();
        if !values.is_empty() {
            self.add(key, Value::ArrayValue(ArrayValue { values }));
        }
    }

    fn add(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() });
    }

    /// An end of a connection: `client` or `server`.
    fn end(&mut self, which: &str, end: Option<Endpoint>) {
        if let Some(Endpoint { ip, port }) = end {
            self.text(&format!("{which}.address"), ip.to_string());
            self.number(&format!("{which}.port"), port);
        }
    }

    /// Who was refused: the client, or the server that could not listen.
    fn refused(&mut self, process: &ProcessReport) {
        self.number("process.pid", process.pid);
        self.text("process.executable.name", process.comm.as_str());
        if let Some(exe) = &process.exe {
            self.text("process.executable.path", exe.as_str());
        }
        if let Some(uid) = process.uid {
            self.number("process.real_user.id", uid);
        }
        if let Some(container) = &process.container {
            self.text("container.id", container.id.as_str());
            self.text("container.runtime.name", container.runtime.as_str());
        }
        if let Some(unit) = &process.unit {
            self.text("redistrace.process.unit", unit.as_str());
        }
    }

    fn cause(&mut self, cause: &CauseReport) {
        self.text("redistrace.cause.code", cause.code.as_str());
        self.text("redistrace.cause.name", cause.name.as_str());
        self.text("redistrace.cause.class", word(&cause.class));
        self.text("redistrace.cause.confidence", word(&cause.confidence));
    }
}

/// A word as JSON has it.
fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn any(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

/// A moment, since 1970.
fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

/// What would end it, in one line.
fn fix(fix: &Fix) -> String {
    let command = fix.command.as_ref().map_or_else(String::new, |command| format!(": {command}"));
    let file = fix.file.as_ref().map_or_else(String::new, |file| format!(" ({file})"));
    format!("{}{command}{file}", fix.text)
}

/// A refusal.
fn refusal(report: &Report) -> LogRecord {
    let mut said = Attributes::default();
    said.cause(&report.cause);
    said.text("redistrace.outcome", report.outcome.name());
    said.text("redistrace.side", report.side.name());
    said.number("redistrace.seq", report.seq);
    said.number("redistrace.count", report.count);
    said.text("error.type", report.errno.as_deref().unwrap_or(report.outcome.name()));
    if let Some(flow) = &report.flow {
        said.end("client", flow.client);
        said.end("server", flow.server);
        said.text("network.transport", word(&flow.protocol));
        if let (Protocol::Tcp, Some(end)) = (flow.protocol, flow.server.or(flow.client)) {
            said.text("network.type", if matches!(end.ip, IpAddr::V4(_)) { "ipv4" } else { "ipv6" });
        }
        said.number("redistrace.netns", flow.netns.0);
    }
    if let Some(unix) = &report.unix {
        said.text("server.address", unix.path.as_str());
        said.text("network.transport", "unix");
    }
    let (refused, other) = match report.outcome {
        Outcome::ListenFailed => (&report.server_process, &None),
        _ => (&report.client_process, &report.server_process),
    };
    if let Some(process) = refused {
        said.refused(process);
    }
    if let Some(process) = other {
        said.number("redistrace.server.process.pid", process.pid);
        said.text("redistrace.server.process.name", process.comm.as_str());
    }
    if let Some(reply) = &report.reply {
        said.text("redistrace.reply", reply.as_str());
    }
    said.list("redistrace.evidence", report.evidence.iter().map(|seen| format!("{}: {}", seen.source, seen.text)));
    said.list("redistrace.fix", report.fix.iter().map(fix));
    let severity = if report.benign { SeverityNumber::Info } else { SeverityNumber::Error };
    record("redistrace.refusal", report.last, severity, &report.summary, said)
}

/// A correction; `redistrace.seq` says of which refusal.
fn correction(update: &Update) -> LogRecord {
    let mut said = Attributes::default();
    said.number("redistrace.seq", update.seq);
    if let Some(cause) = &update.cause {
        said.cause(cause);
    }
    record("redistrace.update", update.time, SeverityNumber::Info, &update.summary, said)
}

fn record(event: &str, time: Timestamp, severity: SeverityNumber, body: &str, said: Attributes) -> LogRecord {
    LogRecord {
        time_unix_nano: nanoseconds(time),
        observed_time_unix_nano: nanoseconds(time),
        severity_number: severity.into(),
        severity_text: if severity == SeverityNumber::Error { "ERROR" } else { "INFO" }.to_owned(),
        body: Some(any(Value::StringValue(body.to_owned()))),
        attributes: said.0,
        event_name: event.to_owned(),
        ..LogRecord::default()
    }
}

/// Records with who sends them: this program, on this host.
pub fn of_this_host(log_records: Vec<LogRecord>, host: &str, kernel: &str) -> ResourceLogs {
    let mut who = Attributes::default();
    who.text("service.name", "redis-trace");
    who.text("service.version", env!("CARGO_PKG_VERSION"));
    who.text("host.name", host);
    who.text("os.type", "linux");
    who.text("os.version", kernel);
    let scope = InstrumentationScope {
        name: "redis-trace".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ResourceLogs {
        resource: Some(Resource { attributes: who.0, ..Resource::default() }),
        scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    }
}

/// Hands records to whoever delivers them. What finds no room is lost and counted, and nothing ever waits for it.
pub struct Otlp {
    to: SyncSender<LogRecord>,
    delivery: Arc<Delivery>,
}

impl Otlp {
    /// Into this queue.
    pub fn new(to: SyncSender<LogRecord>, delivery: Arc<Delivery>) -> Self {
        Self { to, delivery }
    }

    fn hand_over(&self, record: LogRecord) {
        self.delivery.seen.fetch_add(1, Ordering::Relaxed);
        if self.to.try_send(record).is_err() {
            self.delivery.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Sink for Otlp {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.hand_over(refusal(report));
        Ok(())
    }

    fn update(&mut self, update: &Update) -> io::Result<()> {
        self.hand_over(correction(update));
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, _: &Summary) -> io::Result<()> {
        Ok(())
    }
}
