//! What a key that is already known means for the request that brings it again (SPEC 5).

use crate::fingerprint::Fingerprint;
use crate::record::DeliveryRecord;
use crate::rule_switch::{RuleSwitch, is_off};
use commentd_contract::Outcome;

/// What to do with a request whose key the ledger knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// Another comment under the key: HTTP 422, or code 63 on a batch item.
    Reused,
    /// Certain: answer from the record.
    Replay,
    /// Nothing was added: a new attempt of the same delivery.
    TryAfresh,
    /// Nobody knows yet: look it up, and replay what that leaves.
    LookUp,
}

/// The rule for a request with this fingerprint that meets this record, when no flight of this process holds
/// the key.
pub fn rule(record: &DeliveryRecord, fingerprint: &Fingerprint) -> KeyRule {
    if record.fingerprint != *fingerprint {
        return KeyRule::Reused;
    }
    match record.outcome() {
        Outcome::Unknown if is_off(RuleSwitch::UnknownIsLookedUp) => KeyRule::TryAfresh,
        _ if is_off(RuleSwitch::CertainIsReplayed) => KeyRule::TryAfresh,
        Outcome::Delivered | Outcome::Held | Outcome::Misplaced | Outcome::Refused | Outcome::DryRun => {
            KeyRule::Replay
        }
        Outcome::NotSent => KeyRule::TryAfresh,
        Outcome::Unknown => KeyRule::LookUp,
    }
}
