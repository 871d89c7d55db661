//! Which verdict the refusals have that were counted and not told: that of the last sample of those that are alike.

use std::collections::HashMap;

use super::fact::{Alike, Folded};
use super::filter::Filter;
use super::flow::{Flow, Netns};
use super::refusal::{Attempt, Refusal};
use super::remembered::{Bounds, Remembered};
use super::report::Report;

/// Kinds of refusals whose last verdict is remembered, and for how long, nanoseconds.
const BOUNDS: Bounds = Bounds { number: 4_096, age: 600_000_000_000 };

/// So many more refusals like this one.
#[derive(Clone, Debug, PartialEq)]
pub struct More {
    /// The last of them that was told.
    pub like: Report,
    /// How many.
    pub number: u64,
    /// When they had been counted, boottime nanoseconds.
    pub time: u64,
}

/// Refusals that no verdict stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unattributed {
    /// Those that the filter lets through.
    pub wanted: u64,
    /// Those of which too little is known to say.
    pub unfiltered: u64,
}

/// The last verdict of each kind, and counts that wait for the first.
#[derive(Debug)]
pub struct Folding {
    verdicts: Remembered<Alike, Report>,
    /// Kinds that were looked into and are no refusals.
    dismissed: Remembered<Alike, ()>,
    waiting: HashMap<Alike, u64>,
    /// Those that wait for none any more, by kind where there is room.
    unattributed: HashMap<Option<Alike>, u64>,
    /// Since when a number is another namespace's.
    reborn: Remembered<Netns, u64>,
}

impl Default for Folding {
    fn default() -> Self {
        Self {
            verdicts: Remembered::new(BOUNDS),
            dismissed: Remembered::new(BOUNDS),
            waiting: HashMap::new(),
            unattributed: HashMap::new(),
            reborn: Remembered::new(BOUNDS),
        }
    }
}

impl Folding {
    /// A refusal was judged: those like it that were counted before have its verdict, and those to come.
    pub fn judged(&mut self, time: u64, refusal: &Refusal, report: &Report) -> Option<More> {
        let alike = kind(refusal)?;
        let number = if self.is_of_another(&alike, refusal) {
            self.unattributed.remove(&Some(alike)).unwrap_or_default()
        } else {
            self.dismissed.remove(&alike);
            self.verdicts.insert(time, alike.clone(), report.clone());
            self.waiting.extract_if(|waiting, _| fits(waiting, &alike)).map(|(_, number)| number).sum()
        };
        (number > 0).then(|| More { like: report.clone(), number, time })
    }

    /// What looked like a refusal is none: nor are those like it.
    pub fn dismissed(&mut self, time: u64, refusal: &Refusal) {
        let Some(alike) = kind(refusal).filter(|alike| !self.is_of_another(alike, refusal)) else { return };
        self.waiting.remove(&alike);
        self.dismissed.insert(time, alike, ());
    }

    /// Refusals were counted.
    pub fn counted(&mut self, time: u64, folded: &Folded) -> Option<More> {
        let Folded { number, alike } = folded;
        let Some(alike) = alike else {
            self.give_up(None, *number);
            return None;
        };
        if self.dismissed.get(alike).is_some() {
            return None;
        }
        if let Some(like) = self.verdict(alike) {
            return Some(More { like: like.clone(), number: *number, time });
        }
        if self.waiting.len() < BOUNDS.number || self.waiting.contains_key(alike) {
            *self.waiting.entry(alike.clone()).or_default() += number;
        } else {
            self.give_up(Some(alike.clone()), *number);
        }
        None
    }

    /// A namespace is gone and its number another's, in which what is counted waits for a verdict of its own.
    pub fn forget(&mut self, time: u64, netns: Netns) {
        let is_elsewhere = |alike: &Alike| alike.netns() != Some(netns);
        self.verdicts.retain(is_elsewhere);
        self.dismissed.retain(is_elsewhere);
        let left: Vec<_> = self.waiting.extract_if(|alike, _| !is_elsewhere(alike)).collect();
        for (alike, number) in left {
            self.give_up(Some(alike), number);
        }
        self.reborn.insert(time, netns, time);
    }

    /// No verdict is waited for.
    fn give_up(&mut self, alike: Option<Alike>, number: u64) {
        let has_room = self.unattributed.len() < BOUNDS.number || self.unattributed.contains_key(&alike);
        *self.unattributed.entry(alike.filter(|_| has_room)).or_default() += number;
    }

    /// Whether a refusal was in a namespace that is gone, and whose number is another's.
    fn is_of_another(&self, alike: &Alike, refusal: &Refusal) -> bool {
        let reborn = alike.netns().and_then(|netns| self.reborn.get(&netns));
        reborn.is_some_and(|reborn| refusal.time < *reborn)
    }

    /// Refusals that were counted and that no verdict stands for, so far, as far as this filter lets them through.
    pub fn unattributed(&self, filter: &Filter) -> Unattributed {
        let waiting = self.waiting.iter().map(|(alike, number)| (Some(alike), number));
        let given_up = self.unattributed.iter().map(|(alike, number)| (alike.as_ref(), number));
        let mut sum = Unattributed::default();
        for (alike, number) in waiting.chain(given_up) {
            match filter.wants_alike(alike) {
                Some(true) => sum.wanted += number,
                Some(false) => {}
                None => sum.unfiltered += number,
            }
        }
        sum
    }

    fn verdict(&self, alike: &Alike) -> Option<&Report> {
        match alike {
            Alike::Unix { .. } => {
                let known = self.verdicts.iter().filter(|(known, _)| fits(alike, known));
                known.map(|(_, report)| report).max_by_key(|report| report.seq)
            }
            _ => self.verdicts.get(alike),
        }
    }
}

/// Whether what was counted is of this kind: of a unix socket's path the probes count by the end alone.
fn fits(counted: &Alike, kind: &Alike) -> bool {
    match (counted, kind) {
        (Alike::Unix { pid, errno, tail }, Alike::Unix { pid: other, errno: theirs, tail: path }) => {
            pid == other && errno == theirs && path.as_str().ends_with(tail.as_str())
        }
        _ => counted == kind,
    }
}

/// What a refusal was counted under, with the whole path of a unix socket for its end.
pub(super) fn kind(refusal: &Refusal) -> Option<Alike> {
    match &refusal.attempt {
        Attempt::Connect(connect) => {
            // A clue is not counted where it was dropped, but at the end that waited for it.
            let is_counted = connect.dropped.as_ref().is_some_and(|dropped| !dropped.is_clue());
            let waited = connect.client.as_ref().filter(|_| !is_counted && connect.server.is_none());
            let flow = waited.map(|client| &client.flow).or(connect.flow())?;
            let (netns, client, server) = (flow.netns, flow.client.ip, flow.server);
            Some(match connect.server {
                _ if is_counted => Alike::Dropped { netns, client, server },
                Some(_) => Alike::Server { netns, client, server },
                None => Alike::Client { netns, client, server },
            })
        }
        Attempt::Unix { task, errno, path } => {
            Some(Alike::Unix { pid: task.pid, errno: *errno, tail: path.text().clone() })
        }
        Attempt::Listen(bind) => {
            Some(Alike::Listen { pid: bind.task.pid, errno: bind.errno, port: bind.socket.local.port })
        }
        Attempt::Socket { task, errno, .. } => Some(Alike::Listen { pid: task.pid, errno: *errno, port: 0 }),
        Attempt::Accept(failed) => {
            Some(Alike::Listen { pid: failed.task.pid, errno: failed.errno, port: failed.socket.local.port })
        }
        Attempt::Overflow(overflow) => {
            let Flow { netns, client, server, .. } = overflow.flow;
            Some(Alike::Queue { netns, client: client.ip, server })
        }
        Attempt::Early(end) => {
            let Flow { netns, client, server, .. } = end.flow;
            Some(Alike::Early { netns, client: client.ip, server, how: end.kind })
        }
        // Two have their number with them, and an exit is no call that can be repeated by the thousand.
        Attempt::Counted(_) | Attempt::Closed(_) | Attempt::Start(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::trace::fact::{Overflow, QueueKind, Socket, Task, UnixPath};
    use crate::trace::flow::Endpoint;
    use crate::trace::text::Text;

    /// A unix socket that process 9 dialled in vain.
    fn dialled(path: &str) -> Refusal {
        let comm = Text::from("php-fpm");
        let task = Task { pid: 9, tid: 9, uid: 0, netns: Netns(7), start: 0, cgroup: 1, comm, family: false };
        let attempt = Attempt::Unix { task, errno: 2, path: UnixPath::File(Text::from(path)) };
        Refusal { time: 1, attempt, benign: false }
    }

    fn report(seq: u64) -> Report {
        let json = serde_json::json!({
            "schema": "redis-trace.refusal/1", "time": "2026-11-23T12:00:00Z", "boottime_ns": 1, "seq": seq,
            "outcome": "denied", "side": "client",
            "cause": {"code": "RT1016", "name": "unix-socket-missing", "class": "no_listener", "confidence": "certain"},
            "summary": "", "evidence": [], "fix": [], "client_process": null, "server_process": null, "flow": null,
            "firewall": null, "lsm": null, "queue": null, "unix": null,
            "count": 1, "first": "2026-11-23T12:00:00Z", "last": "2026-11-23T12:00:00Z",
        });
        serde_json::from_value(json).expect("a report")
    }

    fn unattributed(wanted: u64, unfiltered: u64) -> Unattributed {
        Unattributed { wanted, unfiltered }
    }

    fn counted(tail: &str) -> Folded {
        Folded { number: 5, alike: Some(Alike::Unix { pid: 9, errno: 2, tail: Text::from(tail) }) }
    }

    #[test]
    fn what_was_counted_has_the_verdict_of_the_sample_like_it() {
        let mut folding = Folding::default();
        assert_eq!(folding.judged(1, &dialled("/run/one.sock"), &report(1)), None);
        assert_eq!(folding.judged(2, &dialled("/run/two.sock"), &report(2)), None);
        let more = folding.counted(3, &counted("un/one.sock")).expect("a sample is known");
        assert_eq!((more.like.seq, more.number), (1, 5));
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(0, 0));
    }

    #[test]
    fn what_was_counted_before_its_sample_was_judged_waits_and_without_any_has_no_verdict() {
        let mut folding = Folding::default();
        assert_eq!(folding.counted(1, &counted("un/one.sock")), None);
        assert_eq!(folding.counted(1, &Folded { number: 3, alike: None }), None);
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(8, 0));
        let more = folding.judged(2, &dialled("/run/one.sock"), &report(1)).expect("five waited");
        assert_eq!(more.number, 5);
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(3, 0));
    }

    /// A SYN that found a full queue of this namespace at this time.
    fn overflow(netns: u32, time: u64) -> Refusal {
        let end = Endpoint { ip: IpAddr::from([10, 0, 0, 2]), port: 6379 };
        let (netns, queue) = (Netns(netns), QueueKind::Syn);
        let flow = Flow { netns, client: end, server: end, ifindex: 1 };
        let socket = Socket { netns, local: end, ipv6: false, v6only: false, ifindex: 0, inode: 5 };
        let attempt = Attempt::Overflow(Overflow {
            flow,
            socket,
            isn: 1,
            queue,
            by_ack: false,
            reset: false,
            length: 1,
            limit: 1,
        });
        Refusal { time, attempt, benign: false }
    }

    #[test]
    fn what_is_counted_in_a_namespace_with_the_number_of_another_waits_for_a_verdict_of_its_own() {
        let mut folding = Folding::default();
        let [here, there] = [7, 8].map(|netns| overflow(netns, 1));
        for (seq, refusal) in [(1, &here), (2, &there)] {
            assert_eq!(folding.judged(1, refusal, &report(seq)), None);
        }
        let counted = |refusal: &Refusal| Folded { number: 3, alike: kind(refusal) };
        folding.forget(2, Netns(7));
        assert_eq!(folding.counted(3, &counted(&here)), None);
        assert_eq!(folding.counted(3, &counted(&there)).expect("of another namespace").like.seq, 2);
        assert_eq!(folding.judged(4, &here, &report(3)), None, "it was in the namespace that is gone");
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(3, 0));
        let more = folding.judged(5, &overflow(7, 3), &report(4)).expect("three waited");
        assert_eq!((more.like.seq, more.number), (4, 3));
    }

    #[test]
    fn what_waited_in_a_namespace_that_is_gone_gets_no_verdict_of_its_successor() {
        let mut folding = Folding::default();
        let counted = |number| Folded { number, alike: kind(&overflow(7, 1)) };
        assert_eq!(folding.counted(1, &counted(3)), None);
        folding.forget(2, Netns(7));
        assert_eq!(folding.judged(3, &overflow(7, 3), &report(1)), None);
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(3, 0));
        let more = folding.judged(4, &overflow(7, 1), &report(2)).expect("three were of its namespace");
        assert_eq!((more.like.seq, more.number), (2, 3));
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(0, 0));
        assert_eq!(folding.counted(5, &counted(4)).expect("a sample is known").like.seq, 1);
    }

    #[test]
    fn of_what_has_no_verdict_only_that_is_wanted_which_is_known_to_pass_the_filter() {
        let mut folding = Folding::default();
        let dialled = |port| Alike::Server {
            netns: Netns(7),
            client: IpAddr::from([10, 0, 0, 1]),
            server: Endpoint { ip: IpAddr::from([10, 0, 0, 2]), port },
        };
        for (number, alike) in [(3, Some(dialled(6379))), (4, Some(dialled(80))), (5, None)] {
            assert_eq!(folding.counted(1, &Folded { number, alike }), None);
        }
        let filter = |flag: &str| Filter { port: vec![flag.parse().expect("a port")], ..Filter::default() };
        assert_eq!(folding.unattributed(&Filter::default()), unattributed(12, 0));
        assert_eq!(folding.unattributed(&filter("6379")), unattributed(3, 5));
        assert_eq!(folding.unattributed(&filter("!6379")), unattributed(4, 5));
        let by_name = Filter { comm: vec!["php*".parse().expect("a pattern")], ..filter("6379") };
        assert_eq!(folding.unattributed(&by_name), unattributed(0, 8));
    }
}
