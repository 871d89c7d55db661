//! One condition of a rule, judged on what is known of a packet.

use super::answer::Answer;
use super::elements::{Elements, Part};
use super::field::Key;
use super::model::Table;
use super::packet::{Seen, View};

/// What one or more fields must be.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    /// The fields.
    pub(super) keys: Vec<Key>,
    /// They must not be that.
    pub(super) negated: bool,
    /// What they must be.
    pub(super) among: Among,
}

/// What fields are compared with.
#[derive(Clone, Debug)]
pub(super) enum Among {
    /// These values.
    Values(Elements<()>),
    /// Those of a named set of the table.
    Set(Box<str>),
}

impl Condition {
    /// A field within a range, or not.
    pub(super) fn range(key: impl Into<Key>, negated: bool, low: u128, high: u128) -> Self {
        Self::any(key, negated, [Part::Span(low, high)])
    }

    /// A field that is any of some values, or none of them.
    pub(super) fn any(key: impl Into<Key>, negated: bool, values: impl IntoIterator<Item = Part>) -> Self {
        let mut elements = Elements::default();
        values.into_iter().for_each(|value| elements.add(vec![value], ()));
        Self { keys: vec![key.into()], negated, among: Among::Values(elements.settle()) }
    }

    /// Some bit of a field is set, or none.
    pub(super) fn bits(key: impl Into<Key>, none: bool, bits: u128) -> Self {
        let key = key.into();
        Self::range(Key { field: key.field, mask: key.mask & bits }, !none, 0, 0)
    }

    /// Whether a packet meets it.
    pub(super) fn judge(&self, view: &View<'_>, table: &Table) -> Answer {
        let (one, many);
        let seen = if let [key] = self.keys[..] {
            one = [view.look(key.field, key.mask)];
            one.as_slice()
        } else {
            many = look(&self.keys, view);
            many.as_slice()
        };
        if seen.contains(&Seen::Absent) {
            return Answer::No;
        }
        let answer = match &self.among {
            Among::Values(elements) => elements.meet(seen),
            Among::Set(name) => table.sets.get(name).map_or(Answer::Maybe, |elements| elements.meet(seen)),
        };
        if self.negated { answer.not() } else { answer }
    }

    /// How many steps that takes at most.
    pub(super) fn cost(&self, table: &Table) -> usize {
        match &self.among {
            Among::Values(elements) => elements.cost(),
            Among::Set(name) => table.sets.get(name).map_or(1, Elements::cost),
        }
    }
}

/// What a packet shows of some fields.
pub(super) fn look<'a>(keys: &[Key], view: &View<'a>) -> Vec<Seen<'a>> {
    keys.iter().map(|key| view.look(key.field, key.mask)).collect()
}
