//! Counts that the probes keep, read as news: what was added since they were read last.

use std::collections::{HashMap, HashSet};

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use redis_trace_common::layout::Field as _;
use redis_trace_common::tally::{End, Key, NEAR_PLACES, Near, Total, WIDE_SERVER, Watched, place};

use super::Error;
use super::attach::map;

/// A key's bytes.
type KeyBytes = [u8; Key::SIZE];
/// A count's words: folded, then window and used.
type CountWords = [u64; 2];

/// The counts, and how they stood.
#[derive(Default)]
pub struct Tallies {
    /// Absent where nothing counts: then all are zero.
    maps: Option<Maps>,
    ledger: Ledger,
}

/// Where the probes count.
struct Maps {
    counts: PerCpuHashMap<MapData, KeyBytes, CountWords>,
    /// As many of them as there is room for.
    kinds: usize,
    totals: PerCpuArray<MapData, u64>,
    watched: PerCpuHashMap<MapData, [u32; 2], [u64; 3]>,
    at_hand: PerCpuArray<MapData, [u64; Near::SIZE / 8]>,
}

/// What became news so far.
#[derive(Default)]
struct Ledger {
    /// By key.
    before: HashMap<KeyBytes, u64>,
    /// Altogether.
    folded: u64,
    /// Those that no key had at the last look: a probe may have been between its two counts.
    keyless: u64,
}

impl Ledger {
    /// What these counts say that is new: so many refusals, and without a key those that had none at two looks: it is gone.
    fn news(&mut self, mut rest: u64, now: HashMap<KeyBytes, u64>) -> Vec<News> {
        let (mut news, mut known) = (Vec::new(), HashMap::with_capacity(now.len()));
        for (key, folded) in now {
            // A smaller count is a new one: the old had to make room in between.
            let before = self.before.get(&key).copied().filter(|before| *before <= folded).unwrap_or_default();
            let more = (folded - before).min(rest);
            known.insert(key, before + more);
            if more > 0 {
                rest -= more;
                self.folded += more;
                news.push(News { key: Key::read(&key), number: more });
            }
        }
        self.before = known;
        let gone = rest.min(self.keyless);
        self.keyless = rest - gone;
        if gone > 0 {
            self.folded += gone;
            news.push(News { key: None, number: gone });
        }
        news
    }
}

/// So many refusals more, with what they have in common where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What they have in common; absent when there was no place for it among the counts.
    pub key: Option<Key>,
    /// How many.
    pub number: u64,
}

impl Tallies {
    /// The counts of an object whose probes are loaded; nothing of them was read yet.
    pub(super) fn of(object: &mut Ebpf, kinds: u32) -> Result<Self, Error> {
        let maps = Maps {
            kinds: kinds as usize,
            counts: map(object, "COUNTS")?,
            totals: map(object, "TOTAL")?,
            watched: map(object, "SEEN")?,
            at_hand: map(object, "AT_HAND")?,
        };
        Ok(Self { maps: Some(maps), ledger: Ledger::default() })
    }

    /// Refusals that were counted and not told one by one since this was asked last. Cheap when there are none.
    pub fn news(&mut self) -> Result<Vec<News>, Error> {
        // In this order what is told between the two is not taken for folded.
        let seen = self.total(Total::Seen)?;
        let rest = seen.saturating_sub(self.total(Total::Told)? + self.ledger.folded);
        let Some(Maps { counts, kinds, .. }) = self.maps.as_ref().filter(|_| rest > 0) else {
            self.ledger.keyless = 0;
            return Ok(Vec::new());
        };
        // One that makes room for another between the two calls is counted without its key.
        let folded = |key: &KeyBytes| Some(counts.get(key, 0).ok()?.iter().map(|[folded, ..]| folded).sum());
        let mut keys = HashSet::new();
        // The kernel begins again when the last key that it gave has gone: not for ever, and each is read once.
        for key in counts.keys().take(2 * kinds) {
            let key = key.map_err(|e| Error::map("COUNTS", &e))?;
            if Key::read(&key).is_some_and(|key| key.end < WIDE_SERVER) {
                keys.insert(key);
            }
        }
        // Those that it has passed over.
        keys.extend(self.ledger.before.keys());
        let now = keys.iter().filter_map(|key| Some((*key, folded(key)?))).collect();
        Ok(self.ledger.news(rest, now))
    }

    /// Whether no refusal waits for another look to tell whether it has a key.
    pub fn is_settled(&self) -> bool {
        self.ledger.keyless == 0
    }

    /// Refusals whose record found no room.
    pub fn lost(&self) -> Result<u64, Error> {
        self.total(Total::Lost)
    }

    /// Refusals whose records found room.
    pub fn sent(&self) -> Result<u64, Error> {
        Ok(self.total(Total::Told)?.saturating_sub(self.total(Total::Lost)?))
    }

    /// Resets that refused a connection.
    pub fn resets(&self) -> Result<u64, Error> {
        self.at(End::Server, Total::Seen)
    }

    /// Resets, failed dials and full queues that were seen in each network namespace, by its inode and what tells it from
    /// others that had the same.
    pub fn watched(&self) -> Result<Vec<([u32; 2], Watched)>, Error> {
        let mut all = Vec::new();
        let Some(Maps { watched, at_hand, .. }) = &self.maps else { return Ok(all) };
        for namespace in watched.keys() {
            let namespace = namespace.map_err(|e| Error::map("SEEN", &e))?;
            let Ok(counts) = watched.get(&namespace, 0) else { continue };
            let mut sum = Watched { resets: 0, failures: 0, overflows: 0 };
            for [resets, failures, overflows] in counts.iter() {
                sum.resets += resets;
                sum.failures += failures;
                sum.overflows += overflows;
            }
            all.push((namespace, sum));
        }
        // Read last: what is put away meanwhile is missing for a moment, and not counted twice.
        for place in 0..NEAR_PLACES {
            let near = at_hand.get(&place, 0).map_err(|e| Error::map("AT_HAND", &e))?;
            for words in near.iter() {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
                all.extend(Near::read(&bytes).map(
                    |Near { netns, netns_mix, resets, failures, overflows, used: _ }| {
                        ([netns, netns_mix], Watched { resets, failures, overflows })
                    },
                ));
            }
        }
        Ok(all)
    }

    fn total(&self, total: Total) -> Result<u64, Error> {
        let mut sum = 0;
        for end in End::ALL {
            sum += self.at(end, total)?;
        }
        Ok(sum)
    }

    fn at(&self, end: End, total: Total) -> Result<u64, Error> {
        let Some(Maps { totals, .. }) = &self.maps else { return Ok(0) };
        let counts = totals.get(&place(end as u32, total), 0).map_err(|e| Error::map("TOTAL", &e))?;
        Ok(counts.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The counts of keys that differ in their first byte.
    fn counts<const N: usize>(counts: [(u8, u64); N]) -> HashMap<KeyBytes, u64> {
        let key = |first| std::array::from_fn(|at| if at == 0 { first } else { 0 });
        counts.into_iter().map(|(first, folded)| (key(first), folded)).collect()
    }

    /// What is news, by key; 0 is of none.
    fn news(ledger: &mut Ledger, rest: u64, now: HashMap<KeyBytes, u64>) -> Vec<(u32, u64)> {
        let mut news: Vec<_> =
            ledger.news(rest, now).iter().map(|news| (news.key.map_or(0, |key| key.end), news.number)).collect();
        news.sort_unstable();
        news
    }

    #[test]
    fn what_was_counted_is_news_once() {
        let mut ledger = Ledger::default();
        assert_eq!(news(&mut ledger, 7, counts([(1, 3), (2, 4)])), [(1, 3), (2, 4)]);
        assert_eq!(news(&mut ledger, 2, counts([(1, 5), (2, 4)])), [(1, 2)]);
        assert_eq!(ledger.folded, 9);
    }

    #[test]
    fn what_is_counted_while_it_is_read_is_news_the_next_time() {
        let mut ledger = Ledger::default();
        assert_eq!(news(&mut ledger, 3, counts([(1, 5)])), [(1, 3)]);
        assert_eq!(news(&mut ledger, 2, counts([(1, 5)])), [(1, 2)]);
    }

    #[test]
    fn what_had_to_make_room_is_counted_without_its_key_or_begins_anew() {
        let mut ledger = Ledger::default();
        assert_eq!(news(&mut ledger, 5, counts([(1, 5)])), [(1, 5)]);
        assert_eq!(news(&mut ledger, 4, counts([(1, 3)])), [(1, 3)]);
        assert_eq!(news(&mut ledger, 3, counts([])), [(0, 1)]);
        assert_eq!(news(&mut ledger, 2, counts([])), [(0, 2)]);
        assert_eq!((ledger.folded, ledger.keyless), (11, 0));
    }

    #[test]
    fn what_a_probe_had_counted_half_when_it_was_read_keeps_its_key() {
        let mut ledger = Ledger::default();
        assert_eq!(news(&mut ledger, 3, counts([(1, 2)])), [(1, 2)]);
        assert_eq!(news(&mut ledger, 1, counts([(1, 3)])), [(1, 1)]);
        assert_eq!((ledger.folded, ledger.keyless), (3, 0));
    }
}
