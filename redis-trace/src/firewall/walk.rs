//! The walk of a packet through the chains of a hook, along every way that it can have taken.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::ControlFlow;

use super::answer::Answer;
use super::candidate::{Candidate, Effect, Suspects, Wanted};
use super::changed::{Changed, Destination, Tracking};
use super::condition::look;
use super::found::{self, Found};
use super::model::{Base, Chain, Family, Hook, Policy, Ruleset, Table};
use super::owner::Service;
use super::packet::{Packet, Seen, State, View};
use super::statement::{Branch, Choice, Statement, Verdict};
use super::way::{Entry, Fates, Key, Way};

/// The kernel follows 16 jumps of nftables (NFT_JUMP_STACK_SIZE); iptables goes as deep as there are chains.
const DEPTH: usize = 64;

/// A walk takes no more steps than this: thirty for every rule of a ruleset of 100,000.
const STEPS: usize = 3_000_000;

/// The remark of a map's element that led to a rule.
type Note<'a> = Option<&'a str>;

/// A base chain, and where it is.
type Entrance<'a> = (&'a Table, &'a Chain, &'a Base);

impl Ruleset {
    /// Who can have done to a packet at a hook what is known to have been done.
    pub fn suspects(&self, hook: Hook, packet: &Packet, wanted: Wanted) -> Suspects {
        let mut walk = Walk::new(hook, packet, wanted);
        walk.hook(&self.entrances(hook, packet));
        let (sure, told) = (!walk.stopped, walk.found.iter().map(|found| found.told(hook)));
        let candidates = told.map(|candidate| Candidate { must: candidate.must && sure, ..candidate }).collect();
        Suspects { candidates, complete: sure }
    }

    /// The base chains that a packet enters at a hook, in order.
    fn entrances(&self, hook: Hook, packet: &Packet) -> Vec<Entrance<'_>> {
        let tables = self.tables.iter().filter(|table| table.family.sees(packet.ipv6, packet.bridged));
        let chains = tables.flat_map(|table| table.chains.iter().map(move |chain| (table, chain)));
        let bases = chains.filter_map(|(table, chain)| Some((table, chain, chain.base.as_ref()?)));
        let mut entrances: Vec<_> = bases.filter(|(_, _, base)| base.hook == hook).collect();
        entrances.sort_by_key(order);
        entrances
    }
}

/// What comes first at a hook: at ingress all netdev chains come before all inet chains.
fn order((table, _, base): &Entrance<'_>) -> (bool, i64) {
    (table.family != Family::Netdev, base.priority)
}

/// A walk under way.
struct Walk<'a> {
    /// The packet that walks.
    packet: &'a Packet,
    /// Where.
    hook: Hook,
    /// What was done to it.
    wanted: Wanted,
    /// Who can have done it, so far.
    found: Vec<Found<'a>>,
    /// What became of a packet that entered a chain like this.
    ends: HashMap<Key<'a>, (Fates, Changed)>,
    /// Where each of those is among them.
    places: HashMap<found::Key, usize>,
    /// How far it went.
    steps: usize,
    /// It took too many steps or jumps.
    stopped: bool,
}

impl<'a> Walk<'a> {
    /// A walk that has not begun.
    fn new(hook: Hook, packet: &'a Packet, wanted: Wanted) -> Self {
        let (found, places, ends) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { packet, hook, wanted, found, places, ends, steps: 0, stopped: false }
    }

    /// Goes through the base chains of a hook.
    fn hook(&mut self, entrances: &[Entrance<'a>]) {
        let (mut sure, mut changed) = (true, Changed::new(self.packet));
        for together in entrances.chunk_by(|one, other| order(one) == order(other)) {
            let (before, mut ends, mut all_end) = (self.found.len(), 0, false);
            for entrance in together {
                changed = changed.at(self.hook, entrance.2.priority, self.packet);
                let enters = self.enters(entrance, changed);
                if enters == Answer::No {
                    continue;
                }
                let (fates, left) = self.base(entrance, sure && enters == Answer::Yes, changed);
                changed = if enters == Answer::Yes { left } else { left.or(changed) };
                ends += usize::from(fates.has(Fates::ENDED));
                all_end |= enters == Answer::Yes && fates == Fates::ENDED;
            }
            // Chains of one priority come in the order of their registration, which no listing tells.
            if ends > 1 {
                self.found[before..].iter_mut().for_each(|found| found.must = false);
            }
            if all_end {
                return;
            }
            sure &= ends == 0;
        }
    }

    /// Whether the packet enters a base chain: those of an interface see what passes it, and those that translate see the
    /// first packet of a connection, once.
    fn enters(&self, (_, _, base): &Entrance<'a>, changed: Changed) -> Answer {
        match base.hook {
            Hook::Ingress => return self.packet.input.is_among(base.interfaces.as_deref()),
            Hook::Egress => return self.packet.output.is_among(base.interfaces.as_deref()),
            _ if !base.translates => return Answer::Yes,
            _ => {}
        }
        let first = self.packet.states.within(State::NEW.or(State::RELATED));
        first.and(match changed.destination {
            Destination::Same => Answer::Yes,
            Destination::Unknown => Answer::Maybe,
            Destination::Translated(_) => Answer::No,
        })
    }

    /// Goes through a base chain, to its policy.
    fn base(&mut self, (table, chain, base): &Entrance<'a>, sure: bool, changed: Changed) -> (Fates, Changed) {
        let (fates, left) = self.chain(table, Entry { chain, sure, changed, note: None }, 0);
        let decided = fates.without(Fates::BACK);
        match base.policy {
            _ if !fates.has(Fates::BACK) => (fates, left),
            Policy::Accept => (decided.or(Fates::PASSED), left),
            Policy::Drop => {
                let must = sure && decided == Fates::NONE;
                self.note(Found { table, chain, rule: None, effect: Effect::Drop, must, note: None });
                (decided.or(Fates::ENDED), left)
            }
        }
    }

    /// Goes through a chain, unless a packet like this went through it before.
    fn chain(&mut self, table: &'a Table, entry: Entry<'a>, depth: usize) -> (Fates, Changed) {
        if let Some(end) = self.ends.get(&entry.key()) {
            return *end;
        }
        self.stopped |= depth > DEPTH;
        let mut way = Way::new(table, entry, depth);
        let goes_on = (0..entry.chain.rules.len()).all(|place| !self.stopped && self.rule(&mut way, place));
        if goes_on {
            way.leave(Fates::BACK, way.changed);
        }
        let end = way.end();
        self.ends.insert(entry.key(), end);
        end
    }

    /// Whether the packet can come to the next rule.
    fn rule(&mut self, way: &mut Way<'a>, place: usize) -> bool {
        let (before, mut meets) = (way.changed, Answer::Yes);
        let mut statements = way.chain.rules[place].statements.iter();
        let decided = statements.try_for_each(|statement| self.statement(way, place, &mut meets, statement));
        let next = decided.break_value().unwrap_or(Some(way.changed));
        way.changed = match (meets, next) {
            (Answer::Yes, None) => return false,
            (Answer::Yes, Some(next)) => next,
            (_, next) => next.map_or(before, |next| next.or(before)),
        };
        true
    }

    /// Goes on to the next statement, or ends the rule: with what comes to the next rule, when anything does.
    fn statement(
        &mut self,
        way: &mut Way<'a>,
        place: usize,
        meets: &mut Answer,
        statement: &'a Statement,
    ) -> ControlFlow<Option<Changed>> {
        self.steps += 1;
        self.stopped |= self.steps > STEPS;
        let view = View { packet: self.packet, hook: self.hook, changed: way.changed };
        match statement {
            _ if self.stopped => return ControlFlow::Break(None),
            Statement::If(condition) => {
                self.steps += condition.cost(way.table);
                *meets = meets.and(condition.judge(&view, way.table));
                if *meets == Answer::No {
                    return ControlFlow::Break(Some(way.changed));
                }
            }
            Statement::Maybe => *meets = meets.and(Answer::Maybe),
            Statement::Mark(change) => way.changed.mark = change.and_then(|change| change.of(way.changed.mark)),
            Statement::Untrack => way.changed.tracking = Tracking::Unknown,
            Statement::Decide(Verdict::Continue) => {}
            Statement::Decide(verdict) => {
                let note = way.note;
                return ControlFlow::Break(self.decide(way, place, *meets == Answer::Yes, verdict, note));
            }
            Statement::Choose(keys, choice) => {
                let seen = look(keys, &view);
                return ControlFlow::Break(self.choose(way, place, *meets == Answer::Yes, &seen, choice));
            }
        }
        ControlFlow::Continue(())
    }

    /// What comes to the next rule after a map decided, when anything does.
    fn choose(
        &mut self,
        way: &mut Way<'a>,
        place: usize,
        sure: bool,
        seen: &[Seen<'_>],
        choice: &'a Choice,
    ) -> Option<Changed> {
        let elements = match choice {
            Choice::Here(elements) => Some(elements),
            Choice::Map(name) => way.table.maps.get(name),
        };
        let Some(elements) = elements else { return self.decide(way, place, false, &Verdict::Elsewhere, way.note) };
        if seen.contains(&Seen::Absent) {
            return Some(way.changed);
        }
        self.steps += elements.cost();
        let hits = elements.hits(seen);
        let names_services = matches!(choice, Choice::Map(name) if **name == *Service::WITHOUT_ENDPOINTS);
        let note = way.note;
        let sure = sure && hits.found.len() == 1 && !hits.none && !hits.unclear;
        let mut next = hits.none.then_some(way.changed);
        let unclear = Branch { verdict: Verdict::Elsewhere, comment: None };
        let mut come = |walk: &mut Self, verdict: &Verdict, note| {
            let comes = walk.decide(way, place, sure, verdict, note);
            next = next.map_or(comes, |next| Some(comes.map_or(next, |comes| comes.or(next))));
        };
        for branch in hits.found {
            self.steps += 1;
            come(self, &branch.verdict, branch.comment.as_deref().filter(|_| names_services).or(note));
        }
        if hits.unclear {
            come(self, &unclear.verdict, None);
        }
        next
    }

    /// What comes to the next rule after a verdict, when anything does.
    fn decide(
        &mut self,
        way: &mut Way<'a>,
        place: usize,
        sure: bool,
        verdict: &Verdict,
        note: Note<'a>,
    ) -> Option<Changed> {
        let must = sure && way.is_sure();
        let changed = way.changed;
        let found = |effect, must| Found { table: way.table, chain: way.chain, rule: Some(place), effect, must, note };
        match verdict {
            Verdict::Continue => return Some(changed),
            Verdict::Accept => way.leave(Fates::PASSED, changed),
            Verdict::Return => way.leave(Fates::BACK, changed),
            Verdict::Drop => {
                self.note(found(Effect::Drop, must));
                way.leave(Fates::ENDED, changed);
            }
            Verdict::Reject(reject) => {
                let Some(effect) = reject.effect(self.packet) else { return Some(changed) };
                self.note(found(effect, must));
                way.leave(Fates::ENDED, changed);
            }
            Verdict::Translate(target) => {
                self.note(found(target.effect(), must));
                let destination = target.destination(changed.destination(self.packet));
                way.leave(Fates::PASSED, Changed { destination, ..changed });
            }
            Verdict::Jump(to) => return self.jump(way, place, must, to, note, true),
            Verdict::Goto(to) => return self.jump(way, place, must, to, note, false),
            Verdict::Elsewhere => {
                self.note(found(Effect::Elsewhere, false));
                let changed = Changed { mark: None, ..changed };
                way.leave(Fates::PASSED.or(Fates::ENDED), changed);
                return Some(changed);
            }
        }
        None
    }

    /// What comes to the next rule after another chain, when it leads back and anything does.
    fn jump(
        &mut self,
        way: &mut Way<'a>,
        place: usize,
        sure: bool,
        to: &str,
        note: Note<'a>,
        back: bool,
    ) -> Option<Changed> {
        let table = way.table;
        let Some(chain) = table.places.get(to).and_then(|place| table.chains.get(*place)) else {
            return self.decide(way, place, false, &Verdict::Elsewhere, note);
        };
        let entry = Entry { chain, sure, changed: way.changed, note };
        let (fates, left) = self.chain(table, entry, way.depth + 1);
        let gone = if back { fates.without(Fates::BACK) } else { fates };
        if gone != Fates::NONE {
            way.leave(gone, left);
        }
        (back && fates.has(Fates::BACK)).then_some(left)
    }

    /// Takes down who can have done it; a rule that is come to in several ways is one.
    fn note(&mut self, found: Found<'a>) {
        if !self.wanted.fits(found.effect) {
            return;
        }
        match self.places.entry(found.key()) {
            Slot::Occupied(known) => self.found[*known.get()].also(&found),
            Slot::Vacant(new) => {
                new.insert(self.found.len());
                self.found.push(found);
            }
        }
    }
}
