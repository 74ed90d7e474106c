//! Deliveries to measure with.
//!
//! Number `n` always makes the same delivery, and ids and keys lie as far apart as the random ones of real callers:
//! neighbours in time are no neighbours in an index.

pub mod fill;

use commentd_contract::{Addressing, ProviderName, VerdictKind};
use commentd_delivery::record::{AttemptRecord, Destination, KeyRef};
use commentd_delivery::{Comment, DeliveryId, Verdict};
use commentd_ledger::{AttemptEnd, Opening, Settling};
use std::sync::Arc;

/// What all deliveries of a run have in common.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Makes the ids and keys of one run others than those of another.
    pub seed: u64,
    /// Length of each comment.
    pub content_bytes: usize,
    /// Whether each verdict names a comment that is proved to be ours, which the ledger then claims.
    pub claims: bool,
}

impl Default for Kind {
    fn default() -> Self {
        Self { seed: 0, content_bytes: 100, claims: true }
    }
}

impl Kind {
    fn random(&self, n: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.rotate_left(32) ^ n)
    }

    /// The id of delivery `n`.
    pub fn id(&self, n: u64) -> DeliveryId {
        DeliveryId::from_bytes(self.random(n).u128(..).to_be_bytes())
    }

    /// Its comment.
    pub fn comment(&self, n: u64) -> Comment {
        let words = "so much to say about so little that was shown ";
        let content = format!("{n} ").chars().chain(words.chars().cycle()).take(self.content_bytes).collect();
        let addressing = Addressing { sns_id: format!("/posts/{}", n % 1000), ..Addressing::default() };
        Comment { content, addressing: addressing.into() }
    }

    /// Its key, and the intent of its first attempt at `at_ms`.
    pub fn opening(&self, n: u64, at_ms: u64) -> Opening {
        let mut random = self.random(n);
        let id = DeliveryId::from_bytes(random.u128(..).to_be_bytes());
        let comment = self.comment(n);
        let destination = Destination {
            provider: ProviderName::NativeHttp,
            channel: "generic".into(),
            base_url: "http://127.0.0.1:8080".into(),
            account: String::new(),
            manifest_version: 1,
        };
        Opening {
            id,
            key: KeyRef { caller: String::new(), key: format!("{:032x}", random.u128(..)).into(), item: 0 },
            fingerprint: comment.fingerprint(1),
            comment: Arc::new(comment),
            trace_id: format!("{:032x}", random.u128(..)).into(),
            intent: AttemptRecord {
                number: 1,
                destination: Arc::new(destination),
                marker: String::new(),
                started_ms: at_ms,
                verdict: None,
                resolution: None,
            },
        }
    }

    /// Its attempt was delivered at `at_ms`.
    pub fn settling(&self, n: u64, at_ms: u64) -> Settling {
        let mut verdict = Verdict::new(VerdictKind::Delivered, "").after_ms(35);
        if self.claims {
            verdict.comment_id = format!("{}-{n}", self.seed);
            verdict.comment_id_is_ours = true;
        }
        Settling { id: self.id(n), attempt: 1, end: AttemptEnd::Verdict(verdict), at_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn deliveries_have_ids_and_keys_of_their_own() {
        let one = Kind::default();
        let other = Kind { seed: 1, ..Kind::default() };
        let openings: Vec<Opening> =
            [one.clone(), other].iter().flat_map(|kind| (0..1000).map(|n| kind.opening(n, 0))).collect();
        let ids: HashSet<DeliveryId> = openings.iter().map(|opening| opening.id).collect();
        let keys: HashSet<&KeyRef> = openings.iter().map(|opening| &opening.key).collect();
        assert_eq!((ids.len(), keys.len()), (2000, 2000));
        assert_eq!(one.opening(7, 0).id, one.settling(7, 0).id);
        assert_eq!(one.comment(7).content.len(), 100);
    }
}
