//! Which verdict the refusals have that were counted and not told: that of the last sample of those that are alike.

use std::collections::HashMap;

use super::fact::{Alike, Folded};
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

/// The last verdict of each kind, and counts that wait for the first.
#[derive(Debug)]
pub struct Folding {
    verdicts: Remembered<Alike, Report>,
    waiting: HashMap<Alike, u64>,
    /// Refusals that no sample stands for.
    unattributed: u64,
}

impl Default for Folding {
    fn default() -> Self {
        Self { verdicts: Remembered::new(BOUNDS), waiting: HashMap::new(), unattributed: 0 }
    }
}

impl Folding {
    /// A refusal was judged: those like it that were counted before have its verdict, and those to come.
    pub fn judged(&mut self, time: u64, refusal: &Refusal, report: &Report) -> Option<More> {
        let alike = kind(refusal)?;
        self.verdicts.insert(time, alike.clone(), report.clone());
        let number = self.waiting.extract_if(|waiting, _| fits(waiting, &alike)).map(|(_, number)| number).sum();
        (number > 0).then(|| More { like: report.clone(), number, time })
    }

    /// Refusals were counted.
    pub fn counted(&mut self, time: u64, folded: &Folded) -> Option<More> {
        let Folded { number, alike } = folded;
        let Some(alike) = alike else {
            self.unattributed += number;
            return None;
        };
        match self.verdict(alike) {
            Some(like) => Some(More { like: like.clone(), number: *number, time }),
            None if self.waiting.len() < BOUNDS.number || self.waiting.contains_key(alike) => {
                *self.waiting.entry(alike.clone()).or_default() += number;
                None
            }
            None => {
                self.unattributed += number;
                None
            }
        }
    }

    /// Refusals that were counted and that no verdict stands for, so far.
    pub fn unattributed(&self) -> u64 {
        self.unattributed + self.waiting.values().sum::<u64>()
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
fn kind(refusal: &Refusal) -> Option<Alike> {
    match &refusal.attempt {
        Attempt::Connect(connect) => {
            let flow = connect.flow()?;
            let (netns, client, server) = (flow.netns, flow.client.ip, flow.server);
            Some(match connect.server {
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
        // An exit is no call that can be repeated by the thousand.
        Attempt::Start(_) => None,
    }
}
