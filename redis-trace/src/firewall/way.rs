//! Where in a chain a packet is, and what has become of it.

use super::changed::Changed;
use super::model::{Chain, Table};

/// What can become of a packet that enters a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fates(u8);

impl Fates {
    /// Nothing has become of it yet.
    pub(super) const NONE: Self = Self(0);
    /// It came to the end of the chain.
    pub(super) const BACK: Self = Self(1);
    /// It was let pass.
    pub(super) const PASSED: Self = Self(2);
    /// It was refused, or taken away.
    pub(super) const ENDED: Self = Self(4);

    /// Either.
    #[must_use]
    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this is among them.
    pub(super) fn has(self, fate: Self) -> bool {
        self.0 & fate.0 != 0
    }

    /// All but this.
    #[must_use]
    pub(super) fn without(self, fate: Self) -> Self {
        Self(self.0 & !fate.0)
    }
}

/// Where in a chain the walk is.
pub(super) struct Way<'a> {
    /// The table.
    pub(super) table: &'a Table,
    /// The chain.
    pub(super) chain: &'a Chain,
    /// How many jumps led there.
    pub(super) depth: usize,
    /// The packet certainly entered the chain.
    sure: bool,
    /// The remark of the map's element that led there.
    pub(super) note: Option<&'a str>,
    /// The packet, as rules left it.
    pub(super) changed: Changed,
    /// What can have become of packets that left the chain before.
    fates: Fates,
    /// As rules left those.
    left: Option<Changed>,
}

impl<'a> Way<'a> {
    /// At the first rule of a chain.
    pub(super) fn new(table: &'a Table, entry: Entry<'a>, depth: usize) -> Self {
        let Entry { chain, sure, changed, note } = entry;
        Self { table, chain, depth, sure, note, changed, fates: Fates::NONE, left: None }
    }

    /// The packet certainly comes to the rule that is next.
    pub(super) fn is_sure(&self) -> bool {
        self.sure && self.fates == Fates::NONE
    }

    /// The packet can leave the chain here.
    pub(super) fn leave(&mut self, fates: Fates, changed: Changed) {
        self.fates = self.fates.or(fates);
        self.left = Some(self.left.map_or(changed, |left| left.or(changed)));
    }

    /// What can have become of the packet, and how rules left it.
    pub(super) fn end(self) -> (Fates, Changed) {
        (self.fates, self.left.unwrap_or(self.changed))
    }
}

/// How a chain is entered.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The chain.
    pub(super) chain: &'a Chain,
    /// The packet certainly comes there.
    pub(super) sure: bool,
    /// As rules left it.
    pub(super) changed: Changed,
    /// The remark of the map's element that led there.
    pub(super) note: Option<&'a str>,
}

/// An entry to look up: the chain by its address.
pub(super) type Key<'a> = (*const Chain, bool, Changed, Option<&'a str>);

impl<'a> Entry<'a> {
    /// To look it up by.
    pub(super) fn key(&self) -> Key<'a> {
        (std::ptr::from_ref(self.chain), self.sure, self.changed, self.note)
    }
}
