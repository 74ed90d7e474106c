//! A delivery that the ledger knows, as a decision about it needs it.

use crate::fingerprint::Fingerprint;
use crate::id::DeliveryId;
use crate::outcome::outcome_of;
use crate::record::{DeliveryRecord, Destination, was_sent};
use crate::verdict::Verdict;
use commentd_contract::time::Moment;
use commentd_contract::{Outcome, ProviderName};
use std::sync::Arc;

/// What the ledger has of a delivery, and what this process can add to it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownDelivery {
    /// The delivery.
    pub id: DeliveryId,
    /// What its comment is.
    pub fingerprint: Fingerprint,
    /// The trace of the request that made it.
    pub trace_id: Arc<str>,
    /// Wall time of its first intent, in milliseconds since 1970.
    pub created_ms: u64,
    /// In order.
    pub attempts: Vec<KnownAttempt>,
}

/// One of its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAttempt {
    /// Who tried.
    pub name: ProviderName,
    /// The provider of the chain that leads to where it was sent; `None` if that isn't configured any more.
    pub provider: Option<usize>,
    /// What is known of it; `None` while it is open.
    pub verdict: Option<Verdict>,
    /// When it began, by this process's clock; `None` if an earlier process began it, or nobody has kept it.
    pub started: Option<Moment>,
    /// Whether it may have passed its gate, whatever a lookup or a person has made of it since.
    pub was_sent: bool,
}

impl KnownDelivery {
    /// Reads it from its record. `provider_to`: the provider of the chain that leads to a place. `started`: when each
    /// attempt began, as far as this process knows.
    pub fn new(
        record: &DeliveryRecord,
        provider_to: impl Fn(&Destination) -> Option<usize>,
        started: &[Option<Moment>],
    ) -> Self {
        let attempts = record.attempts.iter().enumerate().map(|(index, attempt)| KnownAttempt {
            name: attempt.destination.provider,
            provider: provider_to(&attempt.destination),
            verdict: attempt.settled().cloned(),
            started: started.get(index).copied().flatten(),
            was_sent: was_sent(attempt.verdict.as_ref()),
        });
        Self {
            id: record.id,
            fingerprint: record.fingerprint,
            trace_id: Arc::clone(&record.trace_id),
            created_ms: record.created_ms,
            attempts: attempts.collect(),
        }
    }

    /// What it comes to by now.
    pub fn outcome(&self) -> Outcome {
        outcome_of(self.attempts.iter().map(|attempt| attempt.verdict.as_ref()))
    }

    /// Whether an attempt has no verdict yet.
    pub fn is_open(&self) -> bool {
        self.attempts.iter().any(|attempt| attempt.verdict.is_none())
    }
}
