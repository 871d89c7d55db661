//! When the counters of full queues are looked at: once a second, in every namespace that has a listener, where no probe
//! tells who found a queue full.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use redis_trace_common::hook::Role;
use tokio::time::Instant;

use crate::kernel::{HookState, State};
use crate::trace::fact::{Overflows, QueueKind, What};
use crate::trace::flow::Netns;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// The namespaces to look at, and when.
#[derive(Debug)]
pub(super) struct Polling {
    /// Absent where probes tell.
    due: Option<Instant>,
    /// A probe tells of SYN queues.
    syn_is_told: bool,
    namespaces: BTreeSet<Netns>,
    /// Those that were there at the start, with listeners or without.
    old: BTreeSet<Netns>,
    counted: HashMap<Netns, Ledger>,
    /// Namespaces that are new, perhaps under the number of one that is gone.
    reborn: Vec<Netns>,
}

/// Packets that found an accept queue full.
#[derive(Clone, Copy, Debug, Default)]
struct Ledger {
    /// As the kernel counts them.
    counted: u64,
    /// Of them, those that were told because of it.
    told: u64,
}

impl Polling {
    /// What these hooks do not tell.
    pub(super) fn beside(hooks: &[HookState]) -> Self {
        let mut of_queues = hooks.iter().filter(|hook| hook.hook.role == Role::Queues);
        let is_told = of_queues.clone().all(|hook| hook.state == State::Up);
        let syn_is_told = of_queues.all(|hook| hook.hook.target != "tcp_conn_request" || hook.state == State::Up);
        Self {
            due: (!is_told).then(Instant::now),
            syn_is_told,
            namespaces: BTreeSet::new(),
            old: BTreeSet::new(),
            counted: HashMap::new(),
            reborn: Vec::new(),
        }
    }

    /// When the next look is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// All that were there at the start: what they have counted so far is no news.
    pub(super) fn at_start(&self) -> Vec<Netns> {
        self.old.iter().copied().collect()
    }

    /// The namespaces for this look; the next is due in a while.
    pub(super) fn turn(&mut self) -> Vec<Netns> {
        self.due = self.due.map(|_| Instant::now() + EVERY);
        self.namespaces.iter().copied().collect()
    }

    /// Leaves of what the kernel counted only what no probe has seen: that is told by itself.
    pub(super) fn settle(&mut self, what: &mut What, seen: impl FnOnce(Netns) -> u64) {
        if let What::Overflows(overflows @ Overflows { queue: QueueKind::Syn, .. }) = what
            && self.syn_is_told
        {
            overflows.number = 0;
        }
        let What::Overflows(overflows @ Overflows { queue: QueueKind::Accept, .. }) = what else { return };
        let ledger = self.counted.entry(overflows.netns).or_default();
        ledger.counted += overflows.number;
        overflows.number = ledger.counted.saturating_sub(ledger.told + seen(overflows.netns));
        ledger.told += overflows.number;
    }

    /// The namespaces that are new: their counters began at nothing.
    pub(super) fn reborn(&mut self) -> Vec<Netns> {
        self.counted.retain(|netns, _| !self.reborn.contains(netns));
        std::mem::take(&mut self.reborn)
    }

    /// Keeps the namespaces that have listeners. What one has counted that was not there at the start is all news.
    pub(super) fn note(&mut self, what: &What) {
        match what {
            What::Sockets { netns, port: None, sockets, .. } => {
                self.old.insert(*netns);
                if sockets.iter().any(|bound| bound.listening) {
                    self.namespaces.insert(*netns);
                }
            }
            What::ListenUp { socket, .. } if !self.namespaces.contains(&socket.netns) => {
                self.namespaces.insert(socket.netns);
                self.reborn.extend((!self.old.contains(&socket.netns)).then_some(socket.netns));
            }
            What::NetnsReborn { netns } => self.reborn.push(*netns),
            _ => {}
        }
    }
}
