//! What a scenario expects to be told, and the comparison with what was told.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::trace::cause::Code;
use crate::trace::report::schema;

/// Port of the refusal that ends each scenario: when it has been told, everything before it has been.
pub const SENTINEL_PORT: u16 = 1;

/// One line that must be told, exactly once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Members that the line must have, with these values.
    pub is: Value,
    /// Words that its summary, evidence or fix must contain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// For a correction: which of the expected lines it corrects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrects: Option<usize>,
    /// It may be told any number of times, and not at all: what servers do besides, as often as they have the time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub besides: bool,
}

impl Expected {
    /// A refusal with this cause, told once.
    pub fn refusal(code: Code) -> Self {
        let is = json!({"schema": schema::REFUSAL, "cause": {"code": code, "name": code.name()}, "count": 1});
        Self { is, mentions: Vec::new(), corrects: None, besides: false }
    }

    /// A correction of the expected line with this index.
    pub fn correction(code: Code, corrects: usize) -> Self {
        let is = json!({"schema": schema::UPDATE, "cause": {"code": code}});
        Self { is, mentions: Vec::new(), corrects: Some(corrects), besides: false }
    }

    /// Refusals of a server's own dials, any number of them.
    pub fn besides(pid: u32) -> Self {
        let is = json!({"schema": schema::REFUSAL, "client_process": {"pid": pid}});
        Self { is, mentions: Vec::new(), corrects: None, besides: true }
    }

    /// Also has these members.
    #[must_use]
    pub fn with(mut self, more: Value) -> Self {
        merge(&mut self.is, more);
        self
    }

    /// Also says this somewhere.
    #[must_use]
    pub fn says(mut self, word: &(impl ToString + ?Sized)) -> Self {
        self.mentions.push(word.to_string());
        self
    }

    /// True when this line is what was expected.
    fn fits(&self, line: &Value) -> bool {
        contains(line, &self.is) && {
            let text = sentences(line);
            self.mentions.iter().all(|word| text.contains(word))
        }
    }
}

/// Adds the members of `more` to `to`, recursively.
fn merge(to: &mut Value, more: Value) {
    match (to, more) {
        (Value::Object(to), Value::Object(more)) => {
            for (name, value) in more {
                merge(to.entry(name).or_insert(Value::Null), value);
            }
        }
        (to, more) => *to = more,
    }
}

/// True when `line` has every member of `subset`.
fn contains(line: &Value, subset: &Value) -> bool {
    match (line, subset) {
        (Value::Object(line), Value::Object(subset)) => {
            subset.iter().all(|(name, value)| line.get(name).is_some_and(|found| contains(found, value)))
        }
        (line, subset) => line == subset,
    }
}

/// Everything that a line says in words.
fn sentences(line: &Value) -> String {
    let mut text = line["summary"].as_str().unwrap_or_default().to_owned();
    for list in ["evidence", "fix"] {
        for item in line[list].as_array().into_iter().flatten() {
            for member in ["text", "command", "file"] {
                text.push('\n');
                text.push_str(item[member].as_str().unwrap_or_default());
            }
        }
    }
    text
}

/// What belongs to a scenario, so that nothing told about it goes unnoticed and nothing else is mistaken for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scope {
    /// When it began, boottime nanoseconds: numbers of namespaces and processes are used again.
    pub since: u64,
    /// When it ended.
    pub until: u64,
    /// Its network namespaces.
    pub netns: BTreeSet<u32>,
    /// Its processes.
    pub pids: BTreeSet<u32>,
    /// Its directory: unix sockets and configuration files are below it.
    pub directory: String,
}

impl Default for Scope {
    /// Nothing, for all time.
    fn default() -> Self {
        let directory = "/nowhere".to_owned();
        Self { since: 0, until: u64::MAX, netns: BTreeSet::new(), pids: BTreeSet::new(), directory }
    }
}

impl Scope {
    /// True when this line is a refusal about the scenario, its sentinel left aside.
    pub fn covers(&self, refusal: &Value) -> bool {
        refusal["schema"] == schema::REFUSAL && self.owns(refusal) && !is_sentinel(refusal)
    }

    /// True when this refusal ends the scenario: it is about its sentinel.
    pub fn ends(&self, refusal: &Value) -> bool {
        is_sentinel(refusal) && self.owns(refusal)
    }

    /// True when this refusal is about the scenario or its sentinel.
    pub fn owns(&self, refusal: &Value) -> bool {
        if refusal["boottime_ns"].as_u64().is_some_and(|time| time < self.since || time > self.until) {
            return false;
        }
        // What programs dial besides, like the C library its name service, is not the scenario's.
        if let Some(path) = refusal["unix"]["path"].as_str() {
            return path.starts_with(&self.directory) || path.starts_with("@redis-trace-demo");
        }
        let pid = |process: &str| refusal[process]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let netns = refusal["flow"]["netns"].as_u64().and_then(|netns| u32::try_from(netns).ok());
        netns.is_some_and(|netns| self.netns.contains(&netns))
            || ["client_process", "server_process"].into_iter().filter_map(pid).any(|pid| self.pids.contains(&pid))
    }
}

/// True for the refusal of a sentinel.
fn is_sentinel(line: &Value) -> bool {
    line["flow"]["server"]["port"] == SENTINEL_PORT
}

/// What a replay of a scenario's recording must tell; kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Each of these once.
    pub expected: Vec<Expected>,
    /// And nothing else about these.
    pub scope: Scope,
}

/// How what was told compares with what was expected.
#[derive(Debug, Default, PartialEq)]
pub struct Judgement {
    /// Lines that were expected, in the order in which they were expected.
    pub told: Vec<Value>,
    /// What was expected and not told.
    pub missing: Vec<Expected>,
    /// What was told of this scenario and not expected.
    pub besides: Vec<Value>,
}

impl Judgement {
    /// All that was expected was told, and nothing else.
    pub fn holds(&self) -> bool {
        self.missing.is_empty() && self.besides.is_empty()
    }
}

/// Compares all lines told so far with what is expected.
pub fn judge(lines: &[Value], scope: &Scope, expected: &[Expected]) -> Judgement {
    let mut besides = latest(lines, scope);
    let mut judgement = Judgement::default();
    let mut numbers = Vec::new();
    let (any_number, expected): (Vec<_>, Vec<_>) = expected.iter().partition(|wanted| wanted.besides);
    let is_any = |line: &Value| any_number.iter().any(|wanted| wanted.fits(line));
    let numbers_of_any: Vec<Value> =
        besides.iter().filter(|line| is_any(line)).map(|line| line["seq"].clone()).collect();
    // With what corrects them.
    besides.retain(|line| !numbers_of_any.contains(&line["seq"]));
    for wanted in expected {
        let corrected: Option<&Value> = wanted.corrects.and_then(|index| numbers.get(index));
        let fits = |line: &Value| wanted.fits(line) && corrected.is_none_or(|seq| line["seq"] == *seq);
        if let Some(at) = besides.iter().position(fits) {
            let line = besides.remove(at);
            numbers.push(line["seq"].clone());
            judgement.told.push(line);
        } else {
            numbers.push(Value::Null);
            judgement.missing.push(wanted.clone());
        }
    }
    judgement.besides = besides;
    judgement
}

/// Each refusal of the scenario as it was last told, then each correction of its cause.
fn latest(lines: &[Value], scope: &Scope) -> Vec<Value> {
    let mut refusals: Vec<Value> = Vec::new();
    let mut corrections = Vec::new();
    for line in lines {
        let same = refusals.iter_mut().find(|earlier| earlier["seq"] == line["seq"]);
        match (line["schema"].as_str(), same) {
            (Some(schema::REFUSAL), Some(earlier)) => *earlier = line.clone(),
            (Some(schema::REFUSAL), None) if scope.covers(line) => refusals.push(line.clone()),
            (Some(schema::UPDATE), Some(earlier)) => {
                if line["benign"] == true {
                    earlier["benign"] = json!(true);
                }
                if !line["cause"].is_null() {
                    corrections.push(line.clone());
                }
            }
            _ => {}
        }
    }
    refusals.extend(corrections);
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, code: &str) -> Value {
        json!({"schema": schema::REFUSAL, "seq": seq, "count": 1, "cause": {"code": code, "name": "no-listener"}, "summary": "nothing listens",
            "flow": {"netns": 7, "server": {"port": 6379}}, "evidence": [{"source": "sock_diag", "text": "pid 12"}]})
    }

    fn scope() -> Scope {
        Scope { netns: BTreeSet::from([7]), ..Scope::default() }
    }

    #[test]
    fn what_is_told_once_and_fits_holds() {
        let expected = [Expected::refusal(Code::RT1001).says("pid 12")];
        assert!(judge(&[line(1, "RT1001")], &scope(), &expected).holds());
    }

    #[test]
    fn a_wrong_a_missing_and_a_double_verdict_do_not_hold() {
        let expected = [Expected::refusal(Code::RT1001)];
        assert!(!judge(&[line(1, "RT1002")], &scope(), &expected).holds());
        assert!(!judge(&[], &scope(), &expected).holds());
        assert!(!judge(&[line(1, "RT1001"), line(2, "RT1001")], &scope(), &expected).holds());
        assert!(!judge(&[line(1, "RT1001")], &scope(), &[expected[0].clone().says("pid 13")]).holds());
    }

    #[test]
    fn the_sentinel_and_other_namespaces_are_left_aside() {
        let sentinel =
            json!({"schema": schema::REFUSAL, "seq": 1, "flow": {"netns": 7, "server": {"port": SENTINEL_PORT}}});
        let other = json!({"schema": schema::REFUSAL, "seq": 2, "flow": {"netns": 8, "server": {"port": 6379}}});
        assert!(judge(&[sentinel, other], &scope(), &[]).holds());
    }

    #[test]
    fn a_repeat_of_the_same_refusal_replaces_it() {
        let mut last = line(1, "RT1001");
        last["count"] = json!(20);
        let expected = [Expected::refusal(Code::RT1001).with(json!({"count": 20}))];
        assert!(judge(&[line(1, "RT1001"), last], &scope(), &expected).holds());
    }

    #[test]
    fn a_correction_must_carry_the_number_of_what_it_corrects() {
        let update = |seq: u64| json!({"schema": schema::UPDATE, "seq": seq, "cause": {"code": "RT1018"}, "summary": "it began to listen"});
        let expected = [Expected::refusal(Code::RT1001), Expected::correction(Code::RT1018, 0)];
        assert!(judge(&[line(4, "RT1001"), update(4)], &scope(), &expected).holds());
        assert!(!judge(&[line(4, "RT1001"), update(5)], &scope(), &expected).holds());
    }
}
