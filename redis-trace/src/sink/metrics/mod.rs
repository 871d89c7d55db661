//! What is counted for whoever scrapes it: refusals by cause and by what was dialled, listeners with their queues, how the view
//! itself stands, and what servers say of themselves where they are asked. However many there are, a scrape has at most
//! [`SERIES`].

mod page;
mod servers;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use super::block::target;
use super::line::safe;
use super::{Queues, Sink};
use crate::trace::cause::Code;
use crate::trace::fact::{Fact, What};
use crate::trace::known::Known;
use crate::trace::report::{Outcome, Report, Summary, Update};

pub use servers::{SERVERS, Server};

/// Most series of one scrape.
pub const SERIES: usize = 2_000;
/// Most series of refusals that say what was dialled.
const REFUSALS: usize = 400;
/// Most listeners that are told one by one, with two series each.
const LISTENERS: usize = 150;
/// What stands for all that are not told one by one.
const OTHER: &str = "_other";

/// What tells one series of refusals from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Kind {
    code: Code,
    outcome: Outcome,
    benign: bool,
    server: String,
}

impl Kind {
    fn of(report: &Report) -> Self {
        let server = target(report).unwrap_or_default();
        let Report { outcome, benign, .. } = report;
        Self { code: report.cause.code, outcome: *outcome, benign: *benign, server: safe(&server).into_owned() }
    }
}

/// What was counted and seen.
#[derive(Debug, Default)]
pub struct Metrics {
    refusals: HashMap<Kind, u64>,
    /// Of a cause, whatever was dialled.
    others: HashMap<Kind, u64>,
    queues: Queues,
    queues_read: Option<Timestamp>,
}

impl Metrics {
    /// So many like this.
    fn count(&mut self, report: &Report, number: u64) {
        *self.refusals.entry(Kind::of(report)).or_default() += number;
        if self.refusals.len() > REFUSALS {
            self.give_up_half();
        }
    }

    /// Those that were counted least are told together from now on: whoever goes through all ports takes no room for ever.
    fn give_up_half(&mut self) {
        let mut all: Vec<(Kind, u64)> = self.refusals.drain().collect();
        all.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
        for (kind, number) in all.split_off(REFUSALS / 2) {
            *self.others.entry(Kind { server: OTHER.to_owned(), ..kind }).or_default() += number;
        }
        self.refusals.extend(all);
    }

    /// What a fact says of queues, once it is known.
    pub fn take(&mut self, fact: &Fact, known: &Known, wall: Timestamp) {
        if matches!(fact.what, What::Sockets { port: None, .. }) {
            self.queues_read = Some(wall);
        }
        self.queues.take(fact, known);
    }
}

/// How the view itself stands at the moment of a scrape.
#[derive(Debug, Default)]
pub struct Standing {
    /// What was seen, told and lost so far.
    pub summary: Summary,
    /// The probes that are wanted on this kernel.
    pub probes: Vec<Probe>,
    /// The servers that are asked how they are.
    pub servers: Vec<Server>,
    /// Whether the recording, where one is made, is whole so far.
    pub recording: Option<bool>,
    /// What became of the records for a collector, where there is one.
    pub delivery: Option<Arc<Delivery>>,
    /// What this process costs; absent where the kernel does not say.
    pub process: Option<Process>,
    /// The kernel's release.
    pub kernel: String,
}

/// A probe, and what it costs.
#[derive(Debug)]
pub struct Probe {
    /// Its name.
    pub name: &'static str,
    /// The kernel point that it is on.
    pub hook: &'static str,
    /// It is attached.
    pub is_up: bool,
    /// Times that it was not run because another was running on the same processor.
    pub misses: Option<u64>,
    /// Times that it was run and the seconds that took: only where the administrator has the kernel measure that.
    pub ran: Option<(u64, f64)>,
}

/// What became of the records for a collector.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Handed over for it.
    pub seen: AtomicU64,
    /// Taken by it.
    pub delivered: AtomicU64,
    /// Found no room, or were not taken.
    pub lost: AtomicU64,
}

impl Delivery {
    /// Those that it has not got: lost, or not sent yet.
    pub fn undelivered(&self) -> u64 {
        self.seen.load(Ordering::Relaxed).saturating_sub(self.delivered.load(Ordering::Relaxed))
    }
}

/// What this process costs.
#[derive(Debug)]
pub struct Process {
    /// Seconds of a processor.
    pub cpu_seconds: f64,
    /// Bytes of memory in use.
    pub resident_bytes: u64,
    /// When it started, seconds since 1970.
    pub started: f64,
}

/// Counts what is told, for whoever holds the metrics.
pub struct Counter(pub Rc<RefCell<Metrics>>);

impl Sink for Counter {
    fn count(&mut self, like: &Report, number: u64) {
        self.0.borrow_mut().count(like, number);
    }

    fn report(&mut self, _: &Report) -> io::Result<()> {
        Ok(())
    }

    fn update(&mut self, _: &Update) -> io::Result<()> {
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, _: &Summary) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
