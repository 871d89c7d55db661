//! The loads: what the bench measures with, each a process of its own that says what it did as one JSON object.

mod accept;
mod listen;
mod redis;
mod refuse;

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::netns::Netns;
use crate::run::output;

/// A load to play.
#[derive(Args)]
pub(crate) struct Load {
    /// Which.
    #[command(subcommand)]
    kind: Kind,
}

/// What loads there are.
#[derive(Subcommand)]
enum Kind {
    /// Dial a port that nobody listens on
    Refuse(refuse::Refuse),
    /// Make short connections that are accepted
    Accept(accept::Accept),
    /// Ask a Redis server
    Redis(redis::Redis),
    /// Hold listening sockets
    Listen(listen::Listen),
    /// Open and close listening sockets
    Churn(listen::Churn),
}

/// Plays it, and prints what it did.
pub(crate) fn load(load: &Load) -> Result<()> {
    let done = match &load.kind {
        Kind::Refuse(refuse) => refuse.play(),
        Kind::Accept(accept) => accept.play(),
        Kind::Redis(redis) => redis.play(),
        Kind::Listen(listen) => listen.play(),
        Kind::Churn(churn) => churn.play(),
    }?;
    println!("{done}");
    Ok(())
}

/// Plays a load in a namespace to its end: what it did.
pub(crate) fn play(netns: &Netns, words: &[&str]) -> Result<Value> {
    let done = output(&mut command(netns, words)?)?;
    serde_json::from_str(&done).with_context(|| format!("the load said {done:?}"))
}

/// The command that plays a load.
fn command(netns: &Netns, words: &[&str]) -> Result<Command> {
    let xtask = std::env::current_exe().context("cannot tell which program this is")?;
    let mut command = netns.command(xtask.to_str().context("this program's path is no text")?);
    command.arg("load").args(words);
    Ok(command)
}

/// A load that plays until it is ended.
pub(crate) struct Playing {
    /// The process.
    process: Child,
    /// What it says.
    lines: Lines<BufReader<ChildStdout>>,
}

impl Playing {
    /// Starts a load in a namespace.
    pub(crate) fn start(netns: &Netns, words: &[&str]) -> Result<Self> {
        let mut command = command(netns, words)?;
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start a load")?;
        let lines = BufReader::new(process.stdout.take().context("a load has a standard output")?).lines();
        Ok(Self { process, lines })
    }

    /// The next thing that it says.
    pub(crate) fn says(&mut self) -> Result<Value> {
        let line = self.lines.next().context("a load ended without a word")??;
        serde_json::from_str(&line).with_context(|| format!("a load said {line:?}"))
    }

    /// Ends it: what it did.
    pub(crate) fn end(mut self) -> Result<Value> {
        drop(self.process.stdin.take());
        let done = self.says()?;
        self.process.wait()?;
        Ok(done)
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) && self.process.kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}

/// A number that a load said.
pub(crate) fn said(done: &Value, name: &str) -> Result<f64> {
    done[name].as_f64().with_context(|| format!("the load did not say its {name}: {done}"))
}
