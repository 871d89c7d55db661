//! The elements of a set or a map, and which of them a packet can meet.

use super::answer::Answer;
use super::packet::Seen;

/// What a set or a map holds.
#[derive(Clone, Debug)]
pub(super) struct Elements<D> {
    /// Numbers, as ranges without overlap, the lowest first, once [`Elements::settle`] was called.
    spans: Vec<Span<D>>,
    /// Names.
    names: Vec<(Name, D)>,
    /// Several fields at once.
    tuples: Vec<(Vec<Part>, D)>,
    /// For what meets no other element.
    rest: Option<D>,
    /// Elements come and go without a change of the ruleset, or one was not understood: nothing said of it is sure.
    vague: bool,
}

/// A range of numbers, both ends in it.
#[derive(Clone, Debug)]
struct Span<D> {
    low: u128,
    high: u128,
    data: D,
}

/// The name of an interface, or the beginning of some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The letters.
    text: Box<str>,
    /// More letters may follow.
    open: bool,
}

impl Name {
    /// With the sign for "more letters may follow": `*` for nft, `+` for iptables.
    pub(super) fn new(text: &str, sign: char) -> Self {
        let (text, open) = text.strip_suffix(sign).map_or((text, false), |start| (start, true));
        Self { text: text.into(), open }
    }

    /// Whether what a packet shows is the name, or one of them.
    fn fits(&self, seen: &Seen<'_>) -> Answer {
        match seen {
            Seen::Absent => Answer::No,
            Seen::Name(name) if self.open => name.starts_with(&*self.text).into(),
            Seen::Name(name) => (*name == &*self.text).into(),
            _ => Answer::Maybe,
        }
    }
}

/// One field of an element.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// A range of numbers, both ends in it.
    Span(u128, u128),
    /// A name.
    Name(Name),
    /// Not understood.
    Unclear,
}

impl Part {
    /// Whether what a packet shows is this.
    fn fits(&self, seen: &Seen<'_>) -> Answer {
        match self {
            Self::Span(low, high) => within(*low, *high, seen),
            Self::Name(name) => name.fits(seen),
            Self::Unclear if *seen == Seen::Absent => Answer::No,
            Self::Unclear => Answer::Maybe,
        }
    }
}

/// Whether what a packet shows is in a range.
fn within(low: u128, high: u128, seen: &Seen<'_>) -> Answer {
    let holds = |number: &u128| low <= *number && *number <= high;
    match seen {
        Seen::Absent => Answer::No,
        Seen::Number(number) => holds(number).into(),
        Seen::OneOf(numbers) => {
            let inside = numbers.iter().filter(|number| holds(number)).count();
            if inside > 0 && inside < numbers.len() { Answer::Maybe } else { (inside > 0).into() }
        }
        Seen::Name(_) | Seen::Unknown => Answer::Maybe,
    }
}

/// The elements that a packet can meet.
#[derive(Debug)]
pub(super) struct Hits<'a, D> {
    /// Each of those that are known.
    pub(super) found: Vec<&'a D>,
    /// It may meet none.
    pub(super) none: bool,
    /// It may meet one that is not known.
    pub(super) unclear: bool,
}

impl<D> Hits<'_, D> {
    /// Whether it meets any.
    pub(super) fn any(&self) -> Answer {
        match (self.found.is_empty(), self.none, self.unclear) {
            (true, _, false) => Answer::No,
            (false, false, false) => Answer::Yes,
            _ => Answer::Maybe,
        }
    }
}

impl<D> Default for Elements<D> {
    fn default() -> Self {
        Self { spans: Vec::new(), names: Vec::new(), tuples: Vec::new(), rest: None, vague: false }
    }
}

impl<D: Clone + PartialEq> Elements<D> {
    /// Adds an element of one field, or of several.
    pub(super) fn add(&mut self, mut parts: Vec<Part>, data: D) {
        if parts.len() > 1 {
            return self.tuples.push((parts, data));
        }
        match parts.pop() {
            Some(Part::Span(low, high)) if low <= high => self.spans.push(Span { low, high, data }),
            Some(Part::Name(name)) => self.names.push((name, data)),
            _ => self.vague = true,
        }
    }

    /// What meets no other element meets this.
    pub(super) fn add_rest(&mut self, data: D) {
        self.rest = Some(data);
    }

    /// Nothing said of it is sure.
    pub(super) fn blur(&mut self) {
        self.vague = true;
    }

    /// Orders the ranges, and joins those that touch; to be called once, when all are there.
    pub(super) fn settle(mut self) -> Self {
        let mut spans = std::mem::take(&mut self.spans);
        spans.sort_by_key(|span| (span.low, span.high));
        for span in spans {
            match self.spans.last_mut() {
                Some(last) if span.low <= last.high && span.data == last.data => last.high = last.high.max(span.high),
                // The kernel takes no two answers for one key.
                Some(last) if span.low <= last.high => self.vague = true,
                _ => self.spans.push(span),
            }
        }
        self
    }

    /// How many steps a look-up takes at most; numbers among numbers are found at once.
    pub(super) fn cost(&self) -> usize {
        let spans = if self.names.is_empty() { 0 } else { self.spans.len() };
        1 + spans + self.names.len() + self.tuples.len()
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.names.is_empty() && self.tuples.is_empty() && self.rest.is_none() && !self.vague
    }

    /// Whether a packet meets any.
    pub(super) fn meet(&self, seen: &[Seen<'_>]) -> Answer {
        match seen {
            _ if self.is_empty() => Answer::No,
            [Seen::Unknown] => Answer::Maybe,
            _ => self.hits(seen).any(),
        }
    }

    /// Which of them a packet can meet.
    pub(super) fn hits(&self, seen: &[Seen<'_>]) -> Hits<'_, D> {
        let mut hits = Hits { found: Vec::new(), none: true, unclear: self.vague };
        match seen {
            [Seen::Number(number)] if self.names.is_empty() => self.number(*number, &mut hits),
            [Seen::OneOf(numbers)] if self.names.is_empty() => {
                let mut none = false;
                for number in numbers {
                    hits.none = true;
                    self.number(*number, &mut hits);
                    none |= hits.none;
                }
                hits.none = none;
            }
            [one] => {
                let spans = self.spans.iter().map(|span| (within(span.low, span.high, one), &span.data));
                let names = self.names.iter().map(|(name, data)| (name.fits(one), data));
                spans.chain(names).for_each(|(fits, data)| hits.note(fits, data));
            }
            many => self.tuples.iter().for_each(|(parts, data)| hits.note(fit(parts, many), data)),
        }
        if hits.none
            && let Some(rest) = &self.rest
        {
            hits.found.push(rest);
            hits.none = false;
        }
        hits.none |= self.vague;
        hits.found.dedup();
        hits
    }

    /// The range that a known number is in.
    fn number<'a>(&'a self, number: u128, hits: &mut Hits<'a, D>) {
        let after = self.spans.partition_point(|span| span.low <= number);
        if let Some(span) = self.spans[..after].last().filter(|span| number <= span.high) {
            hits.note(Answer::Yes, &span.data);
        }
    }
}

impl<'a, D> Hits<'a, D> {
    /// Takes in one element.
    fn note(&mut self, fits: Answer, data: &'a D) {
        if fits != Answer::No {
            self.found.push(data);
        }
        if fits == Answer::Yes {
            self.none = false;
        }
    }
}

/// Whether what a packet shows is all of this.
fn fit(parts: &[Part], seen: &[Seen<'_>]) -> Answer {
    if parts.len() != seen.len() {
        return Answer::Maybe;
    }
    parts.iter().zip(seen).fold(Answer::Yes, |all, (part, seen)| all.and(part.fits(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map from ranges to letters.
    fn letters(ranges: &[(u128, u128, char)]) -> Elements<char> {
        let mut elements = Elements::default();
        for (low, high, letter) in ranges {
            elements.add(vec![Part::Span(*low, *high)], *letter);
        }
        elements.settle()
    }

    #[test]
    fn a_known_number_meets_its_range_and_no_other() {
        let elements = letters(&[(10, 19, 'b'), (1, 5, 'a'), (20, 20, 'c')]);
        for (number, letter) in
            [(1, Some('a')), (5, Some('a')), (6, None), (19, Some('b')), (20, Some('c')), (21, None)]
        {
            let hits = elements.hits(&[Seen::Number(number)]);
            assert_eq!((hits.found.first().copied().copied(), hits.none), (letter, letter.is_none()), "{number}");
        }
    }

    #[test]
    fn an_unknown_number_may_meet_each_and_none() {
        let elements = letters(&[(1, 5, 'a'), (20, 20, 'c')]);
        let hits = elements.hits(&[Seen::Unknown]);
        assert_eq!((hits.found.len(), hits.any()), (2, Answer::Maybe));
        assert_eq!(letters(&[]).meet(&[Seen::Unknown]), Answer::No);
    }

    #[test]
    fn several_possible_numbers_are_yes_only_when_each_of_them_is() {
        let elements = letters(&[(2, 2, 'a'), (8, 8, 'b')]);
        assert_eq!(elements.meet(&[Seen::OneOf(vec![2, 8])]), Answer::Yes);
        assert_eq!(elements.meet(&[Seen::OneOf(vec![2, 4])]), Answer::Maybe);
        assert_eq!(elements.meet(&[Seen::OneOf(vec![1, 4])]), Answer::No);
    }

    #[test]
    fn ranges_of_a_set_may_overlap_and_those_of_a_map_make_it_vague() {
        assert_eq!(letters(&[(1, 9, 'a'), (2, 3, 'a')]).meet(&[Seen::Number(8)]), Answer::Yes);
        assert_eq!(letters(&[(1, 9, 'a'), (2, 3, 'b')]).meet(&[Seen::Number(8)]), Answer::Maybe);
        assert_eq!(letters(&[(1, 9, 'a'), (2, 3, 'b')]).meet(&[Seen::Number(10)]), Answer::Maybe);
    }

    #[test]
    fn names_may_be_open_at_their_end() {
        let mut elements = Elements::default();
        elements.add(vec![Part::Name(Name::new("veth*", '*'))], ());
        elements.add(vec![Part::Name(Name::new("lo", '*'))], ());
        let elements = elements.settle();
        for (name, answer) in [("veth9", Answer::Yes), ("lo", Answer::Yes), ("lo0", Answer::No), ("", Answer::No)] {
            assert_eq!(elements.meet(&[Seen::Name(name)]), answer, "{name}");
        }
    }

    #[test]
    fn what_meets_nothing_else_meets_the_rest() {
        let mut elements = letters(&[(1, 1, 'a')]);
        elements.add_rest('z');
        assert_eq!(elements.hits(&[Seen::Number(1)]).found, [&'a']);
        assert_eq!(elements.hits(&[Seen::Number(2)]).found, [&'z']);
    }
}
