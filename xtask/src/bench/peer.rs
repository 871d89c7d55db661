//! Another tool under measurement: started, waited for, ended, and what it printed counted.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::Netns;

/// How long one may take until it watches; a tool that compiles its probes needs some seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many of its last words are kept.
const WORDS: usize = 12;

/// A tool that one could watch refusals with.
pub(super) struct Peer {
    /// What the page calls it.
    pub(super) name: &'static str,
    /// The program and its arguments.
    pub(super) command: &'static [&'static str],
    /// What a line contains that says that it watches.
    pub(super) ready: &'static str,
    /// What a line contains that is about a refusal, if it tells them.
    pub(super) refusal: Option<&'static str>,
}

/// One that watches.
pub(super) struct Watching {
    process: Child,
    streams: Vec<JoinHandle<Said>>,
}

/// What it said on one stream.
#[derive(Default)]
struct Said {
    /// Lines about refusals.
    refusals: u64,
    /// The last of the others.
    words: VecDeque<String>,
}

/// What came of it.
pub(super) struct Outcome {
    /// How many refusals it printed.
    pub(super) printed: u64,
    /// What else it said at last.
    pub(super) words: Vec<String>,
}

impl Peer {
    /// Starts it in a namespace and waits until it watches.
    pub(super) fn watch(&'static self, netns: &Netns, more: &[&str]) -> Result<Watching> {
        let mut command = netns.command(self.command[0]);
        command.args(&self.command[1..]).args(more);
        let (process, ready, streams) = self.start(&mut command)?;
        let watching = Watching { process, streams };
        if ready.recv_timeout(PATIENCE).is_ok() {
            return Ok(watching);
        }
        let outcome = watching.stop()?;
        let first = outcome.words.first().map_or("nothing", |line| line.split(". ").next().unwrap_or(line));
        bail!("it does not come to watch and says: {first}")
    }

    /// Starts it, with a reader for each of its streams.
    fn start(&'static self, command: &mut Command) -> Result<(Child, Receiver<()>, Vec<JoinHandle<Said>>)> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().with_context(|| format!("cannot start {}", self.name))?;
        let out = process.stdout.take().context("it has a standard output")?;
        let err = process.stderr.take().context("it has a standard error")?;
        let (sender, ready) = channel();
        let other = sender.clone();
        let streams = vec![
            std::thread::spawn(move || self.read(out, &sender)),
            std::thread::spawn(move || self.read(err, &other)),
        ];
        Ok((process, ready, streams))
    }

    /// Reads one stream to its end.
    fn read(&self, stream: impl Read, ready: &Sender<()>) -> Said {
        let mut said = Said::default();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if self.refusal.is_some_and(|refusal| line.contains(refusal)) {
                said.refusals += 1;
            } else if line.contains(self.ready) {
                // Whoever waited may have gone on: some say it more than once.
                let _ = ready.send(());
            } else if !line.trim().is_empty() {
                said.words.push_back(line);
                said.words.drain(..said.words.len().saturating_sub(WORDS));
            }
        }
        said
    }
}

impl Watching {
    /// Ends it as Ctrl-C does: what came of it.
    pub(super) fn stop(mut self) -> Result<Outcome> {
        let pid = self.process.id();
        // One that ended by itself needs no signal.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT);
        self.process.wait()?;
        let mut outcome = Outcome { printed: 0, words: Vec::new() };
        for stream in self.streams.drain(..) {
            let said = stream.join().unwrap_or_default();
            outcome.printed += said.refusals;
            outcome.words.extend(said.words);
        }
        Ok(outcome)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) && self.process.kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}
