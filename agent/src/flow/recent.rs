//! A bounded map that forgets what was not used lately.

use std::{hash::Hash, mem};

use ahash::AHashMap;

/// A map of at most `limit` entries, in two generations: what is used moves to
/// the young one, and when that is full the old one is forgotten. All operations
/// take constant time; there is no list to keep.
#[derive(Debug)]
pub struct Recent<K, V> {
    young: AHashMap<K, V>,
    old: AHashMap<K, V>,
    half: usize,
    forgotten: u64,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// Holds at most `limit` entries, two at least.
    pub fn new(limit: usize) -> Self {
        Self {
            young: AHashMap::new(),
            old: AHashMap::new(),
            half: (limit / 2).max(1),
            forgotten: 0,
        }
    }

    /// The value of `key`, without use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Inserts, maybe forgetting what was not used lately.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.forgotten += self.old.len() as u64;
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Removes and returns.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.young.remove(key).or_else(|| self.old.remove(key))
    }

    /// Entries that were forgotten for want of room.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Entries held.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    /// The value of `key`; it counts as used.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        if let Some(value) = self.old.remove(key) {
            self.insert(key.clone(), value);
        }
        self.young.get(key)
    }
}

impl<K: Hash + Eq + Clone, V: Default> Recent<K, V> {
    /// The value of `key`, made when missing; it counts as used.
    pub fn entry(&mut self, key: &K) -> &mut V {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key).unwrap_or_default();
            self.insert(key.clone(), value);
        }
        self.young.entry(key.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_limit_and_keeps_what_is_used() {
        let mut map: Recent<u32, u32> = Recent::new(10);
        *map.entry(&7) = 70;
        for key in 100..1000 {
            map.insert(key, key);
            assert_eq!(*map.entry(&7), 70);
            assert_eq!(map.get(&7), Some(&70));
            assert!(map.len() <= 10);
        }
        assert_eq!(map.peek(&999), Some(&999));
        assert_eq!(map.peek(&100), None);
        assert_eq!(map.remove(&7), Some(70));
    }
}
