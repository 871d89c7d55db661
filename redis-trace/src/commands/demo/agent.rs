//! The agent that watches: `redis-trace watch` or `record` as a process of its own, as a user would run it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::expect::Scope;
use super::scenarios::Scenario;
use crate::host::clock::boottime;
use crate::trace::cause::Code;
use crate::trace::report::schema;

/// How long the agent may take to attach, to tell, or to end, on a slow emulated machine too.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);

/// A line that the agent wrote.
enum Line {
    /// To standard output: data.
    Out(String),
    /// To standard error: banner, progress.
    Err(String),
}

/// A running agent; killed when this value ends.
pub(super) struct Agent {
    child: Child,
    lines: Receiver<Line>,
    /// What it said on standard error.
    aside: Vec<String>,
    /// Told of the scenarios under way so far.
    pub(super) told: Vec<Value>,
    /// What belongs to those scenarios: the rest of the host's refusals are not kept.
    scopes: Vec<Scope>,
    /// Scenarios that are over.
    past: Vec<Scope>,
    /// Refusals of scenarios that were over, told when nothing more was to be told of them.
    late: Vec<Value>,
    running: Running,
}

impl Agent {
    /// Starts one and waits until every hook that will attach has attached.
    pub(super) fn start(arguments: &[String], running: &Running) -> Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .arg0("redis-trace")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the agent")?;
        let (send, lines) = channel();
        read_lines(child.stdout.take(), send.clone(), Line::Out);
        read_lines(child.stderr.take(), send, Line::Err);
        running.add(child.id());
        let mut agent = Self {
            child,
            lines,
            aside: Vec::new(),
            told: Vec::new(),
            scopes: Vec::new(),
            past: Vec::new(),
            late: Vec::new(),
            running: running.clone(),
        };
        let deadline = Instant::now() + PATIENCE;
        while !agent.aside.iter().any(|line| line.starts_with("watching")) {
            ensure!(agent.take(deadline)?, "the agent did not attach in time: {}", agent.aside.join("\n"));
        }
        Ok(agent)
    }

    /// Whether this kernel can stage a scenario and this agent see it.
    pub(super) fn can_see(&self, scenario: &Scenario) -> bool {
        let needs = scenario.needs;
        needs.are_met() && (self.hooks_functions() || !needs.take_trampolines())
    }

    /// Whether it has hooks on functions: without them it says that a middlebox's reset is not seen.
    fn hooks_functions(&self) -> bool {
        let mut degraded = self.aside.iter().filter_map(|line| line.strip_prefix("degraded: "));
        !degraded.any(|codes| codes.split_whitespace().any(|word| word == Code::RT4004.as_str()))
    }

    /// Waits until what was told is enough, at most until the deadline.
    pub(super) fn wait(&mut self, deadline: Instant, mut enough: impl FnMut(&[Value]) -> bool) -> Result<()> {
        while !enough(&self.told) {
            let before = self.told.len();
            while self.told.len() == before {
                if Instant::now() >= deadline || !self.take(deadline)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Takes the next line; false when there was none until the deadline.
    fn take(&mut self, deadline: Instant) -> Result<bool> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => self.hear(line).map(|()| true),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => bail!("the agent ended too early: {}", self.aside.join("\n")),
        }
    }

    fn hear(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Out(line) => {
                let value: Value =
                    serde_json::from_str(&line).with_context(|| format!("the agent told no JSON: {line}"))?;
                // The last word counts.
                if value["partial"] == true {
                    return Ok(());
                }
                if value["schema"] != schema::REFUSAL || self.scopes.iter().any(|scope| scope.owns(&value)) {
                    self.told.push(value);
                } else if self.past.iter().any(|scope| scope.covers(&value)) {
                    self.late.push(value);
                }
            }
            Line::Err(line) => self.aside.push(line),
        }
        Ok(())
    }

    /// A scenario begins.
    pub(super) fn begin(&mut self, scope: &Scope) {
        self.scopes.push(scope.clone());
    }

    /// More belongs to the scenario that began last.
    pub(super) fn follow(&mut self, scope: &Scope) {
        if let Some(last) = self.scopes.last_mut() {
            last.clone_from(scope);
        }
    }

    /// The scenario that began last is over: nothing more must be told of it.
    pub(super) fn close(&mut self) {
        self.told.clear();
        self.past.extend(self.scopes.pop().map(|scope| Scope { until: boottime(), ..scope }));
    }

    /// Ends it as Ctrl-C would, and hears it out; everything it told, its summary checked.
    pub(super) fn stop(mut self) -> Result<Vec<Value>> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("cannot interrupt the agent")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.hear(line)?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => bail!("the agent did not end when it was interrupted"),
            }
        }
        let status = self.child.wait().context("cannot wait for the agent")?;
        ensure!(status.success(), "the agent ended with {status}: {}", self.aside.join("\n"));
        check_summary(self.told.last())?;
        ensure!(self.late.is_empty(), "told when the scenario was over: {:?}", self.late);
        Ok(std::mem::take(&mut self.told))
    }
}

impl Drop for Agent {
    /// An agent that already ended is not an error.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        self.running.remove(self.child.id());
    }
}

/// The last line must be a summary that adds up and names no loss.
fn check_summary(line: Option<&Value>) -> Result<()> {
    let summary =
        line.filter(|line| line["schema"] == schema::SUMMARY).context("the agent's last line is no summary")?;
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let lost: u64 = ["ring", "queue", "output"].iter().map(|place| number(&summary["lost"][place])).sum();
    let told = number(&summary["delivered"]) + number(&summary["aggregated"]);
    ensure!(lost == 0, "the agent lost refusals: {summary}");
    ensure!(number(&summary["seen"]) == told, "the agent's summary does not add up: {summary}");
    Ok(())
}

/// Reads lines on a thread of their own, until the stream ends.
fn read_lines(stream: Option<impl Read + Send + 'static>, send: Sender<Line>, kind: fn(String) -> Line) {
    let Some(stream) = stream else { return };
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(kind(line)).is_err() {
                break;
            }
        }
    });
}

/// The agents that run, so that a signal to the demo can end them, and with them whatever waits for them.
#[derive(Clone, Default)]
pub(super) struct Running(Arc<Mutex<BTreeSet<u32>>>);

impl Running {
    fn add(&self, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(pid);
    }

    fn remove(&self, pid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&pid);
    }

    /// Ends them all.
    pub(super) fn end(&self) {
        for pid in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                // One that has just ended by itself is as good.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
