//! One rule of iptables.

use super::super::model::{Counter, Listed, Rule, Table};
use super::super::statement::{Statement, Verdict};
use super::words::Word;
use super::{matches, target};

/// An option of a rule, the words after it, and whether a `!` turned it round.
pub(super) struct Clause<'a> {
    /// Its name, with its dashes.
    pub(super) name: &'a str,
    /// It must not be so.
    pub(super) negated: bool,
    /// The words after it.
    pub(super) values: &'a [Word<'a>],
}

impl<'a> Clause<'a> {
    /// The first word after it.
    pub(super) fn value(&self) -> &'a str {
        self.values.first().map_or("", |word| &*word.text)
    }
}

/// Options whose only word is somebody's free text, which may look like an option.
const FREE: [&str; 6] = ["--comment", "--string", "--hex-string", "--log-prefix", "--nflog-prefix", "--name"];

/// Reads a rule; `text` is as iptables-save prints it, without its counters.
pub(super) fn read(text: &str, arguments: &[Word<'_>], counter: Option<Counter>, table: &Table) -> Rule {
    let mut statements = Vec::new();
    let mut comment = None;
    let (mut rest, mut verdict) = (arguments, None);
    while let Some(option) = next(&mut rest) {
        match (option.name, option.values) {
            ("--comment", [remark]) => comment = Some(Box::from(&*remark.text)),
            ("-j" | "-g", [to]) => {
                let options = std::iter::from_fn(|| next(&mut rest)).collect::<Vec<_>>();
                verdict = Some(decision(option.name, &to.text, &options, table));
            }
            _ => matches::read(&option, table.family, &mut statements),
        }
    }
    statements.extend(verdict.into_iter().flatten());
    Rule { handle: None, statements, comment, counter, listed: Listed::Arguments(text.trim_end().into()) }
}

/// The next option.
fn next<'a>(rest: &mut &'a [Word<'a>]) -> Option<Clause<'a>> {
    let negated = rest.first()?.is_option() && rest[0].text == "!";
    let (name, after) = rest[usize::from(negated)..].split_first()?;
    let free = FREE.contains(&&*name.text) && !after.is_empty();
    let many = if free { 1 } else { after.iter().take_while(|word| !word.is_option()).count() };
    let (values, later) = after.split_at(many);
    *rest = later;
    Some(Clause { name: &name.text, negated, values })
}

/// Where `-j` or `-g` leads.
fn decision(how: &str, to: &str, options: &[Clause<'_>], table: &Table) -> Vec<Statement> {
    match how {
        "-g" => vec![Statement::Decide(Verdict::Goto(to.into()))],
        _ if table.places.contains_key(to) => vec![Statement::Decide(Verdict::Jump(to.into()))],
        _ => target::read(to, options).into_iter().collect(),
    }
}
