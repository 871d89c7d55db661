//! A memory that is bounded in number and in age, so that years of churn cost no more than a day of it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// How much is remembered of what is over: listeners and processes that ended, starts and binds that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many of each kind.
    pub number: usize,
    /// For how long, nanoseconds.
    pub age: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { number: 10_000, age: 24 * 3600 * 1_000_000_000 }
    }
}

/// A map that forgets its oldest entries.
#[derive(Clone, Debug)]
pub struct Remembered<K, V> {
    bounds: Bounds,
    entries: HashMap<K, (u64, V)>,
    order: VecDeque<(u64, K)>,
}

impl<K: Clone + Eq + Hash, V> Remembered<K, V> {
    /// An empty memory.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, entries: HashMap::new(), order: VecDeque::new() }
    }

    /// Remembers, in place of what stood under this key, and forgets what is too old or too much.
    pub fn insert(&mut self, time: u64, key: K, value: V) {
        self.entries.insert(key.clone(), (time, value));
        self.order.push_back((time, key));
        while let Some((made, _)) = self.order.front()
            && (self.entries.len() > self.bounds.number
                || self.order.len() > 2 * self.bounds.number
                || made.saturating_add(self.bounds.age) < time)
            && let Some((made, key)) = self.order.pop_front()
        {
            // A key that was written again later stands further back too.
            if self.entries.get(&key).is_some_and(|(current, _)| *current == made) {
                self.entries.remove(&key);
            }
        }
    }

    /// What stands under this key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// When it was written, and what.
    pub fn get_with_time(&self, key: &K) -> Option<(u64, &V)> {
        self.entries.get(key).map(|(time, value)| (*time, value))
    }

    /// To change what stands under this key.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Forgets one.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Forgets all but those whose key passes.
    pub fn retain(&mut self, mut passes: impl FnMut(&K) -> bool) {
        self.entries.retain(|key, _| passes(key));
    }

    /// All that is remembered and what it stands under, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    /// All that is remembered, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut memory = Remembered::new(Bounds { number: 2, age: 100 });
        memory.insert(1, "a", 1);
        memory.insert(2, "b", 2);
        memory.insert(3, "a", 3);
        memory.insert(4, "c", 4);
        assert_eq!((memory.get(&"a"), memory.get(&"b"), memory.get(&"c")), (Some(&3), None, Some(&4)));
        memory.insert(200, "d", 5);
        assert_eq!(memory.len(), 1);
    }

    proptest! {
        #[test]
        fn it_never_grows_past_its_bounds(keys in prop::collection::vec(0u8..50, 0..500)) {
            let mut memory = Remembered::new(Bounds { number: 10, age: 1000 });
            for (time, key) in (0u64..).zip(&keys) {
                memory.insert(time, *key, time);
                prop_assert!(memory.len() <= 10 && memory.order.len() <= 21);
                prop_assert_eq!(memory.get(key), Some(&time));
            }
        }
    }
}
