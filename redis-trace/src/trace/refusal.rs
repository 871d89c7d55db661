//! One refusal: what was tried, with both ends of it where this host saw both.

use std::collections::{BTreeMap, BTreeSet};

use super::fact::{
    AcceptFailed, Bind, ConnectFailed, Dropped, EarlyEnd, Ending, Overflow, Overflows, Phase, Process, ProcessKey,
    Reset, Socket, Task, UnixPath,
};
use super::flow::{Flow, Netns};
use super::report::Side;

/// One attempt that was turned away.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// When, boottime nanoseconds.
    pub time: u64,
    /// What was tried.
    pub attempt: Attempt,
    /// Another address of the same name then answered the same thread.
    pub benign: bool,
}

impl Refusal {
    /// The SYN that was dropped, by its sequence number, while its client still waits.
    pub fn dropped_isn(&self) -> Option<u32> {
        match &self.attempt {
            Attempt::Connect(Connect { client: None, dropped: Some(dropped), .. }) => Some(dropped.isn),
            Attempt::Overflow(overflow) if !overflow.by_ack => Some(overflow.isn),
            _ => None,
        }
    }

    /// The connect whose SYN had this sequence number, while its dialling end is still to come.
    pub fn without_client(&mut self, isn: u32) -> Option<&mut Connect> {
        let Attempt::Connect(connect) = &mut self.attempt else { return None };
        (connect.client.is_none() && connect.isn() == Some(isn)).then_some(connect)
    }
}

/// What was tried.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// A TCP connect that was answered by a reset or an error, or not at all, or failed before it began.
    Connect(Connect),
    /// A connect to a unix stream socket.
    Unix {
        /// Who dialled.
        task: Task,
        /// What it got.
        errno: u32,
        /// What it dialled.
        path: UnixPath,
    },
    /// bind(2) or listen(2).
    Listen(Bind),
    /// socket(2) for TCP.
    Socket {
        /// Who called.
        task: Task,
        /// For IPv6.
        ipv6: bool,
        /// What it got.
        errno: u32,
    },
    /// A connection that found a listener's queue full.
    Overflow(Overflow),
    /// Connections that did, as the kernel counts them.
    Counted(Overflows),
    /// accept(2) that failed for want of a file.
    Accept(AcceptFailed),
    /// Connections that waited when their listener went.
    Closed(ClosedQueue),
    /// A connection that was accepted and ended early.
    Early(Box<EarlyEnd>),
    /// A server that was started and ended before it listened.
    Start(ProcessKey),
}

impl Attempt {
    /// How many refusals it stands for.
    pub fn number(&self) -> u64 {
        match self {
            Self::Counted(overflows) => overflows.number,
            Self::Closed(closed) => u64::from(closed.queued),
            _ => 1,
        }
    }
}

/// A listener that went with connections in its queue.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedQueue {
    /// The listener.
    pub socket: Socket,
    /// Whose it was.
    pub process: Process,
    /// How many waited.
    pub queued: u32,
    /// How many may have before the queue is full.
    pub limit: u32,
    /// How that process was ending, when it was.
    pub ending: Option<Ending>,
}

/// A TCP connect: at least one of its ends was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connect {
    /// The end that dialled.
    pub client: Option<ConnectFailed>,
    /// The end that was dialled.
    pub server: Option<Reset>,
    /// Between the two: where the SYN was dropped, or its answer.
    pub dropped: Option<Box<Dropped>>,
}

impl Connect {
    /// Where it went, as the dialled end saw it when it was seen (after any address translation).
    pub fn flow(&self) -> Option<&Flow> {
        let dialled = self.server.as_ref().map(|server| &server.flow);
        let dropped = self.dropped.as_ref().map(|dropped| &dropped.flow);
        dropped.or(dialled).or(self.client.as_ref().map(|client| &client.flow))
    }

    /// Who dialled, as far as this host knows.
    pub fn caller(&self) -> Option<&Task> {
        let client = self.client.as_ref().map(|client| &client.task);
        client.or_else(|| self.dropped.as_ref()?.caller.as_ref().map(|(task, _)| task))
    }

    /// Nothing more is to come: the client's end and another were seen, or no SYN was sent, or nothing has come for seconds.
    fn is_whole(&self) -> bool {
        let is_alone = |client: &ConnectFailed| matches!(client.phase, Phase::AtOnce | Phase::Waiting);
        let is_joined = self.client.is_some() && (self.server.is_some() || self.dropped.is_some());
        self.client.as_ref().is_some_and(is_alone) || is_joined
    }

    /// Sequence number of the SYN; absent when none was sent.
    pub fn isn(&self) -> Option<u32> {
        let dialled = self.client.as_ref().filter(|client| client.phase != Phase::AtOnce).map(|client| client.isn);
        let dropped = self.dropped.as_ref().map(|dropped| dropped.isn);
        dialled.or(self.server.as_ref().map(|server| server.isn)).or(dropped)
    }

    /// Which end was seen.
    pub fn side(&self) -> Side {
        // An answer goes the other way.
        let is_near = |it: &Dropped| it.sight.outgoing != it.is_answer();
        let is_of_server = self.server.is_some() || self.dropped.as_ref().is_some_and(|it| !is_near(it));
        let is_of_client = self.caller().is_some() || self.dropped.as_ref().is_some_and(|it| is_near(it));
        match (is_of_client, is_of_server) {
            (true, true) => Side::Both,
            (true, false) => Side::Client,
            (false, _) => Side::Server,
        }
    }
}

/// How long a refusal that is whole waits for another address to answer, nanoseconds.
pub const HOLD: u64 = 20_000_000;
/// How long one end waits for the other, nanoseconds: on a busy host the reset may lie in a queue that long.
const HOLD_HALF: u64 = 250_000_000;

/// In a storm those that wait are not gone through for every fact, nanoseconds.
const LOOK_EVERY: u64 = 1_000_000;

/// Connects that wait for their other end.
#[derive(Debug, Default)]
pub struct Joining {
    /// In the order they came.
    waiting: BTreeMap<u64, Held>,
    /// Their initial sequence numbers, each with its place in that order.
    by_isn: BTreeSet<(u32, u64)>,
    came: u64,
    looked: u64,
}

#[derive(Debug)]
struct Held {
    time: u64,
    isn: u32,
    connect: Connect,
    benign: bool,
}

impl Held {
    /// It has waited long enough.
    fn is_ripe(&self, now: u64) -> bool {
        let patience = if self.connect.is_whole() { HOLD } else { HOLD_HALF };
        self.time.saturating_add(patience) <= now
    }
}

impl Joining {
    /// The dialled end of a connect was seen.
    pub fn server(&mut self, time: u64, reset: Reset) {
        match self.partner(reset.isn, reset.flow.netns, |connect| connect.server.is_none()) {
            Some(held) => held.connect.server = Some(reset),
            None => self.hold(time, reset.isn, Connect { server: Some(reset), ..Connect::default() }),
        }
    }

    /// The dialling end of a connect was seen.
    pub fn client(&mut self, time: u64, failed: ConnectFailed) {
        match self.partner(failed.isn, failed.flow.netns, |connect| connect.client.is_none()) {
            // One that sent no SYN has no other end.
            Some(held) if failed.phase != Phase::AtOnce => held.connect.client = Some(failed),
            _ => self.hold(time, failed.isn, Connect { client: Some(failed), ..Connect::default() }),
        }
    }

    /// A SYN, or its answer, was dropped between the ends.
    pub fn dropped(&mut self, time: u64, dropped: Dropped) {
        match self.partner(dropped.isn, dropped.flow.netns, |connect| connect.dropped.is_none()) {
            Some(held) => held.connect.dropped = Some(Box::new(dropped)),
            None => self.hold(time, dropped.isn, Connect { dropped: Some(Box::new(dropped)), ..Connect::default() }),
        }
    }

    /// A thread was connected: a refusal of the same port that it suffered a moment ago hurt nobody.
    pub fn connected(&mut self, flow: &Flow, task: &Task) -> bool {
        let spared =
            |held: &&mut Held| held.connect.client.as_ref().is_some_and(|client| is_fallback(client, flow, task));
        let held = self.waiting.values_mut().find(spared);
        held.map(|held| held.benign = true).is_some()
    }

    /// Whether the other end of a dial waits for it.
    pub fn awaits_client(&self, isn: u32) -> bool {
        let alike = self.by_isn.range((isn, 0)..=(isn, u64::MAX));
        alike.filter_map(|(_, nth)| self.waiting.get(nth)).any(|held| held.connect.client.is_none())
    }

    /// Connects that have waited long enough, oldest first.
    pub fn ripe(&mut self, now: u64) -> Vec<Refusal> {
        if now < self.looked.saturating_add(LOOK_EVERY) {
            return Vec::new();
        }
        self.looked = now;
        let due = self.waiting.iter().take_while(|(_, held)| held.time.saturating_add(HOLD) <= now);
        let ripe: Vec<u64> = due.filter(|(_, held)| held.is_ripe(now)).map(|(nth, _)| *nth).collect();
        ripe.into_iter().filter_map(|nth| self.release(nth)).collect()
    }

    /// All that wait, oldest first: nothing more will come.
    pub fn rest(&mut self) -> Vec<Refusal> {
        let all: Vec<u64> = self.waiting.keys().copied().collect();
        all.into_iter().filter_map(|nth| self.release(nth)).collect()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn hold(&mut self, time: u64, isn: u32, connect: Connect) {
        self.came += 1;
        self.waiting.insert(self.came, Held { time, isn, connect, benign: false });
        self.by_isn.insert((isn, self.came));
    }

    fn release(&mut self, nth: u64) -> Option<Refusal> {
        let Held { time, isn, connect, benign } = self.waiting.remove(&nth)?;
        self.by_isn.remove(&(isn, nth));
        Some(Refusal { time, attempt: Attempt::Connect(connect), benign })
    }

    /// The initial sequence number survives NAT and is as good as random: it joins the ends. Clients in step, in namespaces
    /// with the same addresses, do get the same number in the same 64 ns: each then has its end in its own namespace.
    fn partner(&mut self, isn: u32, netns: Netns, lacks: impl Fn(&Connect) -> bool) -> Option<&mut Held> {
        let waiting = &self.waiting;
        let mut lonely = self
            .by_isn
            .range((isn, 0)..=(isn, u64::MAX))
            .map(|(_, nth)| *nth)
            .filter(|nth| waiting.get(nth).is_some_and(|held| lacks(&held.connect)));
        let first = lonely.next()?;
        let is_near = |nth: &u64| {
            waiting.get(nth).is_some_and(|held| held.connect.flow().is_some_and(|flow| flow.netns == netns))
        };
        let nearest = if is_near(&first) { first } else { lonely.find(is_near).unwrap_or(first) };
        self.waiting.get_mut(&nearest)
    }
}

/// Whether this connection is the same thread's next try, at another address, after that failed one.
pub fn is_fallback(failed: &ConnectFailed, flow: &Flow, task: &Task) -> bool {
    failed.task.tid == task.tid
        && failed.task.key() == task.key()
        && failed.flow.server.port == flow.server.port
        && failed.flow.server.ip != flow.server.ip
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::flow::Endpoint;
    use crate::trace::text::Text;

    fn flow(netns: u32) -> Flow {
        let end = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port: 6379 };
        Flow { netns: Netns(netns), client: end, server: end, ifindex: 1 }
    }

    fn reset(netns: u32) -> Reset {
        Reset { flow: flow(netns), isn: 7, reason: None, sk_lookup: false, ttl: 64 }
    }

    fn failed(netns: u32) -> ConnectFailed {
        let (comm, netns) = (Text::from("redis-cli"), Netns(netns));
        let task = Task { pid: 9, tid: 9, uid: 0, netns, start: 0, cgroup: 1, comm, family: false };
        let (phase, retransmits) = (Phase::Over, 0);
        let flow = flow(netns.0);
        ConnectFailed {
            flow,
            task,
            dialled: 0,
            errno: 111,
            isn: 7,
            phase,
            retransmits,
            icmp: None,
            ttl: None,
            peer_ttl: None,
        }
    }

    #[test]
    fn clients_in_step_in_two_namespaces_are_each_joined_to_their_own_reset() {
        let mut joining = Joining::default();
        joining.server(1, reset(1));
        joining.server(2, reset(2));
        joining.client(3, failed(1));
        joining.client(4, failed(2));
        let netns = |refusal: &Refusal| match &refusal.attempt {
            Attempt::Connect(Connect { client: Some(client), server: Some(server), .. }) => {
                (client.flow.netns.0, server.flow.netns.0)
            }
            other => panic!("one end stayed alone: {other:?}"),
        };
        assert_eq!(joining.rest().iter().map(netns).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    }
}
