//! What the detectors remember of each endpoint: a few numbers.

use ahash::{AHashMap, RandomState};

use super::{rate::Rate, table::is_sampled};
use crate::inventory::EndpointKey;

/// Endpoints of one generation. Two are kept, so what is remembered of an endpoint
/// stays for at least this many others.
const GENERATION: usize = 1 << 14;

/// Numbers of one endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// Errors over time.
    pub(super) rate: Rate,
    /// Successful answers to requests without a credential.
    pub(super) open: Sampler,
    /// Request bodies.
    pub(super) requests: Sampler,
    /// Successful answers of text.
    pub(super) answers: Sampler,
    /// Answers from 400 on.
    pub(super) errors: Sampler,
    /// Paths.
    pub(super) paths: Sampler,
    /// Unnamed numbers in bodies that were cards, and that only looked like cards.
    pub(super) cards: (u8, u8),
}

/// Picks the first 32 of its kind, then one in 64.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sampler(u32);

impl Sampler {
    /// Counts one; whether it is to be looked at.
    pub(super) fn pick(&mut self) -> bool {
        self.0 = self.0.wrapping_add(1);
        is_sampled(u64::from(self.0))
    }
}

/// Memories of at most 32 Ki endpoints; those not called for longest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    hasher: RandomState,
    young: AHashMap<u64, Memory>,
    old: AHashMap<u64, Memory>,
}

impl Endpoints {
    /// Memory of an endpoint, empty when it is not known.
    pub(super) fn of(&mut self, key: &EndpointKey) -> &mut Memory {
        let key = self.hasher.hash_one(key);
        if self.young.len() >= GENERATION && !self.young.contains_key(&key) {
            // The old map's memory is used again.
            self.old.clear();
            std::mem::swap(&mut self.young, &mut self.old);
        }
        let old = &mut self.old;
        self.young.entry(key).or_insert_with(|| old.remove(&key).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> EndpointKey {
        let route = format!("/r{number}").into();
        EndpointKey { service: "shop".into(), route, method: "GET".into() }
    }

    #[test]
    fn endpoints_that_are_called_stay_and_the_rest_is_bounded() {
        let mut endpoints = Endpoints::default();
        for number in 1..100_000 {
            assert_eq!(endpoints.of(&key(0)).paths.0 as usize, number - 1);
            endpoints.of(&key(0)).paths.pick();
            endpoints.of(&key(number)).paths.pick();
        }
        assert!(endpoints.young.len() + endpoints.old.len() <= 2 * GENERATION);
    }

    #[test]
    fn the_first_calls_are_picked_then_one_in_64() {
        let mut sampler = Sampler::default();
        let picked = (0..640).filter(|_| sampler.pick()).count();
        assert_eq!(picked, 32 + 10);
    }
}
