//! What an audit comes to. Text, JSON and SARIF are views of this structure, and the JSON Schema is made from it.

use schemars::JsonSchema;
use serde::Serialize;

use super::instances::Unlike;
use super::live::Drift;
use super::subject::Subject;
use crate::redis::audit::access::Row;
use crate::redis::audit::effective::{Effective, Kind};
use crate::redis::audit::rule::Rule;
use crate::redis::audit::{Finding, Score, Severity, arranged};
use crate::trace::text::Text;

/// Name of the JSON object.
const SCHEMA: &str = "redis-trace.audit/1";

/// What is to be said of one configuration.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Audit {
    /// Always `redis-trace.audit/1`.
    pub schema: &'static str,
    /// The file.
    pub file: Text,
    /// `data`, `sentinel` or `acl`.
    pub kind: &'static str,
    /// For which server it was judged.
    pub server: String,
    /// Nobody said which server: that is the newest.
    pub assumed: bool,
    /// All of it was read.
    pub complete: bool,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// So many more of rules with very many findings are not listed.
    pub left_out: usize,
    /// Who gets in, and who is refused how.
    pub access: Vec<Row>,
    /// How exposed it is.
    pub exposure: Score,
    /// How likely it refuses somebody.
    pub refusal_risk: Score,
    /// How the running server differs; absent when none was asked.
    pub live: Option<Drift>,
    /// How it differs from the first file of its kind that was audited with it; absent for that one.
    pub unlike: Option<Unlike>,
}

impl Audit {
    /// Puts it together.
    pub(super) fn new(
        subject: &Subject,
        effective: &Effective<'_>,
        assumed: bool,
        access: Vec<Row>,
        findings: Vec<Finding>,
        live: Option<Drift>,
    ) -> Self {
        let (exposure, refusal_risk) = (Score::of_exposure(&findings), Score::of_refusal(&findings));
        let complete = !findings.iter().any(|finding| finding.rule() == Rule::RA106);
        let (findings, left_out) = arranged(findings);
        let kind = match subject.kind {
            Kind::Data => "data",
            Kind::Sentinel => "sentinel",
            Kind::Acl => "acl",
        };
        let access = if subject.kind == Kind::Acl { Vec::new() } else { access };
        Self {
            schema: SCHEMA,
            file: subject.name.clone(),
            kind,
            server: effective.server.to_string(),
            assumed,
            complete,
            findings,
            left_out,
            access,
            exposure,
            refusal_risk,
            live,
            unlike: None,
        }
    }

    /// There is no problem: notes are none.
    pub(super) fn is_sound(&self) -> bool {
        let drifts = self.live.as_ref().is_some_and(|live| !live.differs.is_empty());
        !drifts && self.findings.iter().all(|finding| finding.severity == Severity::Note)
    }

    /// How many there are of a severity.
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}
