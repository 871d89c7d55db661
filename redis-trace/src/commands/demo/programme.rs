//! What the demo shows: each scenario as it ends, and the table at the end.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::expect::{Expected, Judgement};
use super::scenarios::Scenario;
use crate::cli::{Format, OutputArgs, TimeStyle, When};
use crate::commands::output;
use crate::sink::Sink;
use crate::trace::cause::Code;
use crate::trace::report::schema;

/// Names of the JSON objects.
const RUN: &str = "redis-trace.demo-run/1";
/// One for each scenario, at the end.
const RESULT: &str = "redis-trace.demo/1";

/// One performance of a scenario.
#[derive(Debug, Serialize)]
struct Run<'a> {
    schema: &'static str,
    scenario: &'a str,
    code: Option<Code>,
    passed: bool,
    milliseconds: u64,
    told: &'a [Value],
    missing: &'a [Expected],
    besides: &'a [Value],
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Run<'_> {
    /// What is not as expected, in words.
    fn wrong(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|missing| format!("not told: {}", json!(missing)));
        let said =
            |line: &Value| format!("{} {}: {}", line["cause"]["code"], line["cause"]["confidence"], line["summary"]);
        let besides = self.besides.iter().map(|line| format!("not expected: {}", said(line)));
        missing.chain(besides).chain(self.error.clone()).collect()
    }
}

/// How a scenario went in all its runs: what the table of causes, kernels and tiers is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Performance {
    /// Always `redis-trace.demo/1`.
    pub schema: String,
    /// Its name.
    pub scenario: String,
    /// The cause that it stages; absent when nothing must be told.
    pub code: Option<Code>,
    /// Every run was as expected.
    pub passed: bool,
    /// How often it was performed.
    pub runs: u32,
    /// How often it was not as expected.
    pub failed: u32,
    /// What was wrong, for each run that was not as expected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrong: Vec<String>,
    /// The tier that was asked for: `auto`, the best that the kernel gives, or `t2`.
    pub tier: String,
    /// The kernel's release.
    pub kernel: String,
}

/// Writes the programme.
pub(super) struct Programme {
    format: Format,
    sink: Box<dyn Sink>,
    tier: String,
    performances: BTreeMap<usize, Performance>,
}

impl Programme {
    /// A programme without a performance yet.
    pub(super) fn new(format: Format, tier: String) -> Self {
        let look = OutputArgs {
            output: Format::Text,
            color: When::Auto,
            utc: false,
            time: TimeStyle::None,
            no_aggregate: true,
        };
        Self { format, sink: output::sink(&look), tier, performances: BTreeMap::new() }
    }

    /// Shows one performance.
    pub(super) fn show(
        &mut self,
        place: usize,
        scenario: &Scenario,
        result: &Result<Judgement>,
        took: Duration,
    ) -> Result<()> {
        let nothing = Judgement::default();
        let judgement = result.as_ref().unwrap_or(&nothing);
        let run = Run {
            schema: RUN,
            scenario: scenario.name,
            code: scenario.code,
            passed: result.as_ref().is_ok_and(Judgement::holds),
            milliseconds: took.as_millis().try_into().unwrap_or(u64::MAX),
            told: &judgement.told,
            missing: &judgement.missing,
            besides: &judgement.besides,
            error: result.as_ref().err().map(|error| format!("{error:#}")),
        };
        self.count(place, &run);
        match self.format {
            Format::Json => write_line(&serde_json::to_string(&run)?),
            Format::Text => self.show_text(&run),
        }
    }

    fn count(&mut self, place: usize, run: &Run<'_>) {
        let performance = self.performances.entry(place).or_insert_with(|| Performance {
            schema: RESULT.to_owned(),
            scenario: run.scenario.to_owned(),
            code: run.code,
            passed: true,
            runs: 0,
            failed: 0,
            wrong: Vec::new(),
            tier: self.tier.clone(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        });
        performance.runs += 1;
        performance.failed += u32::from(!run.passed);
        performance.passed &= run.passed;
        if !run.passed {
            performance.wrong.push(run.wrong().join("; "));
        }
    }

    fn show_text(&mut self, run: &Run<'_>) -> Result<()> {
        let mark = if run.passed { "✓" } else { "✗" };
        write_line(&format!("{mark} {} ({} ms)", run.scenario, run.milliseconds))?;
        for line in run.told.iter().chain(run.besides) {
            self.show_line(line)?;
        }
        run.wrong().iter().try_for_each(|wrong| write_line(&format!("  {wrong}")))
    }

    /// Shows a line as `watch` would.
    fn show_line(&mut self, line: &Value) -> Result<()> {
        if line["schema"] == schema::REFUSAL {
            self.sink.report(&serde_json::from_value(line.clone())?)?;
        } else {
            self.sink.update(&serde_json::from_value(line.clone())?)?;
        }
        Ok(())
    }

    /// Shows the table; true when every performance was as expected.
    pub(super) fn end(self) -> Result<bool> {
        let failed = self.performances.values().filter(|performance| !performance.passed).count();
        match self.format {
            Format::Json => {
                for performance in self.performances.values() {
                    write_line(&serde_json::to_string(performance)?)?;
                }
            }
            Format::Text => {
                write_line("")?;
                for performance in self.performances.values() {
                    let code = performance.code.map_or("none", Code::as_str);
                    let good = performance.runs - performance.failed;
                    write_line(&format!("{code:6}  {good}/{}  {}", performance.runs, performance.scenario))?;
                }
                write_line(&format!("{} passed, {failed} failed", self.performances.len() - failed))?;
            }
        }
        Ok(failed == 0)
    }
}

/// Writes a line to standard output, at once.
pub(super) fn write_line(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("cannot write to standard output")
}
