//! What a running agent can be asked for by signal: to open its recording anew, or to say how it stands.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGHUP: the recording was moved away, begin another in its place.
    Reopen,
    /// SIGUSR1: what was seen so far.
    Stats,
    /// SIGHUP, where the terminal went away or there is no recording: end.
    End,
}

/// The signals.
pub struct Requests {
    hangup: Signal,
    stats: Signal,
    reopens: bool,
}

impl Requests {
    /// Listens for them.
    pub fn new(records: bool) -> io::Result<Self> {
        let reopens = records && !io::stdout().is_terminal();
        Ok(Self { hangup: signal(SignalKind::hangup())?, stats: signal(SignalKind::user_defined1())?, reopens })
    }

    /// The next.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.hangup.recv() => if self.reopens { Request::Reopen } else { Request::End },
            _ = self.stats.recv() => Request::Stats,
        }
    }
}
