//! Counts that the probes keep, read as news: what was added since they were read last.

use std::collections::HashMap;

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap};
use redis_trace_common::layout::Field as _;
use redis_trace_common::tally::{End, Key, Total, Watched, place};

use super::Error;

/// A key's bytes.
type KeyBytes = [u8; Key::SIZE];
/// A count's words: folded, then window and used.
type CountWords = [u64; 2];

/// The counts, and how they stood.
pub struct Tallies {
    counts: PerCpuHashMap<MapData, KeyBytes, CountWords>,
    totals: PerCpuArray<MapData, u64>,
    watched: PerCpuHashMap<MapData, [u32; 2], [u64; 3]>,
    before: HashMap<KeyBytes, u64>,
    folded: u64,
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
    /// Nothing was read yet.
    pub(super) fn new(
        counts: PerCpuHashMap<MapData, KeyBytes, CountWords>,
        totals: PerCpuArray<MapData, u64>,
        watched: PerCpuHashMap<MapData, [u32; 2], [u64; 3]>,
    ) -> Self {
        Self { counts, totals, watched, before: HashMap::new(), folded: 0 }
    }

    /// Refusals that were counted and not told one by one since this was asked last. Cheap when there are none.
    pub fn news(&mut self) -> Result<Vec<News>, Error> {
        // In this order what is told between the two is not taken for folded.
        let seen = self.total(Total::Seen)?;
        let mut rest = seen.saturating_sub(self.total(Total::Told)? + self.folded);
        if rest == 0 {
            return Ok(Vec::new());
        }
        let mut news = Vec::new();
        let mut now = HashMap::new();
        for key in self.counts.keys() {
            let key = key.map_err(|e| Error::map("COUNTS", &e))?;
            // One that made room for another between the two calls is counted below.
            let Ok(counts) = self.counts.get(&key, 0) else { continue };
            let folded = counts.iter().map(|[folded, ..]| folded).sum::<u64>();
            let before = self.before.get(&key).copied().unwrap_or_default();
            // A smaller count is a new one: the old had to make room in between.
            let before = if folded < before { 0 } else { before };
            let more = (folded - before).min(rest);
            now.insert(key, before + more);
            if more > 0 {
                rest -= more;
                self.folded += more;
                news.push(News { key: Key::read(&key), number: more });
            }
        }
        self.before = now;
        if rest > 0 {
            self.folded += rest;
            news.push(News { key: None, number: rest });
        }
        Ok(news)
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
        for namespace in self.watched.keys() {
            let namespace = namespace.map_err(|e| Error::map("SEEN", &e))?;
            let Ok(counts) = self.watched.get(&namespace, 0) else { continue };
            let mut sum = Watched { resets: 0, failures: 0, overflows: 0 };
            for [resets, failures, overflows] in counts.iter() {
                sum.resets += resets;
                sum.failures += failures;
                sum.overflows += overflows;
            }
            all.push((namespace, sum));
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
        let counts = self.totals.get(&place(end as u32, total), 0).map_err(|e| Error::map("TOTAL", &e))?;
        Ok(counts.iter().sum())
    }
}
