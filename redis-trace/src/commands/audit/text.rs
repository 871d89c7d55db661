//! An audit for people: each finding as rustc would show it, who gets in, the scores.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::report::Audit;
use crate::redis::audit::{Finding, Score, Severity};
use crate::trace::text::Text;

/// All of it.
pub(super) fn told(audit: &Audit, color: bool) -> String {
    let renderer =
        if color { Renderer::styled() } else { Renderer::plain() }.term_width(super::super::output::columns());
    let mut text = String::new();
    for finding in &audit.findings {
        let _ = writeln!(text, "{}\n", renderer.render(&[group(finding, audit)]));
    }
    if audit.left_out > 0 {
        let _ = writeln!(text, "{} more findings of the same rules are not shown\n", audit.left_out);
    }
    access(&mut text, audit);
    drift(&mut text, audit);
    unlike(&mut text, audit);
    if !audit.complete {
        text.push_str("not everything was read: what follows is of the part that was\n");
    }
    score(&mut text, "exposure", &audit.exposure);
    score(&mut text, "refusal risk", &audit.refusal_risk);
    let counted = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let counted = counted.map(|(severity, word)| plural(audit.count(severity), word)).join(", ");
    let patch = if audit.findings.iter().any(|finding| finding.edit.is_some()) {
        "; --fix prints changes as a patch"
    } else {
        ""
    };
    let _ = writeln!(text, "{}: {counted}{patch}", audit.file);
    text
}

/// One finding.
fn group<'a>(finding: &'a Finding, audit: &'a Audit) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let title = level.primary_title(finding.summary.as_str()).id(finding.code.code());
    let mut group = match &finding.place {
        Some(place) => title.element(
            Snippet::source(place.text.as_str())
                .line_start(place.line as usize)
                .path(place.file.as_str())
                .fold(false)
                .annotation(AnnotationKind::Primary.span(place.start..place.end)),
        ),
        None => title.element(Origin::path(audit.file.as_str())),
    };
    for note in &finding.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    for fix in &finding.fix {
        let command = fix.command.as_ref().map_or_else(String::new, |command| format!(": {command}"));
        let risk = fix.risk.as_ref().map_or_else(String::new, |risk| format!(" ({risk})"));
        group = group.element(Level::HELP.message(format!("{}{command}{risk}", fix.text)));
    }
    if let Some(edit) = finding.edit.as_ref().filter(|edit| finding.fix.is_empty() || edit.new.len() == 1) {
        let help = match edit.new.as_slice() {
            [] => "take the line out".to_owned(),
            lines => format!("write: {}", lines.iter().map(Text::as_str).collect::<Vec<_>>().join(" / ")),
        };
        group = group.element(Level::HELP.message(help));
    }
    match finding.cause {
        Some(cause) => group.element(Level::NOTE.with_name("cause").message(cause)),
        None => group,
    }
}

/// Who gets in.
fn access(text: &mut String, audit: &Audit) {
    if audit.access.is_empty() {
        return;
    }
    let assumed = if audit.assumed { ", assumed: say --server" } else { "" };
    let keeps = |finding: &Finding| finding.severity == Severity::Error && finding.cause == Some("RT1020");
    let who = if audit.findings.iter().any(keeps) { "who would get in, if it started" } else { "who gets in" };
    let _ = writeln!(text, "{who} ({}{assumed})", audit.server);
    let width = audit.access.iter().map(|row| row.client.chars().count()).max().unwrap_or_default();
    for row in &audit.access {
        let cause = row.cause.map_or_else(String::new, |cause| format!(" ({cause})"));
        let _ = writeln!(text, "  {:<width$}  {}{cause}", row.client, row.answer.told());
    }
    text.push('\n');
}

/// How the running server differs.
fn drift(text: &mut String, audit: &Audit) {
    let Some(live) = &audit.live else { return };
    let _ = writeln!(
        text,
        "{} against this file: {} of {} directives differ",
        live.server,
        live.differs.len(),
        live.compared
    );
    for one in &live.differs {
        let place = one.line.map_or_else(String::new, |line| format!(" (line {line})"));
        let file = one.file.as_deref().unwrap_or("not set");
        let _ = writeln!(text, "  {:<24} file {file}{place}, running {}", one.directive, one.running);
    }
    for why in &live.not_asked {
        let _ = writeln!(text, "  not asked: {why}");
    }
    text.push('\n');
}

/// How it differs from the first file.
fn unlike(text: &mut String, audit: &Audit) {
    let Some(unlike) = &audit.unlike else { return };
    let count = unlike.differs.len();
    let _ = writeln!(text, "{} against {}: {count} directives differ", audit.file, unlike.first);
    for one in &unlike.differs {
        let place = one.line.map_or_else(String::new, |line| format!(" (line {line})"));
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let _ = writeln!(text, "  {:<24} there {}, here {}{place}", one.directive, value(&one.first), value(&one.here));
    }
    text.push('\n');
}

/// One score.
fn score(text: &mut String, name: &str, score: &Score) {
    let from = score.from.iter().map(|rule| format!("{} {}", rule.code(), rule.name())).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "{}", format!("{name:<13} {:>4.1} {:<8} {from}", score.score, score.level).trim_end());
}

/// `1 error`, `2 errors`.
fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
