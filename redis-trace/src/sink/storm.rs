//! Storms: what repeats of one refusal add up to, and the line that says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::block::target;
use super::grouped;
use crate::trace::cause::Code;
use crate::trace::flow::Netns;
use crate::trace::report::{Outcome, Report};
use crate::trace::text::Text;

/// Clients that are told apart in one storm; those beyond are counted together.
const CLIENTS_MAX: usize = 4096;

/// What the repeats of a refusal have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The cause.
    pub(super) code: Code,
    /// What was dialled; absent when that is not known, and for the rest of a flood over many addresses.
    pub(super) target: Option<String>,
    /// Where.
    netns: Option<Netns>,
    /// Which program, when it is a server that could not listen.
    program: Option<Text>,
}

impl Key {
    /// Of this refusal.
    pub(super) fn of(report: &Report) -> Self {
        let netns = report.flow.as_ref().map(|flow| flow.netns);
        let server = report.server_process.as_ref().filter(|_| report.outcome == Outcome::ListenFailed);
        let program = server.map(|process| process.comm.clone());
        Self { code: report.cause.code, target: target(report), netns, program }
    }

    /// Of all refusals with this cause that are too many to be told one by one.
    pub(super) fn rest(code: Code) -> Self {
        Self { code, target: None, netns: None, program: None }
    }
}

/// Repeats of one refusal.
#[derive(Debug)]
pub(super) struct Storm {
    /// How many by client and by what was dialled.
    tallies: BTreeMap<Party, Tally>,
    /// Those for whom there was no room above.
    others: u64,
    first: Timestamp,
    last: Timestamp,
    /// How many had been told when it was last told.
    told: u64,
    /// Ticks since it last grew.
    pub(super) quiet: u32,
    /// Ticks since it was last told.
    pub(super) silent: u32,
}

/// A client, and what it dialled.
type Party = (Option<IpAddr>, Option<String>);

/// Who met this refusal, and at what.
fn party(report: &Report) -> Party {
    let client = report.flow.as_ref().and_then(|flow| flow.client).map(|client| client.ip);
    (client, target(report))
}

/// How many refusals one client met. The count that comes with a report is a running one, and may begin anew.
#[derive(Clone, Copy, Debug)]
struct Tally {
    before: u64,
    now: u64,
    first: Timestamp,
}

impl Storm {
    /// Nothing yet, of which `told` refusals were told in a block.
    pub(super) fn new(report: &Report, told: u64) -> Self {
        let mut storm = Self {
            tallies: BTreeMap::new(),
            others: 0,
            first: report.first,
            last: report.last,
            told,
            quiet: 0,
            silent: 0,
        };
        storm.add(report);
        storm
    }

    /// One more, or as many as its running count says.
    pub(super) fn add(&mut self, report: &Report) {
        self.quiet = 0;
        self.first = self.first.min(report.first);
        self.last = self.last.max(report.last);
        let key = party(report);
        if self.tallies.len() >= CLIENTS_MAX && !self.tallies.contains_key(&key) {
            self.others += 1;
            return;
        }
        let tally = self.tallies.entry(key).or_insert(Tally { before: 0, now: 0, first: report.first });
        if report.first != tally.first {
            tally.before += tally.now;
            tally.first = report.first;
        }
        tally.now = report.count;
    }

    /// Whether this refusal's client and address are among those it counts.
    pub(super) fn knows(&self, report: &Report) -> bool {
        self.tallies.contains_key(&party(report))
    }

    /// How many there were.
    pub(super) fn total(&self) -> u64 {
        self.others + self.tallies.values().map(|tally| tally.before + tally.now).sum::<u64>()
    }

    /// Whether there were more than were told.
    pub(super) fn is_news(&self) -> bool {
        self.total() > self.told
    }

    /// Whether it has come to 10, 100, 1000 … since it was last told.
    pub(super) fn is_milestone(&self) -> bool {
        let total = self.total();
        total > self.told && total.checked_ilog10() > self.told.checked_ilog10()
    }

    /// It has been told as it stands.
    pub(super) fn tell(&mut self) {
        self.told = self.total();
        self.silent = 0;
    }

    /// When the last one was.
    pub(super) fn last(&self) -> Timestamp {
        self.last
    }

    /// `×12,431 in 18 s (690/s) from 3 clients, top 10.0.3.7 88 %`.
    pub(super) fn phrase(&self) -> String {
        let total = self.total();
        let seconds = self.last.duration_since(self.first).as_secs_f64();
        let rate = if seconds >= 1.0 { rate(total, seconds) } else { String::new() };
        format!("×{} in {}{rate}{}", grouped(total), span(seconds), self.clients(total))
    }

    /// ` from 3 clients, top 10.0.3.7 88 %`.
    fn clients(&self, total: u64) -> String {
        let mut clients: BTreeMap<IpAddr, u64> = BTreeMap::new();
        for ((client, _), tally) in &self.tallies {
            if let Some(client) = client {
                *clients.entry(*client).or_default() += tally.before + tally.now;
            }
        }
        match clients.iter().max_by_key(|(_, count)| **count) {
            None => String::new(),
            Some((client, _)) if clients.len() == 1 => format!(" from {client}"),
            Some((client, count)) => {
                let more = if self.others > 0 { "more than " } else { "" };
                let share = count * 100 / total.max(1);
                format!(" from {more}{} clients, top {client} {share} %", grouped(clients.len() as u64))
            }
        }
    }
}

/// ` (690/s)`, or by the minute when that reads better.
fn rate(total: u64, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate is told in three digits")]
    let rate = total as f64 / seconds;
    if rate >= 1.0 { format!(" ({rate:.0}/s)") } else { format!(" ({:.0}/min)", rate * 60.0) }
}

/// A span of time as people say it: `14 ms`, `4.1 s`, `18 s`, `12 min`, `3.1 h`.
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => "under 1 ms".to_owned(),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
