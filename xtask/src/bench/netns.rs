//! A network namespace for a measurement, so that no load meets the host's own traffic.

use std::fs::File;
use std::process::Command;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::run::output;

/// The first port that nothing here listens on, and how many there are. A client's own port is never one of them: it
/// would be connected to itself.
const CLOSED: u16 = 10_000;
/// See above.
const PORTS: u16 = 10_000;
/// How many of them were taken.
static TAKEN: AtomicU16 = AtomicU16::new(0);
/// How many were made, for their names.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A namespace with a loopback interface that is up; it goes with this.
pub(crate) struct Netns(String);

impl Netns {
    /// Makes one.
    pub(crate) fn new() -> Result<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let netns = Self(format!("redis-trace-bench-{}-{number}", std::process::id()));
        output(Command::new("ip").args(["netns", "add", &netns.0]))?;
        output(netns.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// A command that runs in it, as the very process that is started.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    /// Does something in it, in a thread of its own.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.0);
        let inside = || -> Result<T> {
            let netns = File::open(&path).with_context(|| format!("cannot open {path}"))?;
            setns(netns, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {path}"))?;
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap_or_else(|_| bail!("a thread in {path} panicked")))
    }
}

/// A port that nothing listens on in any of them, and that was not dialled before.
pub(crate) fn closed_port() -> u16 {
    CLOSED + TAKEN.fetch_add(1, Ordering::Relaxed) % PORTS
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = output(Command::new("ip").args(["netns", "del", &self.0])) {
            eprintln!("bench: the network namespace {} is left behind: {error:#}", self.0);
        }
    }
}
