//! What a doctor tells: a line a step, one verdict, the fix. Text, JSON and Markdown are views of one structure.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use super::dial::{self, Place};
use crate::cli::{DoctorArgs, Document};
use crate::commands::output;
use crate::failure::Exit;
use crate::redis::reply::Said;
use crate::redis::target::Target;
use crate::trace::cause::Code;
use crate::trace::report::{Fix, Report};
use crate::trace::text::Text;

/// Name of the JSON object.
const SCHEMA: &str = "redis-trace.doctor/1";

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Good,
    /// It works, and will not for long or not for all.
    Warn,
    /// It does not work.
    Bad,
    /// It was not done, and the text says why.
    Skipped,
    /// It was done and does not tell.
    Unknown,
}

impl State {
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => ("✓", "32"),
            Self::Warn => ("!", "33"),
            Self::Bad => ("✗", "1;31"),
            Self::Skipped => ("–", "2"),
            Self::Unknown => ("?", "33"),
        }
    }
}

/// One step of the troubleshooting guide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// Which.
    pub name: String,
    /// How it ended.
    pub state: State,
    /// Its proof, or why it was not done.
    pub text: String,
}

/// What is wrong, in one sentence, and what would end it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The cause's code; absent when nothing is wrong or the cause has none.
    pub code: Option<String>,
    /// The cause's name.
    pub name: String,
    /// How sure: `certain`, `likely` or `possible`.
    pub confidence: String,
    /// The sentence.
    pub summary: String,
    /// What would end it.
    pub fix: Vec<Fix>,
    /// The fault is not on this host.
    pub elsewhere: bool,
}

impl Finding {
    /// Something of this host or of the server, by its code.
    pub(super) fn of_code(code: &str, name: &str, confidence: &str, summary: String) -> Self {
        let (code, name, confidence) = (Some(code.to_owned()), name.to_owned(), confidence.to_owned());
        Self { code, name, confidence, summary, fix: Vec::new(), elsewhere: false }
    }

    /// It is none of this host.
    pub(super) fn elsewhere(mut self) -> Self {
        self.elsewhere = true;
        self
    }

    /// One more thing that would end it.
    pub(super) fn with(mut self, fix: Fix) -> Self {
        self.fix.push(fix);
        self
    }

    /// What was told of a dial.
    fn of_refusal(report: &Report) -> Self {
        let code = report.cause.code.as_str();
        Self {
            code: Some(code.to_owned()),
            name: report.cause.name.clone(),
            confidence: report.cause.confidence.name().to_owned(),
            summary: report.summary.clone(),
            fix: report.fix.clone(),
            elsewhere: code.starts_with("RT4"),
        }
    }

    /// A dial of which nothing was told.
    fn untold(place: &Place, error: &io::Error) -> Self {
        let got = dial::error_name(error);
        let summary = format!("{place} was dialled and got {got}; nothing that was seen says why");
        Self::of_code("RT0000", "unknown", "possible", summary)
    }

    /// What the server itself said.
    pub(super) fn of_reply(said: &Said, quoted: &Text) -> Self {
        let is_heard = !quoted.as_str().is_empty();
        let words = if is_heard { format!(" (“{quoted}”)") } else { String::new() };
        let confidence = if is_heard { "certain" } else { "likely" };
        let finding =
            Self::of_code(said.code.as_str(), said.code.name(), confidence, format!("{}{words}", said.meaning));
        said.fix.iter().fold(finding, |finding, (text, command)| finding.with(fix(text, command.map(str::to_owned))))
    }

    /// A name without an address.
    pub(super) fn unresolved(target: &Target, why: &str) -> Self {
        Self {
            code: None,
            name: "name-not-resolved".to_owned(),
            confidence: "certain".to_owned(),
            summary: format!("nothing was dialled: {why}"),
            fix: vec![fix(
                "see what the resolver says",
                target.host_for_a_shell().map(|host| format!("getent ahosts {host}")),
            )],
            elsewhere: false,
        }
    }

    fn nothing(warnings: usize) -> Self {
        let besides = match warnings {
            0 => String::new(),
            1 => "; one step warns".to_owned(),
            more => format!("; {more} steps warn"),
        };
        Self {
            code: None,
            name: "nothing-wrong".to_owned(),
            confidence: "certain".to_owned(),
            summary: format!("the connection is taken, and nothing that was looked at refuses it{besides}"),
            fix: Vec::new(),
            elsewhere: false,
        }
    }
}

/// Something that would end it.
pub(super) fn fix(text: &str, command: Option<String>) -> Fix {
    Fix { text: text.to_owned(), command, file: None, line: None, risk: None }
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Doctor {
    /// Always `redis-trace.doctor/1`.
    pub schema: String,
    /// What was dialled.
    pub target: String,
    /// How long it took.
    pub seconds: f64,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The verdict.
    pub verdict: Finding,
    /// What `watch` tells of the dials that failed.
    pub refusals: Vec<Report>,
    #[serde(skip)]
    #[schemars(skip)]
    printer: Printer,
    #[serde(skip)]
    #[schemars(skip)]
    is_decided: bool,
}

impl Doctor {
    /// Nothing was done yet.
    pub(super) fn new(target: &Target, printer: Printer) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            target: target.to_string(),
            seconds: 0.0,
            steps: Vec::new(),
            verdict: Finding::nothing(0),
            refusals: Vec::new(),
            printer,
            is_decided: false,
        }
    }

    /// A step has ended.
    pub(super) fn step(&mut self, name: &str, state: State, text: String) -> io::Result<()> {
        let step = Step { name: name.to_owned(), state, text };
        self.printer.print(&step)?;
        self.steps.push(step);
        Ok(())
    }

    /// Steps that are not done, and why.
    pub(super) fn skip(&mut self, names: &[&str], why: &str) -> io::Result<()> {
        names.iter().try_for_each(|name| self.step(name, State::Skipped, why.to_owned()))
    }

    /// What is wrong; what was found first stays.
    pub(super) fn verdict(&mut self, finding: Finding) {
        if !self.is_decided {
            self.is_decided = true;
            self.verdict = finding;
        }
    }

    /// A dial failed, and this is told of it.
    pub(super) fn refused(&mut self, place: &Place, error: &io::Error, refusals: Vec<Report>) -> io::Result<()> {
        match refusals.first() {
            Some(report) => {
                self.step(
                    "cause",
                    State::Bad,
                    format!("{} {}: {}", report.cause.code, report.cause.name, report.summary),
                )?;
                self.verdict(Finding::of_refusal(report));
            }
            None => self.verdict(Finding::untold(place, error)),
        }
        self.refusals.extend(refusals);
        Ok(())
    }

    /// More that is known of what is wrong, and what would end it before all else.
    pub(super) fn amend(&mut self, more: &str, fixes: Vec<Fix>) {
        if self.is_decided {
            self.verdict.summary = format!("{}; {more}", self.verdict.summary);
            self.verdict.fix.splice(0..0, fixes);
        }
    }

    /// What is wrong has a history, which nobody watched: it is likely what this host's service manager says of it.
    pub(super) fn is_rather(&mut self, cause: Code) {
        if self.verdict.code.as_deref() == Some(Code::RT1001.as_str()) {
            let (code, name) = (Some(cause.as_str().to_owned()), cause.name().to_owned());
            self.verdict = Finding { code, name, confidence: "likely".to_owned(), ..self.verdict.clone() };
        }
    }

    /// Another address answered: what was refused before hurt nobody.
    pub(super) fn forgive(&mut self) {
        self.is_decided = false;
        for step in self.steps.iter_mut().filter(|step| step.state == State::Bad) {
            step.state = State::Warn;
        }
        for report in &mut self.refusals {
            report.benign = true;
        }
    }

    /// It is over.
    pub(super) fn after(mut self, began: Instant) -> Self {
        self.seconds = began.elapsed().as_secs_f64();
        if !self.is_decided {
            self.verdict = Finding::nothing(self.steps.iter().filter(|step| step.state == State::Warn).count());
        }
        self
    }

    /// The exit code that says so.
    pub(super) fn exit(&self) -> Exit {
        match (self.is_decided, self.verdict.elsewhere) {
            (false, _) => Exit::Fine,
            (true, true) => Exit::Elsewhere,
            (true, false) => Exit::Found,
        }
    }
}

/// Where steps are shown as they end: in text alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Printer {
    text: bool,
    color: bool,
}

impl Printer {
    /// As the flags say.
    pub(super) fn new(args: &DoctorArgs) -> Self {
        Self { text: args.output == Document::Text, color: output::color(args.color) }
    }

    fn print(self, step: &Step) -> io::Result<()> {
        if !self.text {
            return Ok(());
        }
        writeln!(io::stdout(), "{} {:<9} {}", painted(self.color, step.state.mark()), step.name, step.text)
    }
}

fn painted(color: bool, (mark, paint): (&str, &str)) -> String {
    if color { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() }
}

/// The verdict as text.
pub(super) fn ending(doctor: &Doctor, args: &DoctorArgs) -> String {
    let Finding { code, name, confidence, summary, fix, elsewhere } = &doctor.verdict;
    let paint = if code.is_some() || doctor.is_decided { "1;31" } else { "1;32" };
    let head = format!("{}{name}", code.as_ref().map_or_else(String::new, |code| format!("{code} ")));
    let head = painted(output::color(args.color), (&head, paint));
    let place = if *elsewhere { ", not on this host" } else { "" };
    let mut text = format!("\n{head}  {confidence}{place}\n  why   {summary}\n");
    for (nth, fix) in fix.iter().enumerate() {
        let command = fix.command.as_ref().map_or_else(String::new, |command| format!("  {command}"));
        let _ = writeln!(text, "  {:<5} {}{command}", if nth == 0 { "fix" } else { "or" }, fix.text);
    }
    text
}

/// A report that a ticket can hold.
pub(super) fn markdown(doctor: &Doctor) -> String {
    let Finding { code, name, confidence, summary, fix, .. } = &doctor.verdict;
    let code = code.as_ref().map_or_else(String::new, |code| format!("{code} "));
    let mut text = format!(
        "## redis-trace doctor {}\n\n**{code}{name}** ({confidence}): {}\n\n",
        cell(&doctor.target),
        cell(summary)
    );
    for fix in fix {
        let command =
            fix.command.as_ref().map_or_else(String::new, |command| format!(": `{}`", command.replace('`', "'")));
        let _ = writeln!(text, "- {}{command}", cell(&fix.text));
    }
    text.push_str("\n| | step | proof |\n|---|---|---|\n");
    for step in &doctor.steps {
        let _ = writeln!(text, "| {} | {} | {} |", step.state.mark().0, step.name, cell(&step.text));
    }
    let _ = writeln!(text, "\nredis-trace {}, {:.1} s", env!("CARGO_PKG_VERSION"), doctor.seconds);
    text
}

/// Text that cannot break out of a cell of a table, nor be markup.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '[' | ']' | '<' | '>' | '\\' => cell.extend(['\\', c]),
            '\n' | '\r' => cell.push(' '),
            other => cell.push(other),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_cannot_forge_a_cell_or_a_link() {
        assert_eq!(cell("a | b\n[x](http://y) `z`"), "a \\| b \\[x\\](http://y) \\`z\\`");
    }

    #[test]
    fn what_is_found_first_is_the_verdict_and_an_answer_forgives_it() {
        let target: Target = "db".parse().expect("a target");
        let mut doctor = Doctor::new(&target, Printer { text: false, color: false });
        doctor.step("connect", State::Bad, "refused".to_owned()).expect("nothing is printed");
        doctor.verdict(Finding::unresolved(&target, "first"));
        doctor.verdict(Finding::unresolved(&target, "second"));
        assert!(doctor.verdict.summary.contains("first"));
        assert_eq!(doctor.exit(), Exit::Found);
        doctor.forgive();
        let doctor = doctor.after(Instant::now());
        assert_eq!(
            (doctor.exit(), doctor.verdict.summary.as_str()),
            (Exit::Fine, "the connection is taken, and nothing that was looked at refuses it; one step warns")
        );
    }
}
