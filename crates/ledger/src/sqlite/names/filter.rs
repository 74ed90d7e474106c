//! Which names a run certainly lacks: a Bloom filter in blocks, as the format of Apache Parquet specifies it ("split
//! block Bloom filter"), with the names as its hashes.
//!
//! It stands in the file, so its bits may not change with a library's next version.

/// Bits for each name. One name in some hundreds seems to be in a run that lacks it, and costs a page that is read in
/// vain; a ledger of ten million deliveries has some 170 runs.
const BITS_A_NAME: usize = 16;

/// Words of 32 bits in a block: each name sets a bit in every word of its block.
type Block = [u32; 8];
const BLOCK_BITS: usize = 256;

/// The odd numbers by which the specification picks a bit in each word.
const SALT: Block =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filter(Vec<Block>);

/// What is looked for in a block of each filter: worked out once for all of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    high: u64,
    bits: Block,
}

impl Probe {
    pub(super) fn of(name: i64) -> Self {
        let [.., a, b, c, d] = name.to_be_bytes();
        let low = u32::from_be_bytes([a, b, c, d]);
        let bits = SALT.map(|salt| 1 << (low.wrapping_mul(salt) >> 27));
        Self { high: name.cast_unsigned() >> 32, bits }
    }
}

impl Filter {
    pub(super) fn with_room_for(names: usize) -> Self {
        Self(vec![[0; 8]; (names * BITS_A_NAME).div_ceil(BLOCK_BITS).max(1)])
    }

    pub(super) fn insert(&mut self, name: i64) {
        let probe = Probe::of(name);
        let at = self.block_of(probe);
        if let Some(block) = self.0.get_mut(at) {
            block.iter_mut().zip(probe.bits).for_each(|(word, bit)| *word |= bit);
        }
    }

    /// Never false for a name that was inserted.
    pub(super) fn may_have(&self, probe: Probe) -> bool {
        let block = self.0.get(self.block_of(probe)).unwrap_or(&[u32::MAX; 8]);
        block.iter().zip(probe.bits).fold(0, |lacking, (word, bit)| lacking | (bit & !word)) == 0
    }

    fn block_of(&self, probe: Probe) -> usize {
        // A filter is far from 2^32 blocks.
        usize::try_from(probe.high.wrapping_mul(self.0.len() as u64) >> 32).unwrap_or(0)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flatten().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// `None` if these bytes are no filter.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, []) = bytes.as_chunks() else { return None };
        let (blocks, []) = words.as_chunks::<8>() else { return None };
        let read = |block: &[[u8; 4]; 8]| block.map(u32::from_le_bytes);
        (!blocks.is_empty()).then(|| Self(blocks.iter().map(read).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// If a name were missed, its key would be free, and its comment posted again.
    #[test]
    fn it_has_what_was_inserted_and_seldom_more() {
        let mut random = fastrand::Rng::with_seed(3);
        for names in [0, 1, 100, 50_000] {
            let mut filter = Filter::with_room_for(names);
            let inserted: Vec<i64> = (0..names).map(|_| random.i64(..)).collect();
            inserted.iter().for_each(|name| filter.insert(*name));
            let filter = Filter::from_bytes(&filter.to_bytes()).unwrap();
            assert!(inserted.iter().all(|name| filter.may_have(Probe::of(*name))));
            let wrong = (0..50_000).filter(|_| filter.may_have(Probe::of(random.i64(..)))).count();
            assert!(wrong < 150, "{wrong} of 50000 seem to be among {names}");
        }
    }

    /// What stands in a file is read by every later version.
    #[test]
    fn the_bits_are_those_of_the_specification() {
        let mut filter = Filter(vec![[0; 8]; 4]);
        filter.insert(0x4000_0000_0000_0001);
        let salted = SALT.map(|salt| 1_u32 << (salt >> 27));
        assert_eq!(filter.0, [[0; 8], salted, [0; 8], [0; 8]]);
        assert_eq!(filter.to_bytes()[32..36], salted[0].to_le_bytes());
    }

    #[test]
    fn other_bytes_are_no_filter() {
        for length in [0, 4, 31, 33] {
            assert_eq!(Filter::from_bytes(&vec![0; length]), None, "{length} bytes");
        }
    }
}
