//! Queues of listeners: what waits in them and for how long, what limits them, what keeps their owners, and the kernel's
//! counts of who found one full.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use super::sockets::{self, Waiting};
use super::{Host, boottime, counters, inodes, process, serving};
use crate::trace::fact::{BoundSocket, Overflows, Queue, QueueKind, Queues, What};
use crate::trace::flow::{Endpoint, Netns};

/// How the counters of a namespace stood.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stood {
    accept: u64,
    syn: u64,
}

impl Host {
    /// The queues of the listeners on a port.
    pub(super) fn queues(&mut self, netns: Netns, port: u16) -> What {
        let look = || (sockets::bound(netns, Some(port)), sockets::waiting(port), sysctl("core/somaxconn"));
        let (bound, waiting, somaxconn) = match self.inside(netns, look) {
            Ok((Ok(bound), waiting, somaxconn)) => (bound, waiting.unwrap_or_default(), somaxconn),
            Ok((Err(why), _, _)) | Err(why) => return What::Unreadable { netns, why: why.into() },
        };
        let mut bound: Vec<BoundSocket> = bound.into_iter().filter(|bound| bound.listening).collect();
        self.own(&mut bound);
        let queues = bound.into_iter().map(|bound| queue(bound, &waiting)).collect();
        What::Queues(Queues { netns, port, somaxconn, queues })
    }

    /// How many found a queue full in these namespaces since this was asked last. Nothing at first, when there is nothing to
    /// compare with.
    pub fn grown(&mut self, namespaces: &[Netns]) -> Vec<(Netns, QueueKind, u64)> {
        let asked = boottime();
        let mut grown = Vec::new();
        for netns in namespaces {
            self.find(*netns, asked);
            let Ok(Some((accept, syn))) = self.inside(*netns, counters::overflows) else { continue };
            if let Some(before) = self.stood.insert(*netns, Stood { accept, syn }) {
                // Counters that are smaller are another namespace's, which has got the number.
                let is_same = accept >= before.accept && syn >= before.syn;
                let before = if is_same { before } else { Stood::default() };
                grown.push((*netns, QueueKind::Accept, accept.saturating_sub(before.accept)));
                grown.push((*netns, QueueKind::Syn, syn.saturating_sub(before.syn)));
            }
        }
        grown.retain(|(_, _, number)| *number > 0);
        grown
    }

    /// Which queues are full where somebody found one full.
    pub fn overflows(&mut self, grown: Vec<(Netns, QueueKind, u64)>) -> Vec<What> {
        let told = grown.into_iter().map(|(netns, queue, number)| {
            What::Overflows(Overflows { netns, queue, number, full: self.full(netns, queue) })
        });
        told.collect()
    }

    /// The listeners of a namespace whose queue is full, with what is in that queue.
    fn full(&mut self, netns: Netns, queue: QueueKind) -> Vec<BoundSocket> {
        let mut bound = self.inside(netns, || sockets::bound(netns, None)).flatten().unwrap_or_default();
        if queue == QueueKind::Syn {
            let half_open = self.inside(netns, sockets::half_open).flatten().unwrap_or_default();
            for bound in &mut bound {
                let of_it = half_open.iter().filter(|end| serves(bound, **end));
                bound.queued = u32::try_from(of_it.count()).ok();
            }
        }
        bound.retain(is_full);
        self.own(&mut bound);
        bound
    }

    /// These namespaces are new: all their counters began at nothing.
    pub fn counters_begin(&mut self, namespaces: &[Netns]) {
        self.stood.extend(namespaces.iter().map(|netns| (*netns, Stood::default())));
    }

    /// Finds out who holds these.
    fn own(&mut self, bound: &mut [BoundSocket]) {
        let owners = self.owners.of_few(&inodes(bound).collect(), &process::ids());
        for bound in bound {
            bound.owner = owners.get(&bound.socket.inode).cloned();
        }
    }
}

/// Whether there is no room for one more: sk_acceptq_is_full(), include/net/sock.h.
fn is_full(bound: &BoundSocket) -> bool {
    matches!((bound.queued, bound.backlog), (Some(queued), Some(limit)) if queued > limit)
}

/// Whether a connection with this end is a listener's, as far as addresses tell.
fn serves(bound: &BoundSocket, end: Endpoint) -> bool {
    let local = bound.socket.local;
    local.port == end.port && (local.ip.is_unspecified() || local.ip == end.ip)
}

/// A listener's queue, and what its owner does when it is full.
fn queue(bound: BoundSocket, waiting: &[Waiting]) -> Queue {
    let of_it = waiting.iter().filter(|one| serves(&bound, one.local));
    let oldest = of_it.map(|one| one.age).max();
    let owner = bound.owner.as_ref().filter(|_| is_full(&bound));
    let serving = owner.and_then(|owner| serving::of(owner.pid));
    Queue { oldest: oldest.filter(|_| bound.queued.is_some_and(|queued| queued > 0)), bound, serving }
}

/// A number of the calling thread's namespace under `/proc/sys/net`.
pub(super) fn sysctl(name: &str) -> Option<u32> {
    fs::read_to_string(format!("/proc/sys/net/{name}")).ok()?.trim().parse().ok()
}

/// Waits a moment between two looks at a process.
pub(super) fn moment() {
    sleep(Duration::from_millis(2));
}
