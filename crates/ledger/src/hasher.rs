//! For maps whose keys are as good as random by themselves: ids, and hashes.

use std::hash::{BuildHasherDefault, Hasher};

/// A map that takes its keys' bits for their hash.
pub(crate) type RandomMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<AsItIs>>;

/// Takes what is random already for its own hash.
#[derive(Debug, Default)]
pub(crate) struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.as_chunks().0 {
            self.0 = self.0.rotate_left(1) ^ u64::from_le_bytes(*chunk);
        }
    }

    fn write_i64(&mut self, hash: i64) {
        self.0 = hash.cast_unsigned();
    }

    /// A length, which is the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
