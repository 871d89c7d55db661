//! Processes of a scenario: started in a namespace, listened to, ended.

use std::io::{BufRead as _, BufReader, PipeReader, Write as _, pipe};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::netns::Netns;

/// How long a process may take for one step, on a slow emulated machine too.
const PATIENCE: Duration = Duration::from_mins(2);
/// The user without rights.
pub(crate) const NOBODY: u32 = 65534;

/// A process to be started.
pub(crate) struct Recipe {
    /// What to run.
    command: Command,
    /// For messages.
    title: String,
}

impl Recipe {
    /// Runs it as a user without rights.
    #[must_use]
    pub(crate) fn with_nobodys_rights(mut self) -> Self {
        self.command.uid(NOBODY).gid(NOBODY);
        self
    }

    /// Starts it, in a namespace or in ours.
    pub(crate) fn spawn(mut self, netns: Option<&Netns>) -> Result<Process> {
        let (reader, writer) = pipe().context("cannot make a pipe")?;
        self.command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
        let child = match netns {
            Some(netns) => netns.within(|| Ok(self.command.spawn()?)),
            None => self.command.spawn().map_err(Into::into),
        };
        let child = child.with_context(|| format!("cannot start {}", self.title))?;
        // The command holds the pipe's writing end: without this the output would never end.
        drop(self.command);
        Ok(Process { child, title: self.title, lines: read_lines(reader), said: Vec::new() })
    }
}

/// A running process, killed when this value ends.
pub(crate) struct Process {
    child: Child,
    title: String,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Process {
    /// A program of this host.
    pub(crate) fn program(name: &str, arguments: &[String]) -> Recipe {
        let mut command = Command::new(name);
        command.args(arguments);
        Recipe { command, title: name.to_owned() }
    }

    /// One of our own actors.
    pub(crate) fn actor(arguments: &[String]) -> Recipe {
        let mut recipe = Self::program("/proc/self/exe", &["demo-actor".to_owned()]);
        recipe.command.arg0("redis-trace").args(arguments);
        recipe.title = format!("actor {}", arguments.join(" "));
        recipe
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that contains this.
    pub(crate) fn wait_for(&mut self, words: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return Ok(line);
                    }
                }
                Err(reason) => {
                    let why = if reason == RecvTimeoutError::Timeout { "in time" } else { "before it ended" };
                    bail!("{} did not say {words:?} {why}; it said:\n{}", self.title, self.said.join("\n"));
                }
            }
        }
    }

    /// Writes a line to its standard input.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("the process has no standard input")?;
        writeln!(stdin, "{line}").with_context(|| format!("cannot write to {}", self.title))
    }

    /// Waits for its end; what it said until then, and how it ended.
    pub(crate) fn finish(&mut self) -> Result<(Vec<String>, ExitStatus)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} did not end; it said:\n{}", self.title, self.said.join("\n"));
                }
            }
        }
        let status = self.child.wait().with_context(|| format!("cannot wait for {}", self.title))?;
        Ok((self.said.clone(), status))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to {}", self.title))
    }

    /// Sends it a signal and waits until it is dead of it.
    pub(crate) fn kill(&mut self, signal: Signal) -> Result<()> {
        self.signal(signal)?;
        let (said, status) = self.finish()?;
        if status.signal() != Some(signal.as_raw()) {
            bail!("{} did not die of {signal:?} but ended with {status}; it said:\n{}", self.title, said.join("\n"));
        }
        Ok(())
    }
}

impl Drop for Process {
    /// A process that already ended is not an error.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether a program of this name is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(program).is_file())
}

/// Reads lines on a thread of their own, until the last writer is gone.
fn read_lines(reader: PipeReader) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receive
}
