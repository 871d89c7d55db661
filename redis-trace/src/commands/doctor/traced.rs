//! Why a dial was refused, by the same line that `watch` has: fed by the probes where they may be attached, else by what the
//! dialling end saw and the host says.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::dial::{Dial, Place, dial};
use super::report::State;
use crate::cli::Sandbox;
use crate::commands::live::{Live, hooks_report};
use crate::commands::telling::Telling;
use crate::host::{self, Host};
use crate::kernel::Options;
use crate::sink::Sink;
use crate::trace::fact::{ConnectFailed, Fact, Phase, Sight, Task, UnixPath, Way, WayTo, What};
use crate::trace::filter::Filter;
use crate::trace::flow::{Endpoint, Flow};
use crate::trace::question::Question;
use crate::trace::remembered::Bounds;
use crate::trace::report::{HooksReport, Outcome, Report, Summary, Update};

/// How long a verdict may take after the dial is over: on a host that is busy, to read the firewall's rules takes seconds.
const VERDICT: Duration = Duration::from_secs(4);
/// How much longer where the host was asked and has not answered, or this end had to add what it saw.
const MORE: Duration = Duration::from_secs(2);
/// Time passes in such steps while one is waited for.
const STEP: Duration = Duration::from_millis(10);

/// Refusals that were told.
#[derive(Debug, Default)]
struct Told {
    reports: Vec<Report>,
    /// What became of them was told, too.
    is_updated: bool,
}

impl Told {
    /// Nothing more is to be expected of a dial: one that is told while it still waits is told again when it is refused.
    fn is_final(&self, errno: u32) -> bool {
        let is_open = |report: &Report| errno != 0 && report.outcome == Outcome::Timeout;
        !self.reports.is_empty() && (self.is_updated || !self.reports.iter().any(is_open))
    }
}

/// Where they are kept.
#[derive(Clone, Debug, Default)]
struct Kept(Rc<RefCell<Told>>);

impl Sink for Kept {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.0.borrow_mut().reports.push(report.clone());
        Ok(())
    }

    fn update(&mut self, update: &Update) -> io::Result<()> {
        let mut told = self.0.borrow_mut();
        told.is_updated = true;
        for report in told.reports.iter_mut().filter(|report| report.seq == update.seq) {
            match &update.cause {
                Some(cause) if cause.code != report.cause.code => report.summary.clone_from(&update.summary),
                _ => report.summary = format!("{}; {}", report.summary, update.summary),
            }
            report.cause = update.cause.clone().unwrap_or_else(|| report.cause.clone());
            report.benign |= update.benign;
        }
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, _: &Summary) -> io::Result<()> {
        Ok(())
    }
}

/// What the dialling end got; 0 when it gave up by itself.
fn errno_of(error: &io::Error) -> Option<u32> {
    match Errno::from_io_error(error) {
        Some(errno) => Some(errno.raw_os_error().unsigned_abs()),
        None => (error.kind() == io::ErrorKind::TimedOut).then_some(0),
    }
}

/// Whether an ICMP error gives this: icmp_err_convert in net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c.
fn is_by_icmp(errno: u32) -> bool {
    let known =
        [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::HOSTDOWN, Errno::NONET, Errno::NOPROTOOPT, Errno::ACCESS];
    known.iter().any(|known| known.raw_os_error().unsigned_abs() == errno)
}

/// A dial that failed.
pub(super) struct Failed<'a> {
    pub(super) place: &'a Place,
    /// When it began, boottime nanoseconds.
    pub(super) started: u64,
    /// How often its SYN was sent again.
    pub(super) sent_again: u32,
    pub(super) error: &'a io::Error,
}

/// Where the facts come from.
enum Source {
    Probes(Box<Live>),
    /// The host alone, because of this.
    Host(Box<Host>, String),
}

/// The line, and what feeds it.
pub(super) struct Traced {
    source: Source,
    telling: Telling,
    kept: Kept,
    task: Task,
}

impl Traced {
    /// Attaches the probes, or does without.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let kept = Kept::default();
        let task = host::this_task()?;
        let pid = task.pid;
        let is_ours = move |report: &Report| report.client_process.as_ref().is_some_and(|client| client.pid == pid);
        let telling = Telling::new(
            Bounds::default(),
            Filter::default(),
            Box::new(move |report, _| is_ours(report)),
            false,
            Box::new(kept.clone()),
        );
        let source = match Live::start(&Options::default(), Sandbox::Off).await {
            Ok(live) => Source::Probes(Box::new(live)),
            Err(failure) => Source::Host(Box::default(), failure.what),
        };
        let mut traced = Self { source, telling, kept, task };
        if let Source::Host(host, _) = &mut traced.source {
            let sight = Sight {
                since: host::boottime(),
                connects: true,
                unix: true,
                netns: traced.task.netns,
                ..Sight::default()
            };
            let first = [What::Clock { unix_ns: host::wall() }, What::Sight(sight)];
            let facts: VecDeque<What> = first.into_iter().chain(host.snapshot()).collect();
            traced.feed(facts)?;
        }
        Ok(traced)
    }

    /// The probes are attached.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.source, Source::Probes(_))
    }

    /// What is traced and how well, in words.
    pub(super) fn told(&self) -> (State, String) {
        let live = match &self.source {
            Source::Probes(live) => live,
            Source::Host(_, why) => {
                return (State::Unknown, format!("{why}: judged by what this end saw and /proc shows"));
            }
        };
        let HooksReport { up, expected, .. } = hooks_report(live.hooks());
        let known = format!("{up} of {expected} hooks are up, {} listeners are known", live.listeners_found);
        let &Sight { resets, connects, drops, .. } = live.sight();
        let unseen: Vec<&str> = [(resets, "resets"), (connects, "failed connects"), (drops, "dropped SYNs")]
            .into_iter()
            .filter_map(|(is_seen, what)| (!is_seen).then_some(what))
            .collect();
        if unseen.is_empty() {
            (State::Good, known)
        } else {
            (State::Warn, format!("{known}; {} are not seen (redis-trace check says why)", unseen.join(", ")))
        }
    }

    /// Records of the probes that found no room, in words; nothing when all were read.
    pub(super) fn lost(&mut self) -> anyhow::Result<Option<String>> {
        let Source::Probes(live) = &mut self.source else { return Ok(None) };
        let (lost, missed) = live.lost()?;
        let records = lost.ring + missed.records;
        Ok((records > 0)
            .then(|| format!("{records} records of the probes were lost: what they told is not known here")))
    }

    /// Dials a place; what the probes tell meanwhile is taken in.
    pub(super) async fn dial(&mut self, place: Place) -> anyhow::Result<Dial> {
        // The client is known by its thread's name too.
        let name = self.task.comm.as_str().to_owned();
        let dialling = std::thread::Builder::new().name(name).spawn(move || dial(place))?;
        while !dialling.is_finished() && self.is_live() {
            self.take_in().await?;
        }
        Ok(dialling.join().unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// What is told of a dial that failed.
    pub(super) async fn explain(&mut self, dial: &Failed<'_>) -> anyhow::Result<Vec<Report>> {
        let errno = errno_of(dial.error);
        if let Source::Probes(_) = self.source {
            self.listen(errno.unwrap_or_default(), VERDICT).await?;
            if let Some(errno) = errno.filter(|_| self.kept.0.borrow().reports.is_empty()) {
                if is_by_icmp(errno) {
                    self.add(dial, errno)?;
                }
                self.listen(errno, MORE).await?;
            }
        } else if let Some(errno) = errno {
            let phase = self.phase(dial.place, errno);
            let failed = self.failed(dial, errno, phase);
            self.feed(VecDeque::from([failed]))?;
        }
        Ok(self.kept.0.take().reports)
    }

    /// Adds what this end saw and the probes did not: to the kernel an ICMP error that comes while connect(2) still runs is no
    /// end of the dial, but who asks for the socket's error gets it.
    fn add(&mut self, dial: &Failed<'_>, errno: u32) -> anyhow::Result<()> {
        let fact = Fact { time: host::boottime(), what: self.failed(dial, errno, Phase::Over) };
        let questions = self.telling.take(&fact)?;
        if let Source::Probes(live) = &mut self.source {
            for question in questions {
                live.ask(question);
            }
        }
        Ok(())
    }

    /// Takes in what the probes tell until something is told of the dial.
    async fn listen(&mut self, errno: u32, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        while Instant::now() < until && !self.kept.0.borrow().is_final(errno) {
            self.take_in().await?;
        }
        Ok(())
    }

    /// Takes in what the probes tell next, or that time passes.
    async fn take_in(&mut self) -> anyhow::Result<()> {
        let Source::Probes(live) = &mut self.source else { return Ok(()) };
        let fact = live.next(Some(STEP)).await?;
        for question in self.telling.take(&fact)? {
            live.ask(question);
        }
        Ok(())
    }

    /// Takes in facts, and what the host answers to the questions that they raise; then time passes until all is told.
    fn feed(&mut self, mut facts: VecDeque<What>) -> anyhow::Result<()> {
        let Source::Host(host, _) = &mut self.source else { return Ok(()) };
        let mut time = host::boottime();
        loop {
            let what = match facts.pop_front() {
                Some(what) => what,
                None if self.telling.is_waiting() => {
                    time += 1_000_000_000;
                    What::Tick
                }
                None => return Ok(()),
            };
            time = time.max(host::boottime());
            for question in self.telling.take(&Fact { time, what })? {
                if question != Question::LsmPrograms {
                    facts.extend(host.answer(&question, time));
                }
            }
        }
    }

    /// Whether a SYN was sent: not where the host's own routes refuse with this very error, or no port was left.
    fn phase(&mut self, place: &Place, errno: u32) -> Phase {
        let (Source::Host(host, _), Place::Tcp(address)) = (&mut self.source, place) else { return Phase::Over };
        let to = Endpoint { ip: address.ip().to_canonical(), port: address.port() };
        let question = Question::Way { netns: self.task.netns, to, uid: self.task.uid };
        let refuses = |answer| match answer {
            What::Way(WayTo { way: Way::Refused { errno: refused, .. }, .. }) => refused == errno,
            _ => false,
        };
        let is_refused = host.answer(&question, host::boottime()).into_iter().any(refuses);
        if is_refused || errno == Errno::ADDRNOTAVAIL.raw_os_error().unsigned_abs() {
            Phase::AtOnce
        } else {
            Phase::Over
        }
    }

    /// The failed dial as its own end saw it.
    fn failed(&self, dial: &Failed<'_>, errno: u32, phase: Phase) -> What {
        let &Failed { place, started: dialled, sent_again: retransmits, .. } = dial;
        let task = self.task.clone();
        match place {
            Place::Unix(path) => What::UnixConnect { task, errno, path: UnixPath::written(path) },
            Place::Tcp(address) => {
                let nowhere = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
                let server = Endpoint { ip: address.ip().to_canonical(), port: address.port() };
                let client = Endpoint { ip: nowhere, port: 0 };
                let flow = Flow { netns: task.netns, client, server, ifindex: 0 };
                What::ConnectFailed(ConnectFailed {
                    flow,
                    task,
                    dialled,
                    errno,
                    isn: 0,
                    phase,
                    retransmits,
                    icmp: None,
                    ttl: None,
                    peer_ttl: None,
                })
            }
        }
    }
}
