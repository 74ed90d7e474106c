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
        if self.names.get(&name.0) == Some(&name.1) {
            self.names.remove(&name.0);
        } else {
            self.more.remove(&name);
        }
    }

    pub(super) fn find(&self, hash: i64) -> impl Iterator<Item = i64> {
        let more = self.more.range((hash, i64::MIN)..=(hash, i64::MAX));
        self.names.get(&hash).copied().into_iter().chain(more.map(|name| name.1))
    }

    pub(super) fn sorted(&self) -> Vec<Name> {
        let mut sorted: Vec<Name> = self.names.iter().map(|(hash, number)| (*hash, *number)).collect();
        sorted.extend(&self.more);
        sorted.sort_unstable();
        sorted
    }
}
