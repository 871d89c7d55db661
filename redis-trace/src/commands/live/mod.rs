//! Facts as they happen: the probes' records, the host's answers, and the passing of time.

mod answers;
mod clock;
mod hooks;
mod namespaces;
mod polling;
mod rules;
mod sandbox;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use redis_trace_common::record::Record;
use tokio::time::{Instant, sleep_until};

use answers::Answers;
use clock::Clock;
pub use hooks::{all_wanted, banner, report as hooks_report};
use namespaces::Namespaces;
use polling::Polling;
pub use sandbox::{Part, enter as enter_sandbox, thread as confined_thread};

use crate::cli::Sandbox;
use crate::failure::Failure;
use crate::host;
use crate::kernel::{self, Cost, HookState, News, Options, Probes, Symbols, Tallies};
use crate::trace::decode::{Names, alike, decode};
use crate::trace::fact::{Fact, Folded, Sight, Watched, What};
use crate::trace::flow::Netns;
use crate::trace::question::Question;
use crate::trace::report::{Lost, Missed};
use crate::trace::text::Text;

/// How long after a record the counts behind it are read: while a flood lasts, at its end, and never in peace.
const COUNTS_AFTER: Duration = Duration::from_millis(200);
/// How long the start may wait for the kernel's counters: without them nothing can be held against them later.
const COUNTERS_AT_START: Duration = Duration::from_secs(5);

/// Probes and host, as one source of facts.
pub struct Live {
    probes: Probes,
    names: Names,
    sight: Sight,
    symbols: Symbols,
    namespaces: Namespaces,
    answers: Answers,
    polling: Polling,
    ready: VecDeque<Fact>,
    counts_at: Option<Instant>,
    clock: Clock,
    /// Listeners that the first look found.
    pub listeners_found: usize,
    /// Namespaces that it found.
    pub namespaces_found: usize,
}

impl Live {
    /// Attaches the probes, then looks at the host: what happens between the two is seen twice, never missed.
    pub async fn start(options: &Options, sandbox: Sandbox) -> Result<Self, Failure> {
        let probes = kernel::attach(options).map_err(Failure::from)?;
        // Looked at once: later the sandbox may hide what it is read from.
        let sight = hooks::sight(probes.hooks(), host::boottime());
        let mut live = Self {
            ready: VecDeque::from(clock_and(sight.clone())),
            sight,
            names: probes.names().clone(),
            symbols: Symbols::default(),
            polling: Polling::beside(probes.hooks()),
            namespaces: Namespaces::default(),
            probes,
            answers: Answers::start(sandbox)?,
            counts_at: None,
            clock: Clock::listen(sandbox)?,
            listeners_found: 0,
            namespaces_found: 0,
        };
        for fact in live.answers.snapshot().await {
            live.polling.note(&fact.what);
            live.note(&fact);
            live.ready.push_back(fact);
        }
        if live.polling.due().is_some() {
            live.answers.poll(live.polling.at_start(), true);
        }
        live.reconcile(COUNTERS_AT_START).await?;
        Ok(live)
    }

    /// How the kernel's counters stand, and what was seen of what they count, becomes a fact.
    pub async fn reconcile(&mut self, within: Duration) -> Result<(), Failure> {
        let counters = self.answers.counters(within).await;
        let tallies = self.probes.tallies();
        let (watched, refusals) = (watched(tallies, &self.namespaces)?.into_values().collect(), tallies.resets()?);
        self.ready.push_back(Fact { time: host::boottime(), what: What::Counted { counters, watched, refusals } });
        Ok(())
    }

    /// The next fact. With `patience`, a tick comes when nothing else did for so long.
    pub async fn next(&mut self, patience: Option<Duration>) -> anyhow::Result<Fact> {
        loop {
            let is_reborn = |fact: &Fact| matches!(fact.what, What::NetnsReborn { .. });
            if self.ready.front().is_some_and(is_reborn) {
                self.read_counts()?;
            }
            if let Some(fact) = self.ready.pop_front() {
                if let What::NetnsReborn { netns } = fact.what {
                    self.answers.forget_rules(netns);
                }
                return Ok(fact);
            }
            let Self { probes, names, symbols, namespaces, answers, polling, ready, counts_at, clock, .. } = self;
            let deadline = Instant::now() + patience.unwrap_or(Duration::from_hours(1));
            let reborn = polling.reborn();
            if !reborn.is_empty() {
                answers.forget(reborn);
            }
            // In this order: nothing has happened for so long only where no record waits to be read.
            tokio::select! {
                biased;
                set = clock.set() => ready.push_back(set),
                () = until(*counts_at) => self.read_counts()?,
                () = until(polling.due()) => answers.poll(polling.turn(), false),
                mut fact = answers.next() => {
                    if matches!(fact.what, What::Overflows(_)) {
                        let seen = watched(probes.tallies(), namespaces)?;
                        polling.settle(&mut fact.what, |netns| seen.get(&netns).map_or(0, |seen| seen.overflows));
                    }
                    ready.push_back(fact);
                }
                read = probes.read(|bytes| {
                    // Ours alone write the ring: a record that is none was counted where it was made.
                    if let Ok(record) = Record::decode(bytes) {
                        name_function(&record, symbols, names);
                        let fact = decode(&record, names);
                        let reborn = namespaces.reborn(&record, fact.time);
                        for what in reborn.iter().chain([&fact]).map(|fact| &fact.what) {
                            polling.note(what);
                        }
                        ready.extend(reborn);
                        if is_refusal(&fact.what) {
                            counts_at.get_or_insert_with(|| Instant::now() + COUNTS_AFTER);
                        }
                        ready.push_back(fact);
                    }
                }) => read?,
                () = sleep_until(deadline) => {
                    self.ready.push_back(Fact { time: host::boottime(), what: What::Tick });
                }
            }
        }
    }

    /// What was counted and not told since the last look becomes facts; another look follows until there was nothing.
    pub fn read_counts(&mut self) -> Result<(), Failure> {
        let tallies = self.probes.tallies();
        let news = tallies.news()?;
        let is_over = news.is_empty() && tallies.is_settled();
        self.counts_at = (!is_over).then(|| Instant::now() + COUNTS_AFTER);
        let time = host::boottime();
        for News { key, number } in news {
            let folded = |alike| Fact { time, what: What::Folded(Folded { number, alike }) };
            let told = key.and_then(|key| alike(&key));
            match key.filter(|key| !self.namespaces.may_be_now(key.netns, key.netns_mix)) {
                None => self.ready.push_back(folded(told)),
                // What was counted in a namespace that is gone comes before all that is of the one with its number.
                Some(key) if self.ready.iter().any(|fact| is_reborn(fact, key.netns)) => {
                    self.ready.push_front(folded(told));
                }
                Some(_) => self.ready.push_back(folded(None)),
            }
        }
        Ok(())
    }

    /// Who found a queue full since the last look becomes a fact, where no probe tells of it.
    pub fn poll(&mut self) {
        if self.polling.due().is_some() {
            self.answers.poll(self.polling.turn(), true);
        }
    }

    /// Has the queues of the listeners in these namespaces looked at; they become facts, unless that takes too much of a
    /// processor.
    pub fn look_at_queues(&self, namespaces: BTreeSet<Netns>) {
        self.answers.look_at_queues(namespaces);
    }

    /// Asks the host; the answer is a fact.
    pub fn ask(&mut self, question: Question) {
        self.answers.ask(question);
    }

    /// What `start` starts, and all that descends from it, is told apart.
    pub fn adopting<T>(&mut self, start: impl FnOnce() -> T) -> Result<T, Failure> {
        self.probes.adopt_children(true)?;
        let started = start();
        self.probes.adopt_children(false)?;
        Ok(started)
    }

    /// What a recording begins with: the time, and what can be seen from now on.
    pub fn beginning(&self) -> [Fact; 2] {
        clock_and(Sight { since: host::boottime(), ..self.sight.clone() })
    }

    /// Looks at the whole host again; what there is becomes facts.
    pub fn look_again(&self) {
        self.answers.look();
    }

    /// What can be seen.
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Every hook and what became of it.
    pub fn hooks(&self) -> &[HookState] {
        self.probes.hooks()
    }

    /// What each probe has cost, by its name.
    pub fn costs(&self) -> HashMap<&str, Cost> {
        self.probes.costs().collect()
    }

    /// Refusals whose records found no room, and other records that found none.
    pub fn lost(&mut self) -> Result<(Lost, Missed), Failure> {
        let records: u64 = self.probes.lost()?.iter().map(|(_, count)| count).sum();
        let ring = self.probes.tallies().lost()?;
        let missed = Missed { records: records.saturating_sub(ring), probes: self.probes.missed() };
        Ok((Lost { ring, ..Lost::default() }, missed))
    }

    /// Refusals whose records the probes have sent.
    pub fn sent(&self) -> Result<u64, Failure> {
        Ok(self.probes.sent()?)
    }

    /// Has the ends of processes that already listen told.
    fn note(&mut self, fact: &Fact) {
        let owners: BTreeSet<u32> = match &fact.what {
            What::Sockets { sockets, port: None, .. } => {
                let listening = sockets.iter().filter(|bound| bound.listening);
                self.namespaces_found += 1;
                self.listeners_found += listening.clone().count();
                listening.filter_map(|bound| bound.owner.as_ref()).map(|owner| owner.pid).collect()
            }
            What::UnixListeners { listeners, .. } => listeners.iter().map(|listener| listener.owner.pid).collect(),
            _ => return,
        };
        for pid in owners {
            // A full map costs the reason of an end, not the end: that is seen at the listener itself.
            let _ = self.probes.watch_process(pid);
        }
    }
}

/// Whether this fact says that a namespace has the number of another.
fn is_reborn(fact: &Fact, number: u32) -> bool {
    matches!(fact.what, What::NetnsReborn { netns } if netns.0 == number)
}

/// Looks up the function that a record names by an address.
fn name_function(record: &Record, symbols: &mut Symbols, names: &mut Names) {
    if let Record::Dropped(dropped) = record
        && let Some(function) = symbols.function(dropped.location)
    {
        names.functions.entry(dropped.location).or_insert_with(|| Text::from(function));
    }
}

/// What the probes saw in each network namespace that may still be there.
fn watched(tallies: &Tallies, namespaces: &Namespaces) -> Result<HashMap<Netns, Watched>, Failure> {
    let mut all: HashMap<Netns, Watched> = HashMap::new();
    for ([netns, mix], seen) in tallies.watched()? {
        if namespaces.may_be_now(netns, mix) {
            let nothing = Watched { netns: Netns(netns), resets: 0, failures: 0, overflows: 0 };
            let sum = all.entry(Netns(netns)).or_insert(nothing);
            sum.resets += seen.resets;
            sum.failures += seen.failures;
            sum.overflows += seen.overflows;
        }
    }
    Ok(all)
}

/// Whether a flood may begin with this.
fn is_refusal(what: &What) -> bool {
    matches!(
        what,
        What::Reset(_)
            | What::ConnectFailed(_)
            | What::Dropped(_)
            | What::UnixConnect { .. }
            | What::Bind(_)
            | What::QueueFull(_)
            | What::AcceptFailed(_)
            | What::EarlyEnd(_)
    )
}

/// Waits for the moment, for ever when there is none.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn clock_and(sight: Sight) -> [Fact; 2] {
    let clock = clock::reading();
    let sight = Fact { time: clock.time, what: What::Sight(sight) };
    [clock, sight]
}
