//! Folding: one block for a new fault, then counts that grow by powers of ten, and none lost.

use std::collections::HashMap;
use std::net::IpAddr;

use jiff::Timestamp;

use super::cause::Code;
use super::flow::{Endpoint, Netns};
use super::report::{Outcome, Report};
use super::text::Text;
use crate::firewall::Site;

/// A repeat that was not told yet is told after this long, nanoseconds.
const UNTOLD: u64 = 5_000_000_000;
/// The same for whoever looks on.
const PROMPTLY: u64 = 100_000_000;
/// A fault that was quiet for this long is new when it comes again, nanoseconds.
const QUIET: u64 = 60_000_000_000;
/// Most faults that are kept apart at a time.
const MOST: usize = 4096;

/// What makes two refusals the same fault: never the client's port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Fault {
    code: Code,
    outcome: Outcome,
    benign: bool,
    netns: Option<Netns>,
    client: Option<IpAddr>,
    server: Option<Endpoint>,
    unix: Option<Text>,
    /// The rule or policy that did it: another one is another fault, and takes another fix.
    firewall: Option<Site>,
    /// For a server that could not listen: which program.
    program: Option<Text>,
}

#[derive(Debug)]
struct Counted {
    report: Report,
    told: u64,
    told_at: u64,
    last: u64,
}

/// Counts of the faults of late.
#[derive(Debug, Default)]
pub struct Aggregate {
    faults: HashMap<Fault, Counted>,
    every: bool,
    /// A repeat that was not told yet is told after this long, nanoseconds.
    untold: u64,
    /// Refusals told one by one.
    pub delivered: u64,
    /// Refusals told as part of a count.
    pub aggregated: u64,
}

impl Aggregate {
    /// With `every`, nothing is folded.
    pub fn new(every: bool) -> Self {
        Self { every, untold: UNTOLD, ..Self::default() }
    }

    /// Repeats are told as soon as somebody who looks on would see them.
    #[must_use]
    pub fn promptly(self) -> Self {
        Self { untold: PROMPTLY, ..self }
    }

    /// Takes one refusal in; what is to be told now comes out.
    pub fn take(&mut self, report: Report) -> Option<Report> {
        let now = report.boottime_ns;
        let fault = Fault::of(&report);
        let number = report.count;
        if self.every || (self.faults.len() >= MOST && !self.faults.contains_key(&fault)) {
            self.delivered += 1;
            self.aggregated += number - 1;
            return Some(report);
        }
        if let Some(counted) = self.faults.get_mut(&fault)
            && counted.last.saturating_add(QUIET) > now
        {
            self.aggregated += number;
            let before = counted.report.count;
            counted.add(&report, now);
            return counted.has_grown_tenfold(before).then(|| counted.tell(now));
        }
        self.delivered += 1;
        self.aggregated += number - 1;
        let counted = Counted { report: report.clone(), told: number, told_at: now, last: now };
        self.faults.insert(fault, counted);
        Some(report)
    }

    /// So many more like this one were counted by this time; what is to be told now comes out.
    pub fn add(&mut self, like: &Report, number: u64, time: u64, last: Timestamp) -> Option<Report> {
        self.aggregated += number;
        let fault = Fault::of(like);
        let counted = self.faults.entry(fault).or_insert_with(|| Counted {
            report: Report { count: 0, first: last, ..like.clone() },
            told: 0,
            told_at: time,
            last: time,
        });
        let before = counted.report.count;
        counted.report.count += number;
        counted.report.last = last;
        counted.last = time;
        counted.has_grown_tenfold(before).then(|| counted.tell(time))
    }

    /// Time passed: counts that grew and were not told for a while come out, quiet faults are forgotten.
    pub fn tick(&mut self, now: u64) -> Vec<Report> {
        let untold = self.untold;
        let due = |counted: &&mut Counted| counted.is_untold() && counted.told_at.saturating_add(untold) <= now;
        let mut told: Vec<Report> = self.faults.values_mut().filter(due).map(|counted| counted.tell(now)).collect();
        told.sort_by_key(|report| report.seq);
        self.faults.retain(|_, counted| counted.last.saturating_add(QUIET) > now);
        told
    }

    /// The end: every count that was not told yet.
    pub fn finish(&mut self) -> Vec<Report> {
        let mut rest: Vec<Counted> = self.faults.drain().map(|(_, counted)| counted).collect();
        rest.retain(Counted::is_untold);
        rest.sort_by_key(|counted| counted.report.seq);
        rest.into_iter().map(|counted| counted.report).collect()
    }

    /// A namespace is gone and its number another's: its counts are told for the last time.
    pub fn forget(&mut self, netns: Netns) -> Vec<Report> {
        let gone = self.faults.extract_if(|fault, _| fault.netns == Some(netns));
        let mut told: Vec<Report> =
            gone.filter(|(_, counted)| counted.is_untold()).map(|(_, counted)| counted.report).collect();
        told.sort_by_key(|report| report.seq);
        told
    }

    /// Whether a count waits to be told.
    pub fn has_untold(&self) -> bool {
        self.faults.values().any(Counted::is_untold)
    }
}

impl Counted {
    fn add(&mut self, report: &Report, now: u64) {
        self.report.count += report.count;
        self.report.last = report.last;
        self.last = now;
    }

    fn is_untold(&self) -> bool {
        self.report.count > self.told
    }

    fn has_grown_tenfold(&self, before: u64) -> bool {
        self.report.count.checked_ilog10() > before.max(1).checked_ilog10()
    }

    fn tell(&mut self, now: u64) -> Report {
        self.told = self.report.count;
        self.told_at = now;
        self.report.clone()
    }
}

impl Fault {
    fn of(report: &Report) -> Self {
        let flow = report.flow.as_ref();
        let program = (report.outcome == Outcome::ListenFailed)
            .then(|| report.server_process.as_ref().map(|process| process.comm.clone()))
            .flatten();
        Self {
            code: report.cause.code,
            outcome: report.outcome,
            benign: report.benign,
            netns: flow.map(|flow| flow.netns),
            client: flow.and_then(|flow| flow.client).map(|client| client.ip),
            server: flow.and_then(|flow| flow.server),
            unix: report.unix.as_ref().map(|unix| unix.path.clone()),
            firewall: report.firewall.clone(),
            program,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A refusal of this cause at this time, by this client.
    fn refusal(code: Code, client: &str, time: u64) -> Report {
        let json = serde_json::json!({
            "schema": "redis-trace.refusal/1", "time": "2026-11-23T12:00:00Z", "boottime_ns": time, "seq": time,
            "outcome": "refused", "side": "both",
            "cause": {"code": code, "name": code.name(), "class": code.class(), "confidence": "certain"},
            "summary": "nothing listens", "evidence": [], "fix": [], "client_process": null, "server_process": null,
            "flow": {"protocol": "tcp", "netns": 1, "client": {"ip": client, "port": time % 60_000},
                     "server": {"ip": "127.0.0.1", "port": 6379}},
            "firewall": null, "lsm": null, "queue": null, "unix": null,
            "count": 1, "first": "2026-11-23T12:00:00Z", "last": "2026-11-23T12:00:00Z",
        });
        serde_json::from_value(json).expect("a report")
    }

    #[test]
    fn a_storm_is_told_by_powers_of_ten_and_every_refusal_is_counted() {
        let mut aggregate = Aggregate::new(false);
        let storm = (0..12_345).filter_map(|n| aggregate.take(refusal(Code::RT1001, "10.0.0.1", n)));
        let counts: Vec<u64> = storm.map(|report| report.count).collect();
        assert_eq!(counts, [1, 10, 100, 1000, 10_000]);
        assert!(aggregate.has_untold());
        let rest: Vec<u64> = aggregate.finish().iter().map(|report| report.count).collect();
        assert_eq!(rest, [12_345]);
        assert_eq!((aggregate.delivered, aggregate.aggregated), (1, 12_344));
    }

    #[test]
    fn another_cause_or_client_is_told_at_once_and_a_continuing_fault_every_five_seconds() {
        let mut aggregate = Aggregate::new(false);
        for n in 0..5 {
            aggregate.take(refusal(Code::RT1001, "10.0.0.1", n));
        }
        assert!(aggregate.take(refusal(Code::RT1003, "10.0.0.1", 6)).is_some());
        assert!(aggregate.take(refusal(Code::RT1001, "10.0.0.2", 7)).is_some());
        assert!(aggregate.tick(UNTOLD - 1).is_empty());
        let told: Vec<u64> = aggregate.tick(UNTOLD).iter().map(|report| report.count).collect();
        assert_eq!(told, [5]);
        assert!(!aggregate.has_untold());
        assert!(aggregate.take(refusal(Code::RT1001, "10.0.0.1", 5 + QUIET)).is_some(), "a quiet fault is new");
    }

    #[test]
    fn what_was_counted_and_not_told_is_added_and_told_when_it_has_grown_tenfold() {
        let mut aggregate = Aggregate::new(false);
        let first = refusal(Code::RT1001, "10.0.0.1", 1);
        aggregate.take(first.clone());
        let told = aggregate.add(&first, 5_000, 2, first.last).expect("a thousandfold");
        assert_eq!(told.count, 5_001);
        assert_eq!(aggregate.add(&first, 1, 3, first.last), None);
        assert_eq!((aggregate.delivered, aggregate.aggregated), (1, 5_001));
        // Long after, when the fault would be new, they are still counted.
        aggregate.tick(3 + QUIET);
        assert_eq!(aggregate.finish().len(), 0);
        assert_eq!(aggregate.add(&first, 7, 4 + QUIET, first.last), None);
        assert_eq!(aggregate.finish().iter().map(|report| report.count).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn another_rule_of_the_firewall_is_another_fault() {
        let by = |handle: u64, time| {
            let mut report = refusal(Code::RT3001, "10.0.0.1", time);
            report.firewall = serde_json::from_value(serde_json::json!({
                "backend": "nftables", "owner": null, "family": "inet", "table": "f", "chain": "in", "handle": handle,
                "number": handle, "hook": "input", "rule": "tcp dport 6379 reject", "service": null,
            }))
            .expect("a rule");
            report
        };
        let mut aggregate = Aggregate::new(false);
        assert!(aggregate.take(by(4, 0)).is_some());
        assert!(aggregate.take(by(5, 1)).is_some());
        assert!(aggregate.take(by(4, 2)).is_none());
        let told: Vec<_> = aggregate
            .finish()
            .iter()
            .map(|report| (report.firewall.clone().map(|site| site.handle), report.count))
            .collect();
        assert_eq!(told, [(Some(Some(4)), 2)]);
    }

    #[test]
    fn a_namespace_that_is_gone_is_not_folded_with_its_successor() {
        let mut aggregate = Aggregate::new(false);
        for n in 0..3 {
            aggregate.take(refusal(Code::RT1001, "10.0.0.1", n));
        }
        assert!(aggregate.forget(Netns(2)).is_empty());
        let told: Vec<u64> = aggregate.forget(Netns(1)).iter().map(|report| report.count).collect();
        assert_eq!(told, [3]);
        assert!(aggregate.take(refusal(Code::RT1001, "10.0.0.1", 4)).is_some());
    }

    #[test]
    fn nothing_is_folded_when_every_refusal_is_wanted() {
        let mut aggregate = Aggregate::new(true);
        let told = (0..25).filter_map(|n| aggregate.take(refusal(Code::RT1001, "10.0.0.1", n))).count();
        assert_eq!((told, aggregate.delivered, aggregate.aggregated), (25, 25, 0));
    }
}
