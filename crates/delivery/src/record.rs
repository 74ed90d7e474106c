//! What the ledger keeps of a delivery.

use crate::fingerprint::{Comment, Fingerprint};
use crate::id::DeliveryId;
use crate::outcome::outcome_of;
use crate::rule_switch::{RuleSwitch, is_off};
use crate::verdict::Verdict;
use commentd_contract::{Code, Outcome, ProviderName, VerdictKind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A key as the ledger knows it: the caller's configured name, the caller's key, and the place in the batch
/// (0 for a single request).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyRef {
    /// The caller's configured name; empty for an anonymous caller.
    pub caller: String,
    /// The caller's key, or the one the server made.
    pub key: Arc<str>,
    /// The place in the batch.
    pub item: u32,
}

/// Where an attempt was sent: enough to ask the same place again after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Who tried.
    pub provider: ProviderName,
    /// The channel's name; empty for providers without channels.
    pub channel: String,
    /// The channel's base URL, without userinfo or query.
    pub base_url: String,
    /// The account that comments, as far as it is known; empty if the channel has none.
    pub account: String,
    /// The manifest's version.
    pub manifest_version: u32,
}

impl Destination {
    /// Whether a lookup at `other` answers for an attempt that was sent here. The manifest's version may
    /// differ: the comment is where it was put, whatever we have learnt about reading since.
    pub fn is_same_place(&self, other: &Destination) -> bool {
        self.provider == other.provider
            && self.channel == other.channel
            && self.base_url == other.base_url
            && self.account == other.account
    }
}

/// Who made an unknown attempt certain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum ResolvedBy {
    /// A lookup at the channel.
    Lookup,
    /// A person.
    Person {
        /// Who, in their own words.
        name: String,
    },
}

/// What made an unknown attempt certain, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Who.
    #[serde(flatten)]
    pub by: ResolvedBy,
    /// Wall time, in milliseconds since 1970.
    pub at_ms: u64,
    /// What the attempt came to after all.
    pub verdict: Verdict,
}

/// One try of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// From 1, over the delivery's whole life.
    pub number: u32,
    /// Where it was sent.
    pub destination: Arc<Destination>,
    /// What the channel carries of the delivery id; empty if it carries none.
    pub marker: String,
    /// Wall time of the intent, in milliseconds since 1970.
    pub started_ms: u64,
    /// What it came to; `None` while it is open.
    pub verdict: Option<Verdict>,
    /// What it turned out to be, if it was unknown; few are.
    pub resolution: Option<Box<Resolution>>,
}

impl AttemptRecord {
    /// What is known of it by now.
    pub fn settled(&self) -> Option<&Verdict> {
        self.resolution.as_ref().map(|resolution| &resolution.verdict).or(self.verdict.as_ref())
    }
}

/// Whether an attempt with this verdict of its own may have passed its gate; `None` while it is open.
pub(crate) fn was_sent(verdict: Option<&Verdict>) -> bool {
    verdict.is_none_or(|verdict| verdict.kind != VerdictKind::NotSent)
}

/// A delivery as the ledger keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRecord {
    /// Made with the first intent.
    pub id: DeliveryId,
    /// The caller's name for it.
    pub key: KeyRef,
    /// What its comment is.
    pub fingerprint: Fingerprint,
    /// The comment; `None` after it was forgotten.
    pub comment: Option<Arc<Comment>>,
    /// The trace of the request that made it.
    pub trace_id: Arc<str>,
    /// Wall time, in milliseconds since 1970.
    pub created_ms: u64,
    /// Wall time of the last settling; `None` while an attempt is open.
    pub settled_ms: Option<u64>,
    /// In order.
    pub attempts: Vec<AttemptRecord>,
}

impl DeliveryRecord {
    /// What it comes to by now.
    pub fn outcome(&self) -> Outcome {
        outcome_of_attempts(&self.attempts)
    }

    /// Whether an attempt has no verdict yet.
    pub fn is_open(&self) -> bool {
        is_open(&self.attempts)
    }
}

/// What a delivery with these attempts comes to by now.
pub fn outcome_of_attempts(attempts: &[AttemptRecord]) -> Outcome {
    outcome_of(attempts.iter().map(AttemptRecord::settled))
}

/// Whether one of these attempts has no verdict yet.
pub fn is_open(attempts: &[AttemptRecord]) -> bool {
    attempts.iter().any(|attempt| attempt.verdict.is_none())
}

/// The verdict of an attempt that was open when its process ended.
pub fn interrupted() -> Verdict {
    if is_off(RuleSwitch::InterruptedIsUnknown) {
        return Verdict::new(VerdictKind::NotSent, "");
    }
    Verdict::new(
        VerdictKind::Unknown,
        "the sidecar ended while this attempt was running; whether the channel stored the comment isn't known",
    )
    .with_code(Code::OutcomeUnknown)
}
