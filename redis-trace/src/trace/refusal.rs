//! One refusal: what was tried, with both ends of it where this host saw both.

use std::collections::{BTreeMap, HashMap};

use super::fact::{Bind, ConnectFailed, ProcessKey, Reset, Task, UnixPath};
use super::flow::Flow;
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

/// What was tried.
#[derive(Clone, Debug, PartialEq)]
pub enum Attempt {
    /// A TCP connect that was answered by a reset.
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
    /// A server that was started and ended before it listened.
    Start(ProcessKey),
}

/// A TCP connect: at least one of its ends was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// The end that dialled.
    pub client: Option<ConnectFailed>,
    /// The end that was dialled.
    pub server: Option<Reset>,
}

impl Connect {
    /// Where it went, as the dialled end saw it when it was seen (after any address translation).
    pub fn flow(&self) -> Option<&Flow> {
        let dialled = self.server.as_ref().map(|server| &server.flow);
        dialled.or(self.client.as_ref().map(|client| &client.flow))
    }

    /// Which end was seen.
    pub fn side(&self) -> Side {
        match (&self.client, &self.server) {
            (Some(_), Some(_)) => Side::Both,
            (Some(_), None) => Side::Client,
            (None, _) => Side::Server,
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
    by_isn: HashMap<u32, u64>,
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
        let patience = if self.connect.side() == Side::Both { HOLD } else { HOLD_HALF };
        self.time.saturating_add(patience) <= now
    }
}

impl Joining {
    /// The dialled end of a connect was seen.
    pub fn server(&mut self, time: u64, reset: Reset) {
        match self.partner(reset.isn, |connect| connect.server.is_none()) {
            Some(held) => held.connect.server = Some(reset),
            None => self.hold(time, reset.isn, Connect { client: None, server: Some(reset) }),
        }
    }

    /// The dialling end of a connect was seen.
    pub fn client(&mut self, time: u64, failed: ConnectFailed) {
        match self.partner(failed.isn, |connect| connect.client.is_none()) {
            Some(held) => held.connect.client = Some(failed),
            None => self.hold(time, failed.isn, Connect { client: Some(failed), server: None }),
        }
    }

    /// A thread was connected: a refusal of the same port that it suffered a moment ago hurt nobody.
    pub fn connected(&mut self, flow: &Flow, task: &Task) -> bool {
        let spared =
            |held: &&mut Held| held.connect.client.as_ref().is_some_and(|client| is_fallback(client, flow, task));
        let held = self.waiting.values_mut().find(spared);
        held.map(|held| held.benign = true).is_some()
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
        self.by_isn.insert(isn, self.came);
    }

    fn release(&mut self, nth: u64) -> Option<Refusal> {
        let Held { time, isn, connect, benign } = self.waiting.remove(&nth)?;
        if self.by_isn.get(&isn) == Some(&nth) {
            self.by_isn.remove(&isn);
        }
        Some(Refusal { time, attempt: Attempt::Connect(connect), benign })
    }

    /// The initial sequence number survives NAT and is as good as random: it joins the ends.
    fn partner(&mut self, isn: u32, lacks: impl Fn(&Connect) -> bool) -> Option<&mut Held> {
        let held = self.waiting.get_mut(self.by_isn.get(&isn)?)?;
        lacks(&held.connect).then_some(held)
    }
}

/// Whether this connection is the same thread's next try, at another address, after that failed one.
pub fn is_fallback(failed: &ConnectFailed, flow: &Flow, task: &Task) -> bool {
    failed.task.tid == task.tid
        && failed.task.key() == task.key()
        && failed.flow.server.port == flow.server.port
        && failed.flow.server.ip != flow.server.ip
}
