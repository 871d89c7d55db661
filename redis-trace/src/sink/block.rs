//! One refusal as a block of text: who was turned away, why, the proof, the fix.

use unicode_width::UnicodeWidthStr as _;

use super::Look;
use super::line::{Line, Paint, cut, wrap};
use crate::trace::cause::Confidence;
use crate::trace::report::{CauseReport, Fix, Outcome, Report};

/// Column at which the text of a detail begins.
const DETAIL: usize = 8;
/// Column at which the cause begins when there is room.
const CAUSE: usize = 60;
/// Terminals narrower than this get no proof and no fix: they would be all wrapping.
const NARROW: usize = 80;
/// Columns that even the narrowest terminal is taken to have.
const LEAST: usize = 40;

/// The lines that tell this refusal.
pub(super) fn lines(report: &Report, look: &mut Look) -> Vec<Line> {
    let width = look.width.max(LEAST);
    let mut lines = headline(report, look, width);
    let text = width - DETAIL;
    detail(&mut lines, "why", &wrap(&report.summary, text, 4));
    if width >= NARROW {
        let proof: Vec<&str> = report.evidence.iter().map(|evidence| evidence.text.as_str()).collect();
        if !proof.is_empty() {
            detail(&mut lines, "proof", &wrap(&proof.join(" · "), text, 3));
        }
        let more = format!("redis-trace explain {}", report.cause.code);
        let mut fixes: Vec<Vec<String>> = report.fix.iter().map(|fix| wrap(&phrase(fix), text, 4)).collect();
        match fixes.last_mut() {
            None => detail(&mut lines, "more", &[more]),
            Some(last) => add(last, &more, text),
        }
        for (nth, fix) in fixes.iter().enumerate() {
            detail(&mut lines, if nth == 0 { "fix" } else { "or" }, fix);
        }
    }
    lines
}

/// Adds a remark to the last line when it has room, else in a line of its own: a command is not broken in two.
fn add(lines: &mut Vec<String>, remark: &str, width: usize) {
    match lines.last_mut() {
        Some(last) if last.width() + 3 + remark.width() <= width => last.extend([" · ", remark]),
        _ => lines.push(remark.to_owned()),
    }
}

/// Time, outcome, who and what, cause: in one line where that fits, else in two.
fn headline(report: &Report, look: &mut Look, width: usize) -> Vec<Line> {
    let time = look.clock.show(report.time);
    let outcome = report.outcome.name().replace('_', " ").to_uppercase();
    let start = Line::default().with(Paint::Dim, &time).with(outcome_paint(report.outcome), &format!("{outcome:<8} "));
    let name = report.cause.name.as_str();
    let (mut lines, indent) = parties_after(start, &parties(report), width);
    let confidence = report.cause.confidence.name();
    let needed = format!("{} {name} {confidence}", report.cause.code).chars().count();
    if let Some(last) = lines.pop() {
        let roomy = last.width() + 2 <= CAUSE && width >= CAUSE + 40;
        if roomy {
            lines.push(cause(last.pad(CAUSE), &report.cause, 24));
        } else if last.width() + 2 + needed <= width {
            lines.push(cause(last.pad(0), &report.cause, 0));
        } else {
            lines.push(last);
            lines.push(cause(Line::indent(indent.min(width.saturating_sub(needed))), &report.cause, 0));
        }
    }
    lines
}

/// The parties, beside the start of the line or, where that leaves no room, below it; and where they begin.
fn parties_after(start: Line, parties: &str, width: usize) -> (Vec<Line>, usize) {
    let beside = start.width() + LEAST / 2 <= width;
    let indent = if beside { start.width() } else { 2 };
    // An arrow belongs to what it points to: no line ends in one.
    let parties = wrap(&parties.replace("→ ", "→\u{a0}"), width - indent, 3);
    let mut parties = parties.iter().map(|text| text.replace('\u{a0}', " "));
    let first = if beside { start.with(Paint::Strong, &parties.next().unwrap_or_default()) } else { start };
    let rest = parties.map(|more| Line::indent(indent).with(Paint::Strong, &more));
    (std::iter::once(first).chain(rest).collect(), indent)
}

/// Code, name and confidence.
pub(super) fn cause(line: Line, cause: &CauseReport, column: usize) -> Line {
    let sure = match cause.confidence {
        Confidence::Certain => Paint::Sure,
        Confidence::Likely => Paint::Doubtful,
        Confidence::Possible => Paint::Dim,
    };
    line.with(Paint::Code, cause.code.as_str())
        .with(Paint::Plain, &format!(" {:<column$} ", cut(&cause.name, 40)))
        .with(sure, cause.confidence.name())
}

/// `python3(4123) 10.0.3.7 → 10.0.3.9:6379`, as much of it as is known.
fn parties(report: &Report) -> String {
    let who = match report.outcome {
        Outcome::ListenFailed => report.server_process.as_ref(),
        _ => report.client_process.as_ref(),
    };
    let flow = report.flow.as_ref();
    let parts = [
        who.map(|process| format!("{}({})", process.comm, process.pid)),
        flow.and_then(|flow| flow.client).map(|client| client.ip.to_string()),
        target(report).map(|target| format!("→ {target}")),
        flow.and_then(|flow| flow.netns_name.as_ref()).map(|name| format!("in {name}")),
    ];
    parts.into_iter().flatten().collect::<Vec<String>>().join(" ")
}

/// What was dialled, or what a server wanted to listen on.
pub(super) fn target(report: &Report) -> Option<String> {
    let server = report.flow.as_ref().and_then(|flow| flow.server).map(|server| server.to_string());
    server.or_else(|| report.unix.as_ref().map(|unix| unix.path.to_string()))
}

/// `redis.conf:87  bind 127.0.0.1 -::1 10.0.3.9     set a password or ACL first`: the risk matters more than what the
/// command is for, and that more than nothing.
fn phrase(fix: &Fix) -> String {
    let name = fix.file.as_ref().map(|file| file.as_str().rsplit('/').next().unwrap_or_default());
    let place = match (name, fix.line) {
        (Some(name), Some(line)) => format!("{name}:{line}  "),
        (Some(name), None) => format!("{name}  "),
        (None, _) => String::new(),
    };
    let remark = fix.risk.as_ref().or(fix.command.as_ref().and(Some(&fix.text)));
    let remark = remark.map_or_else(String::new, |remark| format!("     {remark}"));
    let what = fix.command.as_deref().unwrap_or(&fix.text);
    format!("{place}{what}{remark}")
}

/// Adds a labelled detail.
fn detail(lines: &mut Vec<Line>, label: &str, text: &[String]) {
    for (nth, text) in text.iter().enumerate() {
        let start = if nth == 0 { format!("  {label:<6}") } else { " ".repeat(DETAIL) };
        lines.push(Line::default().with(Paint::Dim, &start).with(Paint::Plain, text));
    }
}

/// How bad it is for the one who tried.
fn outcome_paint(outcome: Outcome) -> Paint {
    match outcome {
        Outcome::Refused | Outcome::Reset | Outcome::Timeout | Outcome::Rejected | Outcome::ListenFailed => Paint::Bad,
        Outcome::Denied => Paint::Doubtful,
    }
}
