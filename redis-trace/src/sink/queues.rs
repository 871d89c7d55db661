//! Listeners and what waits in their queues, as whoever looks on sees them.

use std::collections::HashMap;

use super::line::safe;
use crate::trace::fact::{BoundSocket, Fact, Process, What};
use crate::trace::flow::Netns;
use crate::trace::known::Known;

/// A listener and its accept queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    /// Where it listens.
    pub(super) place: String,
    /// The name of the process whose it is; empty when not known.
    pub(super) comm: String,
    /// That process.
    pid: Option<u32>,
    /// How many wait.
    pub(super) queued: u32,
    /// How many may; one more fits.
    pub(super) limit: u32,
    /// Its network namespace.
    pub(super) netns: String,
}

impl Queue {
    /// No more fits.
    pub(super) fn is_full(&self) -> bool {
        self.queued > self.limit
    }

    /// How full it is: 1 and more is full.
    fn fullness(&self) -> f64 {
        f64::from(self.queued) / (f64::from(self.limit) + 1.0)
    }

    /// `redis-server(991)`.
    pub(super) fn owner(&self) -> String {
        self.pid.map_or_else(String::new, |pid| format!("{}({pid})", self.comm))
    }

    /// All that is known of it, for the filter.
    pub(super) fn text(&self) -> String {
        format!("{} {} {}", self.place, self.owner(), self.netns)
    }
}

/// All listeners, by network namespace.
#[derive(Debug, Default)]
pub struct Queues {
    by_netns: HashMap<Netns, Vec<Queue>>,
}

impl Queues {
    /// What a fact says of queues, with whom `known` names as their owners.
    pub fn take(&mut self, fact: &Fact, known: &Known) {
        match &fact.what {
            What::Sockets { netns, port: None, sockets, .. } => {
                let name = known.namespace(*netns).and_then(|namespace| namespace.name.as_ref());
                let name = name.map_or_else(|| netns.0.to_string(), ToString::to_string);
                self.listeners(*netns, &name, sockets, |bound| known.listeners.owner(&bound.socket));
            }
            // A namespace that is gone has no listeners.
            What::NetnsReborn { netns } | What::Unreadable { netns, .. } => drop(self.by_netns.remove(netns)),
            _ => {}
        }
    }

    /// The listeners of a namespace, with their queues; who owns them is asked of `owner`.
    pub(super) fn listeners<'a>(
        &mut self,
        netns: Netns,
        name: &str,
        sockets: &[BoundSocket],
        owner: impl Fn(&BoundSocket) -> Option<&'a Process>,
    ) {
        let queue = |bound: &BoundSocket| {
            let owner = owner(bound);
            Some(Queue {
                place: bound.socket.local.to_string(),
                comm: owner.map_or_else(String::new, |process| safe(process.comm.as_str()).into_owned()),
                pid: owner.map(|process| process.pid),
                queued: bound.queued?,
                limit: bound.backlog?,
                netns: safe(name).into_owned(),
            })
        };
        self.by_netns.insert(netns, sockets.iter().filter(|bound| bound.listening).filter_map(queue).collect());
    }

    /// All of them, the fullest first.
    pub(super) fn fullest_first(&self) -> Vec<&Queue> {
        let mut rows: Vec<(&Queue, String)> =
            self.by_netns.values().flatten().map(|queue| (queue, queue.text())).collect();
        rows.sort_by(|(one, text), (other, words)| {
            let fuller = other.fullness().total_cmp(&one.fullness());
            fuller.then(other.queued.cmp(&one.queued)).then_with(|| text.cmp(words))
        });
        rows.into_iter().map(|(queue, _)| queue).collect()
    }
}
