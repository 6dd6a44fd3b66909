//! From a path straight to its endpoint, for paths that were seen lately.

use ahash::{AHashMap, RandomState};

/// Paths of one generation. Two are kept, so a path stays for at least this many
/// others: 64 Ki entries of about 40 bytes.
const GENERATION: usize = 1 << 15;

/// A bounded map of paths to endpoints. Holds keyed hashes only: it neither keeps
/// nor copies a path. Two paths of one service with the same 128 bits are mistaken
/// for each other; keys are random per run, so that none can be made up.
#[derive(Debug, Default)]
pub(super) struct Cache {
    states: [RandomState; 2],
    young: AHashMap<u128, u32>,
    old: AHashMap<u128, u32>,
}

impl Cache {
    /// Key of a path of a service. A service whose templates changed has another
    /// `epoch`, which leaves its old entries behind.
    pub(super) fn key(&self, service: u32, epoch: u32, method: u8, path: &str) -> u128 {
        let [low, high] = &self.states;
        let parts = (service, epoch, method, path);
        u128::from(low.hash_one(parts)) | u128::from(high.hash_one(parts)) << 64
    }

    pub(super) fn get(&mut self, key: u128) -> Option<u32> {
        if let Some(endpoint) = self.young.get(&key) {
            return Some(*endpoint);
        }
        let endpoint = self.old.remove(&key)?;
        self.insert(key, endpoint);
        Some(endpoint)
    }

    pub(super) fn insert(&mut self, key: u128, endpoint: u32) {
        if self.young.len() >= GENERATION {
            // The old map's memory is used again.
            self.old.clear();
            std::mem::swap(&mut self.young, &mut self.old);
        }
        self.young.insert(key, endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_paths_stay_and_the_rest_is_bounded() {
        let mut cache = Cache::default();
        let used = cache.key(1, 0, 0, "/used");
        cache.insert(used, 7);
        for number in 0..5 * GENERATION {
            let key = cache.key(1, 0, 0, &number.to_string());
            cache.insert(key, 0);
            if number % 1000 == 0 {
                assert_eq!(cache.get(used), Some(7));
            }
        }
        assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION);
        assert_eq!(cache.get(cache.key(1, 1, 0, "/used")), None);
    }
}
