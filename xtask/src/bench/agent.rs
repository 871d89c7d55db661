//! An agent under measurement: started, heard and ended.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::process;

/// A way to watch: what the page calls it, and its flags; not at all has none.
pub(super) type Way = (&'static str, Option<&'static [&'static str]>);
/// The ways whose costs are compared, not watching first.
pub(super) const WAYS: [Way; 3] =
    [("none", None), ("watch", Some(&[])), ("watch --no-syscall-hooks", Some(&["--no-syscall-hooks"]))];

/// A running `redis-trace watch -o json`.
pub(crate) struct Agent {
    /// The process.
    process: Child,
    /// How long it took from its start until it said that it watches.
    pub(crate) to_attached: Duration,
    /// Reads what it says on standard error after its banner.
    words: Option<JoinHandle<Vec<String>>>,
    /// Its lines, each with when it came.
    lines: Receiver<(Instant, String)>,
    /// Lines that were heard while another was waited for.
    heard: Vec<Value>,
}

/// Everything that an agent told.
pub(crate) struct Told {
    /// Its lines but the last.
    lines: Vec<Value>,
    /// Its last line.
    summary: Value,
}

impl Agent {
    /// Starts it and waits for the last line of its banner.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let start = Instant::now();
        let mut process = Command::new(program)
            .args(["watch", "-o", "json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut banner = BufReader::new(process.stderr.take().context("the agent has a standard error")?).lines();
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.starts_with("watching")) {
            match banner.next() {
                Some(line) => said.push(line?),
                None => bail!("`redis-trace watch` ended before it watched; it said:\n{}", said.join("\n")),
            }
        }
        let to_attached = start.elapsed();
        let words = std::thread::spawn(move || banner.map_while(Result::ok).collect());
        let output = BufReader::new(process.stdout.take().context("the agent has a standard output")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, to_attached, words: Some(words), lines, heard: Vec::new() })
    }

    /// Waits until it is at rest: it looks at the host for a while after it says that it watches.
    pub(crate) fn settled(self) -> Result<Self> {
        const LOOK: Duration = Duration::from_millis(100);
        const LOOKS: u32 = 100;
        const AT_REST: f64 = 0.01;
        let mut before = process::cpu(self.pid())?;
        for _ in 0..LOOKS {
            std::thread::sleep(LOOK);
            let used = process::cpu(self.pid())?;
            if used - before < LOOK.as_secs_f64() * 1e9 * AT_REST {
                return Ok(self);
            }
            before = used;
        }
        bail!("the agent did not come to rest within {:?}", LOOK * LOOKS)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for a line that is wanted: when it came, and what it said; nothing when it does not come in time.
    pub(crate) fn hear(
        &mut self,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Option<(Instant, Value)>> {
        let deadline = Instant::now() + patience;
        loop {
            let (at, line) = match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended()),
            };
            let line: Value = serde_json::from_str(&line).with_context(|| format!("the agent said {line:?}"))?;
            self.heard.push(line.clone());
            // The last word counts.
            if line["partial"] != true && wanted(&line) {
                return Ok(Some((at, line)));
            }
        }
    }

    /// What to say when it ended by itself.
    fn ended(&mut self) -> anyhow::Error {
        let status = self.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let words = self.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        anyhow!("the agent ended by itself with {status}; it said:\n{}", words.join("\n"))
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn stop(mut self) -> Result<Told> {
        kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGINT).context("cannot end the agent")?;
        if !self.process.wait()?.success() {
            return Err(self.ended()).context("`redis-trace watch` should have ended well after Ctrl-C");
        }
        let mut lines = std::mem::take(&mut self.heard);
        for (_, line) in &self.lines {
            lines.push(serde_json::from_str(&line).with_context(|| format!("the agent said {line:?}"))?);
        }
        let summary = lines.pop().filter(|line| line["schema"] == "redis-trace.summary/1");
        Ok(Told { lines, summary: summary.context("the agent's last line is its summary")? })
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Only after a failure is it still there; a bench that failed must not leave an agent behind.
        if matches!(self.process.try_wait(), Ok(None)) && self.process.kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}

impl Told {
    /// What it told one by one or as part of a count, with this server port: the last count of each fault.
    pub(crate) fn counted(&self, port: u16) -> u64 {
        let of_it = self.lines.iter().filter(|line| server_port(line) == Some(port.into()));
        let fault = |line: &Value| {
            let flow = &line["flow"];
            let key = [&line["cause"]["code"], &line["first"], &flow["client"]["ip"], &flow["server"], &flow["netns"]];
            key.map(Value::to_string)
        };
        let counts = of_it.filter_map(|line| Some((fault(line), line["count"].as_u64()?)));
        let mut last = std::collections::BTreeMap::new();
        for (fault, count) in counts {
            last.insert(fault, count);
        }
        last.values().sum()
    }

    /// A number of the summary, by its path.
    pub(crate) fn number(&self, path: &str) -> u64 {
        self.summary.pointer(path).and_then(Value::as_u64).unwrap_or(0)
    }

    /// Refusals that it saw, told or lost.
    pub(crate) fn seen(&self) -> u64 {
        self.number("/seen")
    }

    /// Refusals that it says it lost.
    pub(crate) fn lost(&self) -> u64 {
        sum(&self.summary["lost"])
    }

    /// Samples that it says it missed: what it counted all the same.
    pub(crate) fn missed(&self) -> u64 {
        sum(&self.summary["missed"])
    }

    /// Of what the kernel counted, the share that it says it saw.
    pub(crate) fn coverage(&self) -> Option<f64> {
        self.summary["coverage"].as_f64()
    }

    /// Whether its own sum comes out.
    pub(crate) fn adds_up(&self) -> bool {
        self.seen() == self.number("/delivered") + self.number("/aggregated") + self.lost()
    }
}

/// All numbers of an object.
fn sum(object: &Value) -> u64 {
    object.as_object().into_iter().flatten().filter_map(|(_, number)| number.as_u64()).sum()
}

/// The port that was dialled.
pub(crate) fn server_port(line: &Value) -> Option<u64> {
    line.pointer("/flow/server/port")?.as_u64()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Told;

    fn line(port: u16, first: &str, count: u64) -> Value {
        json!({"cause":{"code":"RT1001"},"first":first,"count":count,"flow":{"server":{"ip":"::1","port":port}}})
    }

    #[test]
    fn of_a_running_count_only_the_last_line_counts() {
        let lines = vec![line(1, "a", 1), line(1, "a", 10), line(2, "a", 99), line(1, "a", 12), line(1, "b", 3)];
        assert_eq!(Told { lines, summary: Value::Null }.counted(1), 15);
    }

    #[test]
    fn a_sum_adds_up_with_what_was_lost() {
        let summary = json!({"seen":7,"delivered":1,"aggregated":2,"lost":{"ring":3,"queue":1}});
        let told = Told { lines: Vec::new(), summary };
        assert_eq!((told.seen(), told.lost(), told.adds_up()), (7, 4, true));
    }
}
