//! The names of the newest deliveries, in memory.

use super::Name;
use crate::hasher::RandomMap;
use std::collections::BTreeSet;

/// Names of deliveries that were opened one after another.
#[derive(Debug, Default)]
pub(super) struct Generation {
    names: RandomMap<i64, i64>,
    /// Further deliveries that may go by a name that one has already.
    more: BTreeSet<Name>,
    /// The highest number of its deliveries.
    pub(super) last: i64,
}

impl Generation {
    /// One without names, which comes after this delivery.
    pub(super) fn after(last: i64) -> Self {
        Self { last, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len() + self.more.len()
    }

    pub(super) fn insert(&mut self, (hash, number): Name) {
        if *self.names.entry(hash).or_insert(number) != number {
            self.more.insert((hash, number));
        }
    }

    pub(super) fn remove(&mut self, name: Name) {
        if self.names.get(&name.0) != Some(&name.1) {
            self.more.remove(&name);
            return;
        }
        self.names.remove(&name.0);
        // Whoever looks for a name looks for further deliveries only where there is one.
        let next = self.further(name.0).next();
        if let Some(next) = next {
            self.more.remove(&next);
            self.names.insert(next.0, next.1);
        }
    }

    /// Adds the deliveries that may go by this name.
    pub(super) fn find(&self, hash: i64, found: &mut Vec<i64>) {
        if let Some(number) = self.names.get(&hash) {
            found.push(*number);
            found.extend(self.further(hash).map(|name| name.1));
        }
    }

    fn further(&self, hash: i64) -> impl Iterator<Item = Name> {
        self.more.range((hash, i64::MIN)..=(hash, i64::MAX)).copied()
    }

    pub(super) fn sorted(&self) -> Vec<Name> {
        let mut sorted: Vec<Name> = self.names.iter().map(|(hash, number)| (*hash, *number)).collect();
        sorted.extend(&self.more);
        sorted.sort_unstable();
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_what_was_added_and_not_removed() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..200 {
            let (mut generation, mut names) = (Generation::default(), BTreeSet::new());
            for _ in 0..100 {
                let name = (random.i64(..4), random.i64(..8));
                if random.bool() {
                    generation.insert(name);
                    names.insert(name);
                } else {
                    generation.remove(name);
                    names.remove(&name);
                }
                assert_eq!(generation.sorted(), Vec::from_iter(names.iter().copied()));
                assert_eq!(generation.len(), names.len());
                for hash in 0..4 {
                    let mut found = Vec::new();
                    generation.find(hash, &mut found);
                    found.sort_unstable();
                    let expected = names.iter().filter(|name| name.0 == hash).map(|name| name.1);
                    assert_eq!(found, expected.collect::<Vec<_>>());
                }
            }
        }
    }
}
