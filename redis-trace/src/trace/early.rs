//! Connections that ended early, held for a moment: both ends may be on this host, and one may know what the other does not.

use std::collections::VecDeque;

use super::fact::{EarlyEnd, Parting, Standing};
use super::refusal::{Attempt, HOLD, Refusal};

/// Why a server closed a connection whose client had asked nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Its `timeout`, so many seconds, had passed.
    Idle(u64),
    /// The client had not taken what it was sent.
    Untaken,
    /// Nothing that was seen says why.
    Unsaid,
}

/// Redis's clock counts seconds, and is read ten times in each: milliseconds by which it may be early.
const CLOCK: u64 = 200;

impl Closing {
    /// By how long it was idle and what waited for the client.
    pub fn of(end: &EarlyEnd, standing: Option<&Standing>) -> Self {
        let timeout = standing.and_then(|standing| standing.settings.as_ref()).map_or(0, |settings| settings.timeout);
        match timeout {
            _ if end.waiting > 0 => Self::Untaken,
            1.. if u64::from(end.idle_ms) + CLOCK >= timeout * 1_000 => Self::Idle(timeout),
            _ => Self::Unsaid,
        }
    }
}

/// Early ends that wait for what the other end tells.
#[derive(Debug, Default)]
pub struct Early {
    waiting: VecDeque<(u64, EarlyEnd)>,
}

impl Early {
    /// An end was told of: the server's waits, the client's adds what it knows.
    pub fn take(&mut self, time: u64, end: &EarlyEnd) {
        let is_other = |other: &&mut (u64, EarlyEnd)| other.1.end == end.end && other.1.server.is_some();
        match self.waiting.iter_mut().find(is_other) {
            Some((_, server)) if end.parting == Parting::LeftByServer => {
                // Where the two differ, the server's thread has spoken to somebody else meanwhile: the client's end is right.
                server.client = true;
                server.reply.clone_from(&end.reply);
                server.redirect = end.redirect;
            }
            _ => self.waiting.push_back((time, end.clone())),
        }
    }

    /// Those that have waited long enough, oldest first.
    pub fn ripe(&mut self, now: u64) -> Vec<Refusal> {
        let is_ripe = |(time, _): &(u64, EarlyEnd)| time.saturating_add(HOLD) <= now;
        let number = self.waiting.iter().take_while(|waiting| is_ripe(waiting)).count();
        self.waiting.drain(..number).map(refusal).collect()
    }

    /// All of them: nothing more will come.
    pub fn rest(&mut self) -> Vec<Refusal> {
        self.waiting.drain(..).map(refusal).collect()
    }

    /// Nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn refusal((time, end): (u64, EarlyEnd)) -> Refusal {
    Refusal { time, attempt: Attempt::Early(Box::new(end)), benign: false }
}
