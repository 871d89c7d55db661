//! What the live table shows: causes with their counts and rates, listeners with their queues, and what is wrong with the view.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::super::block::target;
use super::super::line::safe;
use super::super::queues::{Queue, Queues};
use crate::firewall::Site;
use crate::trace::cause::Code;
use crate::trace::flow::Netns;
use crate::trace::report::{HooksReport, Outcome, ProcessReport, Report, Update};

/// A rate is that of so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Most causes that are kept; of more the one that has been quiet for longest goes.
const MOST: usize = 1_000;

/// What tells one row of causes from another: what happened, to whom, where, by which rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    code: Code,
    place: String,
    who: String,
    netns: Option<Netns>,
    firewall: Option<Site>,
}

/// A cause, at one place, of one client.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// As it was told last.
    pub(super) report: Report,
    /// What was dialled.
    pub(super) place: String,
    /// Who dialled, or could not listen.
    pub(super) who: String,
    /// How many before this report's own.
    before: u64,
    /// How many there were, and when that was looked at.
    history: VecDeque<(Duration, u64)>,
}

impl Fault {
    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.before + self.report.count
    }

    /// How many a second of late.
    pub(super) fn rate(&self) -> f64 {
        let (Some((then, before)), Some((now, _))) = (self.history.front(), self.history.back()) else { return 0.0 };
        let seconds = now.saturating_sub(*then).as_secs_f64();
        let grown = f64::from(u32::try_from(self.count().saturating_sub(*before)).unwrap_or(u32::MAX));
        if seconds > 0.0 { grown / seconds } else { 0.0 }
    }

    /// Remembers how many there are by now.
    fn look(&mut self, now: Duration) {
        self.history.push_back((now, self.count()));
        while self.history.get(1).is_some_and(|(then, _)| *then + WINDOW <= now) {
            self.history.pop_front();
        }
    }

    /// Everything that its row says, for the filter.
    fn text(&self) -> String {
        let cause = &self.report.cause;
        format!("{} {} {} {} {}", cause.code, cause.name, self.place, self.who, self.report.summary)
    }
}

/// What is wrong with the view itself.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Hooks that are up, and causes that others hide.
    pub hooks: HooksReport,
    /// Refusals that were seen.
    pub seen: u64,
    /// Records that found no room, of refusals and of all else.
    pub lost: u64,
}

/// What the keyboard is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Choosing a row.
    #[default]
    Rows,
    /// Writing a filter.
    Filter,
    /// Reading the help.
    Help,
}

/// Everything that is shown.
#[derive(Debug)]
pub struct Board {
    /// `redis-trace 0.1.0 · kernel 6.18`, with the filters of the command line.
    pub(super) title: String,
    /// What is wrong with the view.
    pub health: Health,
    /// What the keyboard is for.
    pub mode: Mode,
    /// Only rows that say this are shown.
    pub filter: String,
    pub(super) color: bool,
    pub(super) zone: TimeZone,
    pub(super) selected: usize,
    faults: HashMap<Key, Fault>,
    /// Which row a refusal is in, by its number.
    places: HashMap<u64, Key>,
    /// Listeners, and what waits in their queues.
    pub queues: Queues,
    /// When time passed last, since boot.
    clock: Duration,
    pub(super) now: Option<Timestamp>,
}

impl Board {
    /// Nothing to show yet but what this is; with colours or without, times in this zone.
    pub fn new(title: String, hooks: HooksReport, color: bool, zone: TimeZone) -> Self {
        Self {
            title,
            health: Health { hooks, ..Health::default() },
            mode: Mode::default(),
            filter: String::new(),
            color,
            zone,
            selected: 0,
            faults: HashMap::new(),
            places: HashMap::new(),
            queues: Queues::default(),
            clock: Duration::ZERO,
            now: None,
        }
    }

    /// A refusal was told, or has become many.
    pub(super) fn tell(&mut self, report: &Report) {
        let (place, who) = (target(report).unwrap_or_default(), parties(report));
        let netns = report.flow.as_ref().map(|flow| flow.netns);
        let firewall = report.firewall.clone();
        let key = Key { code: report.cause.code, place: place.clone(), who: who.clone(), netns, firewall };
        let clock = self.clock;
        let fault = self.faults.entry(key.clone()).or_insert_with(|| Fault {
            report: Report { count: 0, ..report.clone() },
            place: safe(&place).into_owned(),
            who: safe(&who).into_owned(),
            before: 0,
            history: VecDeque::from([(clock, 0)]),
        });
        if fault.report.seq != report.seq {
            fault.before += fault.report.count;
            self.places.remove(&fault.report.seq);
        }
        fault.report.clone_from(report);
        self.places.insert(report.seq, key);
        if self.faults.len() > MOST {
            self.forget_one();
        }
    }

    /// A refusal turned out to be something else.
    pub(super) fn correct(&mut self, update: &Update) {
        let Some(fault) = self.places.get(&update.seq).and_then(|key| self.faults.get_mut(key)) else { return };
        if let Some(cause) = &update.cause {
            fault.report.cause = cause.clone();
        }
        fault.report.benign |= update.benign;
        fault.report.summary.clone_from(&update.summary);
    }

    /// Time passed: since boot, and by the wall clock.
    pub fn pass(&mut self, now: Duration, wall: Timestamp) {
        (self.clock, self.now) = (now, Some(wall));
        self.faults.values_mut().for_each(|fault| fault.look(now));
    }

    /// Goes so many rows down, or up.
    pub fn go(&mut self, rows: isize) {
        let last = self.faults().len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(rows).min(last);
    }

    /// The rows of causes that pass the filter, the worst first: what happens most often now, then what happened last.
    pub(super) fn faults(&self) -> Vec<&Fault> {
        let mut rows: Vec<&Fault> = self.faults.values().filter(|fault| self.passes(&fault.text())).collect();
        let urgency = |fault: &Fault| (!fault.report.benign, fault.rate());
        rows.sort_by(|one, other| {
            let ((bad, rate), (worse, faster)) = (urgency(one), urgency(other));
            let later = other.report.last.cmp(&one.report.last);
            worse.cmp(&bad).then(faster.total_cmp(&rate)).then(later).then(one.report.seq.cmp(&other.report.seq))
        });
        rows
    }

    /// The listeners that pass the filter, the fullest first.
    pub(super) fn queues(&self) -> Vec<&Queue> {
        let mut rows = self.queues.fullest_first();
        rows.retain(|queue| self.passes(&queue.text()));
        rows
    }

    /// Whether a row says what the filter wants.
    fn passes(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Drops the row that has been quiet for longest.
    fn forget_one(&mut self) {
        let quietest = self.faults.iter().min_by_key(|(_, fault)| fault.report.last).map(|(key, _)| key.clone());
        if let Some(fault) = quietest.and_then(|key| self.faults.remove(&key)) {
            self.places.remove(&fault.report.seq);
        }
    }
}

/// `python3(4123) 10.0.3.7`: who dialled, or who could not listen.
fn parties(report: &Report) -> String {
    let name = |process: &ProcessReport| format!("{}({})", process.comm, process.pid);
    let who = match report.outcome {
        Outcome::ListenFailed => report.server_process.as_ref(),
        _ => report.client_process.as_ref(),
    };
    let from = report.flow.as_ref().and_then(|flow| flow.client).map(|client| client.ip.to_string());
    who.map(name).into_iter().chain(from).collect::<Vec<_>>().join(" ")
}
