//! One thing that an audit found: where it stands, what it means, what to change.

use schemars::JsonSchema;
use serde::Serialize;

use super::effective::Effective;
use super::rule::Rule;
use crate::redis::config::Directive;
use crate::trace::report::Fix;
use crate::trace::text::Text;

/// Most bytes of a line that are shown.
const SHOWN: usize = 200;

/// How bad it is. A note is no problem by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The server does not start, refuses everybody, or is open to everybody.
    Error,
    /// Somebody will be refused, or may do more than is wanted.
    Warning,
    /// Worth knowing.
    Note,
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Place {
    /// The file.
    pub file: Text,
    /// Line number, from 1.
    pub line: u32,
    /// Column of what is meant, from 1.
    pub column: usize,
    /// The line, its secrets hidden, cut where it is too long.
    pub text: Text,
    /// What is meant of it, in bytes of `text`.
    pub start: usize,
    /// Where that ends.
    pub end: usize,
}

impl Place {
    /// Of a directive, or one word of it; absent for an option of the command line.
    pub fn of(directive: &Directive, word: Option<usize>) -> Option<Self> {
        let line = directive.place.as_ref()?;
        let whole = line.text.as_str();
        let mut cut = whole.len().min(SHOWN);
        while !whole.is_char_boundary(cut) {
            cut -= 1;
        }
        let span = word.and_then(|word| directive.spans.get(word)).filter(|span| !span.is_empty() && span.end <= cut);
        let (start, end) = span.map_or((0, cut), |span| (span.start, span.end));
        let text =
            line.text.edited(|text| if cut < text.len() { format!("{}…", &text[..cut]) } else { text.to_owned() });
        Some(Self { file: line.file.clone(), line: line.line, column: directive.indent + start + 1, text, start, end })
    }
}

/// A line to write instead of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Edit {
    /// The file.
    pub file: Text,
    /// The line that is replaced, from 1.
    pub line: u32,
    /// The lines that stand there then.
    pub new: Vec<Text>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Finding {
    /// The rule's code, for ever the same.
    pub code: Rule,
    /// The rule's name.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The cause that clients of such a server meet; `redis-trace explain` has its page.
    pub cause: Option<&'static str>,
    /// Where it stands; absent when no line does.
    pub place: Option<Place>,
    /// What is wrong, in one sentence.
    pub summary: String,
    /// Why, and what else is to be known.
    pub notes: Vec<String>,
    /// What to do.
    pub fix: Vec<Fix>,
    /// The change as a line.
    pub edit: Option<Edit>,
}

impl Finding {
    /// What a rule found.
    pub fn new(rule: Rule, summary: impl Into<String>) -> Self {
        Self {
            code: rule,
            name: rule.name(),
            severity: rule.severity(),
            cause: rule.cause(),
            place: None,
            summary: summary.into(),
            notes: Vec::new(),
            fix: Vec::new(),
            edit: None,
        }
    }

    /// Its rule.
    pub fn rule(&self) -> Rule {
        self.code
    }

    /// At a directive, or at one of its words.
    #[must_use]
    pub fn at(mut self, directive: Option<&Directive>, word: Option<usize>) -> Self {
        match directive.map(|directive| (Place::of(directive, word), directive)) {
            Some((None, directive)) => {
                let name = Text::new(directive.name());
                self.notes.push(format!("it is the option --{name} of the command line"));
            }
            place => self.place = place.and_then(|(place, _)| place),
        }
        self
    }

    /// At the directive that decides on this name.
    #[must_use]
    pub fn at_last(self, effective: &Effective<'_>, name: &str, word: Option<usize>) -> Self {
        self.at(effective.at(name).and_then(|at| effective.directives.get(at)), word)
    }

    /// Adds why, or what else is to be known.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds something to do.
    #[must_use]
    pub fn fix(mut self, text: impl Into<String>, command: Option<&str>) -> Self {
        let fix = Fix { text: text.into(), command: command.map(str::to_owned), file: None, line: None, risk: None };
        self.fix.push(fix);
        self
    }

    /// The risk of what was added last.
    #[must_use]
    pub fn risk(mut self, risk: &str) -> Self {
        if let Some(fix) = self.fix.last_mut() {
            fix.risk = Some(risk.to_owned());
        }
        self
    }

    /// The lines to write instead; a line with something hidden is never rewritten.
    #[must_use]
    pub fn instead(mut self, new: &[&str]) -> Self {
        self.edit = self.place.as_ref().filter(|place| !is_hidden(&place.text)).map(|place| Edit {
            file: place.file.clone(),
            line: place.line,
            new: new.iter().map(|line| place.text.edited(|_| (*line).to_owned())).collect(),
        });
        self
    }
}

/// Something of this line is not shown.
fn is_hidden(text: &Text) -> bool {
    text.as_str().contains(crate::redis::secret::REDACTED) || text.as_str().ends_with('…')
}
