//! An audit for code review: SARIF 2.1.0, <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.

use serde_json::{Value, json};

use super::report::Audit;
use crate::redis::audit::rule::Rule;
use crate::redis::audit::{Edit, Finding, Place, Severity};

/// One log of all audits.
pub(super) fn log<'a>(audits: impl Iterator<Item = &'a Audit>) -> Value {
    let results: Vec<Value> =
        audits.flat_map(|audit| audit.findings.iter().map(move |finding| result(finding, audit))).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "redis-trace",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.iter().map(|rule| described(*rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "utf16CodeUnits",
            "results": results,
        }],
    })
}

fn described(rule: Rule) -> Value {
    json!({
        "id": rule.code(),
        "name": rule.name(),
        "shortDescription": {"text": rule.meaning()},
        "defaultConfiguration": {"level": level(rule.severity())},
    })
}

fn result(finding: &Finding, audit: &Audit) -> Value {
    let said = std::iter::once(&finding.summary).chain(&finding.notes).cloned();
    let fixes = finding.fix.iter().map(|fix| match &fix.command {
        Some(command) => format!("{}: {command}", fix.text),
        None => fix.text.clone(),
    });
    let mut result = json!({
        "ruleId": finding.code.code(),
        "ruleIndex": Rule::ALL.iter().position(|rule| *rule == finding.code),
        "level": level(finding.severity),
        "message": {"text": said.chain(fixes).collect::<Vec<_>>().join("\n")},
        "locations": [{"physicalLocation": location(finding.place.as_ref(), audit)}],
    });
    if let Some(edit) = &finding.edit {
        result["fixes"] = json!([{"artifactChanges": [change(edit)]}]);
    }
    result
}

fn location(place: Option<&Place>, audit: &Audit) -> Value {
    match place {
        Some(place) => json!({
            "artifactLocation": {"uri": place.file},
            "region": {
                "startLine": place.line,
                "startColumn": place.column,
                "endColumn": place.column + place.end - place.start,
                "snippet": {"text": place.text},
            },
        }),
        None => json!({"artifactLocation": {"uri": audit.file}}),
    }
}

fn change(edit: &Edit) -> Value {
    let lines: String =
        edit.new.iter().map(|line| String::from_utf8_lossy(&line.to_bytes()).into_owned() + "\n").collect();
    json!({
        "artifactLocation": {"uri": edit.file},
        "replacements": [{
            "deletedRegion": {"startLine": edit.line, "startColumn": 1, "endLine": edit.line + 1, "endColumn": 1},
            "insertedContent": {"text": lines},
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}
