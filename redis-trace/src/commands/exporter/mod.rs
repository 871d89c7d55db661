//! `--metrics`: answers GET and HEAD of /metrics, and nothing else. The socket is made before privileges are given up. What
//! servers say of themselves is asked elsewhere, and a scrape has what they said last.

pub(crate) mod http;
mod servers;

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::live::{Live, all_wanted, hooks_report};
use super::recorder::Recorder;
use super::telling::Telling;
use crate::cli::{MetricsArgs, Sandbox};
use crate::failure::{Exit, Failure};
use crate::kernel::{HookState, State};
use crate::sink::Sink;
use crate::sink::metrics::{Counter, Delivery, Metrics, Probe, Process, Standing};
use crate::trace::fact::Fact;
use http::{AT_ONCE, Scrape, serve};
pub use servers::Ends;
use servers::Servers;

/// How often queues and the kernel's counters are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long watching may wait for the kernel's counters.
const COUNTERS: Duration = Duration::from_millis(20);

/// What is to be done for whoever scrapes.
pub enum Due {
    /// To look at what changes unseen.
    Look,
    /// To tell how it stands.
    Scrape(Scrape),
}

/// Metrics, and who asks for them; without `--metrics` nobody ever does.
pub struct Exporter(Option<Serving>);

struct Serving {
    metrics: Rc<RefCell<Metrics>>,
    scrapes: mpsc::Receiver<Scrape>,
    look_at: Instant,
    started: SystemTime,
    servers: Servers,
    delivery: Option<Arc<Delivery>>,
}

impl Exporter {
    /// Listens where that is wanted, and says where. To be called in a tokio runtime.
    pub async fn start(args: &MetricsArgs, sandbox: Sandbox) -> anyhow::Result<Self> {
        let Some(address) = args.metrics else { return Ok(Self(None)) };
        if !address.ip().is_loopback() {
            if !args.metrics_public {
                let what =
                    format!("{address} can be dialled by other hosts: metrics say what is refused here, and to whom");
                return Err(Failure::new(Exit::Usage, what)
                    .attempt(format!("--metrics 127.0.0.1:{}", address.port()))
                    .attempt("--metrics-public, if other hosts are to read them")
                    .into());
            }
            eprintln!("warning: whoever can dial {address} can read the metrics");
        }
        let cannot = |why: io::Error| {
            Failure::new(Exit::Usage, format!("cannot serve metrics at {address}: {why}"))
                .attempt("another port, or whoever has this one: ss -ltnp")
        };
        let listener = TcpListener::bind(address).await.map_err(cannot)?;
        eprintln!("metrics at http://{}/metrics", listener.local_addr().unwrap_or(address));
        let servers = Servers::start(args, sandbox)?;
        let (asks, scrapes) = mpsc::channel(AT_ONCE);
        tokio::spawn(serve(listener, asks));
        let (look_at, started) = (Instant::now(), SystemTime::now());
        Ok(Self(Some(Serving { metrics: Rc::default(), scrapes, look_at, started, servers, delivery: None })))
    }

    /// What counts for whoever scrapes.
    pub fn counter(&self) -> Option<Box<dyn Sink>> {
        self.0.as_ref().map(|serving| Box::new(Counter(Rc::clone(&serving.metrics))) as Box<dyn Sink>)
    }

    /// What becomes of records for a collector is told too.
    pub fn tells_of(&mut self, delivery: Option<Arc<Delivery>>) {
        if let Some(serving) = &mut self.0 {
            serving.delivery = delivery;
        }
    }

    /// Our ends of the connections by which servers are asked how they are.
    pub fn ends(&self) -> Option<Arc<Ends>> {
        self.0.as_ref().map(|serving| Arc::clone(&serving.servers.ends))
    }

    /// What a fact says of queues, once it is known.
    pub fn take(&self, fact: &Fact, telling: &Telling) {
        if let Some(serving) = &self.0 {
            serving.metrics.borrow_mut().take(fact, telling.known(), telling.wall(fact.time));
        }
    }

    /// Waits until something is to be done. May be dropped while it waits without losing any.
    pub async fn due(&mut self) -> Due {
        let Some(serving) = &mut self.0 else { return pending().await };
        tokio::select! {
            scrape = serving.scrapes.recv() => scrape.map_or(Due::Look, Due::Scrape),
            () = sleep_until(serving.look_at) => Due::Look,
        }
    }

    /// Does it.
    pub async fn serve(
        &mut self,
        due: Due,
        live: &mut Live,
        telling: &Telling,
        recorder: Option<&Recorder>,
    ) -> anyhow::Result<()> {
        let Some(serving) = &mut self.0 else { return Ok(()) };
        match due {
            Due::Look => {
                live.look_at_queues(telling.known().listeners.namespaces());
                live.reconcile(COUNTERS).await?;
                serving.look_at = Instant::now() + LOOK_EVERY;
            }
            Due::Scrape(scrape) => {
                let servers = serving.servers.scraped();
                let delivery = serving.delivery.clone();
                let standing = Standing { servers, delivery, ..standing(serving.started, live, telling, recorder)? };
                let page = serving.metrics.borrow().page(&standing)?;
                // Whoever asked may have gone.
                let _ = scrape.send(page);
            }
        }
        Ok(())
    }
}

/// How the view stands now.
fn standing(
    started: SystemTime,
    live: &mut Live,
    telling: &Telling,
    recorder: Option<&Recorder>,
) -> anyhow::Result<Standing> {
    let (lost, missed) = live.lost()?;
    let costs = live.costs();
    // Nobody but the administrator has the kernel measure: where it does not, nothing was measured.
    let is_measured = costs.values().any(|cost| cost.runs > 0);
    let probe = |state: &HookState| {
        let cost = costs.get(state.hook.probe).filter(|_| state.state == State::Up);
        Probe {
            name: state.hook.probe,
            hook: state.hook.target,
            is_up: state.state == State::Up,
            misses: cost.and_then(|cost| cost.misses),
            ran: cost
                .filter(|_| is_measured)
                .map(|cost| (cost.runs, Duration::from_nanos(cost.nanoseconds).as_secs_f64())),
        }
    };
    Ok(Standing {
        probes: all_wanted(live.hooks()).map(probe).collect(),
        servers: Vec::new(),
        delivery: None,
        summary: telling.so_far(lost, missed, hooks_report(live.hooks())),
        recording: recorder.map(Recorder::is_whole),
        process: own_cost(started),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
    })
}

/// What this process costs; absent where the kernel does not say.
fn own_cost(started: SystemTime) -> Option<Process> {
    let started = started.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
    let statm = procfs::process::Process::myself().ok()?.statm().ok()?;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::new(u64::try_from(cpu.tv_sec).ok()?, u32::try_from(cpu.tv_nsec).ok()?);
    Some(Process { cpu_seconds: cpu.as_secs_f64(), resident_bytes: statm.resident * procfs::page_size(), started })
}
