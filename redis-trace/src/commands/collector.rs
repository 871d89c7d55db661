//! `--otlp`: delivers refusals to a collector of OpenTelemetry as log records, by OTLP over HTTP
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>). A thread of its own does, with no privilege and no way but to the
//! collector; a collector that is slow, away or wrong costs records, which are counted and said, and never holds up watching.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use rustls::crypto::ring;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::Url;

use super::live::{Part, confined_thread};
use crate::cli::WatchArgs;
use crate::failure::{Exit, Failure};
use crate::sink::Sink;
use crate::sink::metrics::Delivery;
use crate::sink::otlp::{Otlp, of_this_host};
use crate::trace::text::Text;

/// Records that may wait: some megabytes.
const WAITING_MAX: usize = 2_048;
/// Most records of one request.
const BATCH: usize = 512;
/// How long the first record of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a collector is left alone after it failed: at first, and at most.
const BACKOFF: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long the end waits for what is still to be delivered.
const PATIENCE: Duration = Duration::from_secs(1);
/// As much of an answer as is read, bytes.
const ANSWER: u64 = 64 << 10;

/// Where refusals are delivered.
pub struct Collector {
    to: SyncSender<LogRecord>,
    delivery: Arc<Delivery>,
    /// Dropped at the end.
    ending: Sender<()>,
    done: Receiver<()>,
}

/// A collector to which nothing more will come.
pub struct Ending {
    delivery: Arc<Delivery>,
    done: Receiver<()>,
    until: Instant,
}

impl Collector {
    /// Begins to deliver to the collector that is named, if one is.
    pub fn start(args: &WatchArgs) -> anyhow::Result<Option<Self>> {
        let Some(address) = &args.otlp else { return Ok(None) };
        let url = endpoint(address).map_err(|why| {
            Failure::new(Exit::Usage, format!("cannot tell where the collector is: {why}"))
                .attempt("--otlp http://127.0.0.1:4318, which is to say http://127.0.0.1:4318/v1/logs")
        })?;
        let port = url.port_or_known_default().unwrap_or(443);
        let (to, records) = sync_channel(WAITING_MAX);
        let (ending, is_ending) = channel();
        let (is_done, done) = channel();
        let delivery = Arc::<Delivery>::default();
        let courier = Courier {
            agent: agent(),
            headers: headers(&std::env::var("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default()),
            url: url.to_string(),
            host: Text::new(rustix::system::uname().nodename().to_bytes()).to_string(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            delivery: Arc::clone(&delivery),
            said: None,
        };
        confined_thread(Part::Dialler(vec![port]), args.sandbox, move || {
            courier.go_on_delivering(&records, &is_ending);
            // Whoever waited may have gone.
            let _ = is_done.send(());
        })?;
        Ok(Some(Self { to, delivery, ending, done }))
    }

    /// What takes refusals for it.
    pub fn sink(&self) -> Box<dyn Sink> {
        Box::new(Otlp::new(self.to.clone(), Arc::clone(&self.delivery)))
    }

    /// How much was delivered, as it grows.
    pub fn delivery(&self) -> Arc<Delivery> {
        Arc::clone(&self.delivery)
    }

    /// Nothing more comes, its sinks are gone: what waits is sent once more, and then no more.
    pub fn end(self) -> Ending {
        let Self { to, delivery, ending, done } = self;
        drop((to, ending));
        Ending { delivery, done, until: Instant::now() + PATIENCE }
    }
}

impl Ending {
    /// Waits a moment for that; the records that the collector has not got.
    pub fn undelivered(self) -> u64 {
        let _ = self.done.recv_timeout(self.until.saturating_duration_since(Instant::now()));
        self.delivery.undelivered()
    }
}

/// Where logs are taken at an address.
fn endpoint(address: &str) -> Result<Url, String> {
    let mut url = Url::parse(address).map_err(|why| format!("it is no URL: {why}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{}:// is not spoken here: http:// and https:// are", Text::from(url.scheme())));
    }
    // Everybody on this host can read the arguments of a program.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it has a user or a password; give headers in OTEL_EXPORTER_OTLP_HEADERS".to_owned());
    }
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/logs");
    }
    Ok(url)
}

/// The client: no proxy, no redirects, the authorities that this host trusts.
fn agent() -> Agent {
    let roots = rustls_native_certs::load_native_certs().certs;
    let roots: RootCerts = roots.iter().map(|root| Certificate::from_der(root).to_owned()).into();
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(REQUEST))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("redis-trace/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls);
    config.build().into()
}

/// `name=value,name=value`, as the environment of every exporter has it.
fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect()
}

/// What became of a request.
enum Sent {
    /// All but so many were taken.
    Taken(u64),
    /// Later it may be taken.
    NotNow(String),
    /// It never will.
    Never(String),
}

/// Who delivers.
struct Courier {
    agent: Agent,
    headers: Vec<(String, String)>,
    url: String,
    host: String,
    kernel: String,
    delivery: Arc<Delivery>,
    /// What was last said of a collector that fails, and when.
    said: Option<Instant>,
}

impl Courier {
    /// Until nothing more comes.
    fn go_on_delivering(mut self, records: &Receiver<LogRecord>, ending: &Receiver<()>) {
        while let Ok(first) = records.recv() {
            let batch = gather(first, records);
            let number = batch.len() as u64;
            let request =
                ExportLogsServiceRequest { resource_logs: vec![of_this_host(batch, &self.host, &self.kernel)] };
            let refused = self.deliver(&request.encode_to_vec(), ending).unwrap_or(number);
            self.delivery.delivered.fetch_add(number.saturating_sub(refused), Ordering::Relaxed);
            self.delivery.lost.fetch_add(refused, Ordering::Relaxed);
        }
    }

    /// Sends a request until it is taken; how many of its records were not, `None` when none was.
    fn deliver(&mut self, request: &[u8], ending: &Receiver<()>) -> Option<u64> {
        let [mut pause, longest] = BACKOFF;
        loop {
            let (why, is_over) = match self.send(request) {
                Sent::Taken(0) => return Some(0),
                Sent::Taken(refused) => {
                    self.say(&format!("it did not take {refused} records"));
                    return Some(refused);
                }
                Sent::NotNow(why) => (why, false),
                Sent::Never(why) => (why, true),
            };
            self.say(&why);
            if is_over || ending.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                return None;
            }
            pause = (2 * pause).min(longest);
        }
    }

    /// Sends it once.
    fn send(&self, request: &[u8]) -> Sent {
        let mut post = self.agent.post(&self.url).header("Content-Type", "application/x-protobuf");
        for (name, value) in &self.headers {
            post = post.header(name, value);
        }
        let mut response = match post.send(request) {
            Ok(response) => response,
            Err(why @ (ureq::Error::Http(_) | ureq::Error::BadUri(_))) => return Sent::Never(why.to_string()),
            Err(why) => return Sent::NotNow(why.to_string()),
        };
        let answer = response.body_mut().with_config().limit(ANSWER).read_to_vec().unwrap_or_default();
        match response.status().as_u16() {
            200..=299 => {
                let answer = ExportLogsServiceResponse::decode(&answer[..]).unwrap_or_default();
                let refused = answer.partial_success.map_or(0, |part| part.rejected_log_records);
                Sent::Taken(u64::try_from(refused).unwrap_or_default())
            }
            status @ (429 | 502 | 503 | 504) => Sent::NotNow(format!("it answers {status}")),
            status => Sent::Never(format!("it answers {status}")),
        }
    }

    /// Says on the side that the collector fails: at first, then once a minute.
    fn say(&mut self, why: &str) {
        if self.said.is_none_or(|said| said.elapsed() > Duration::from_mins(1)) {
            self.said = Some(Instant::now());
            let lost = self.delivery.lost.load(Ordering::Relaxed);
            eprintln!(
                "warning: the collector at {} fails: {}; {lost} records are lost so far",
                self.url,
                Text::from(why)
            );
        }
    }
}

/// It, and what comes soon after it.
fn gather(first: LogRecord, records: &Receiver<LogRecord>) -> Vec<LogRecord> {
    let until = Instant::now() + GATHER;
    let mut batch = vec![first];
    while batch.len() < BATCH
        && let Ok(next) = records.recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        batch.push(next);
    }
    batch
}
