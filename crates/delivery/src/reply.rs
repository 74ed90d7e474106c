//! What a caller is told about its delivery.

use crate::conclusion::Conclusion;
use crate::id::DeliveryId;
use crate::known::KnownDelivery;
use crate::outcome::{is_success, outcome_of, speaking};
use crate::rule_switch::{RuleSwitch, is_off};
use crate::verdict::Verdict;
use commentd_contract::{AttemptView, Code, Outcome, ProviderName, VerdictKind};
use std::sync::Arc;

/// What is known of a delivery, as an answer to one request for it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryReply {
    /// The delivery; `None` if nothing of it is recorded.
    pub id: Option<DeliveryId>,
    /// The trace of the request that made it.
    pub trace_id: Arc<str>,
    /// What it came to, as far as is known.
    pub outcome: Outcome,
    /// The code.
    pub code: Code,
    /// The text; empty for success.
    pub message: String,
    /// When it makes sense to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// Its attempts, in order; an open one has no verdict.
    pub attempts: Vec<(ProviderName, Option<Verdict>)>,
    /// The providers that were skipped on the way, in order. That isn't recorded.
    pub skipped: Vec<SkippedProvider>,
    /// Whether it was answered from the record.
    pub replayed: bool,
}

/// A provider that no attempt was made at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedProvider {
    /// How many attempts came before it.
    pub after: usize,
    /// Which provider.
    pub provider: ProviderName,
    /// Why.
    pub verdict: Verdict,
}

impl DeliveryReply {
    /// What a record says by itself.
    pub fn from_record(known: &KnownDelivery) -> Self {
        let verdicts = || known.attempts.iter().map(|attempt| attempt.verdict.as_ref());
        let Conclusion { outcome, code, message, retry_after_ms } =
            Conclusion::of(outcome_of(verdicts()), speaking(verdicts()).map(|(_, verdict)| verdict));
        Self {
            id: Some(known.id),
            trace_id: Arc::clone(&known.trace_id),
            outcome,
            code,
            message,
            retry_after_ms,
            attempts: known.attempts.iter().map(|attempt| (attempt.name, attempt.verdict.clone())).collect(),
            skipped: Vec::new(),
            replayed: true,
        }
    }

    /// The verdict that speaks for the outcome, with its provider.
    pub fn speaking(&self) -> Option<(ProviderName, &Verdict)> {
        let (index, verdict) = speaking(self.attempts.iter().map(|(_, verdict)| verdict.as_ref()))?;
        Some((self.attempts.get(index)?.0, verdict))
    }

    /// The comment's id at the channel, as far as the channel has named it; empty where no comment is known to be
    /// there.
    pub fn comment_id(&self) -> &str {
        let is_stored = self.outcome.is_final() && self.outcome != Outcome::Refused;
        self.speaking().filter(|_| is_stored).map_or("", |(_, verdict)| &verdict.comment_id)
    }

    /// Whether its caller is told a success; see [`is_success`].
    pub fn is_success(&self, unknown_is_success: bool) -> bool {
        is_success(self.outcome, unknown_is_success)
    }

    /// The way down the chain as a reply tells it: the attempts, an open one read as unknown, and between them
    /// the providers that were skipped, each with its reason.
    pub fn attempt_views(&self) -> Vec<AttemptView> {
        let mut views = Vec::with_capacity(self.attempts.len() + self.skipped.len());
        for number in 0..=self.attempts.len() {
            let skipped = self.skipped.iter().filter(|skipped| skipped.after == number);
            views.extend(skipped.map(|skipped| view_of(skipped.provider, Some(&skipped.verdict))));
            views.extend(self.attempts.get(number).map(|(name, verdict)| view_of(*name, verdict.as_ref())));
        }
        views
    }
}

fn view_of(provider: ProviderName, verdict: Option<&Verdict>) -> AttemptView {
    match verdict {
        Some(verdict) => AttemptView {
            provider,
            verdict: verdict.kind,
            latency_ms: verdict.latency_ms,
            error_code: verdict.code,
            error_message: verdict.message.clone(),
        },
        None => AttemptView {
            provider,
            verdict: VerdictKind::Unknown,
            latency_ms: 0,
            error_code: Code::OutcomeUnknown,
            error_message: "still running".into(),
        },
    }
}

/// Why a request has no [`DeliveryReply`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DeliverError {
    /// The key belongs to another comment, or to a batch of another length; what is known of that one here.
    #[error("the key belongs to another comment")]
    KeyReused(Option<Arc<DeliveryReply>>),
    /// The key is in flight, and the deadline came first.
    #[error("the key is in flight")]
    KeyInFlight,
    /// The ledger hasn't said in time what stands under the key, so nothing was sent now.
    #[error("the ledger doesn't answer")]
    LedgerSilent,
    /// The ledger can't record it, so nothing was sent, now or earlier under this key.
    #[error("{0}")]
    NotRecorded(String),
    /// The ledger can neither record it nor say what became of its key earlier, so nothing was sent now.
    #[error("{0}")]
    NotReadable(String),
    /// The sidecar failed; what became of it isn't known.
    #[error("the sidecar failed")]
    Failed,
}

impl DeliverError {
    /// Whether its caller is told a success. What isn't recorded is none, whatever an unknown outcome counts as.
    pub fn is_success(&self, unknown_is_success: bool) -> bool {
        match self {
            DeliverError::Failed => is_success(Outcome::Unknown, unknown_is_success),
            DeliverError::KeyInFlight | DeliverError::LedgerSilent | DeliverError::NotReadable(_) => {
                unknown_is_success && is_off(RuleSwitch::OnlyWhatIsRecordedSucceeds)
            }
            DeliverError::KeyReused(_) | DeliverError::NotRecorded(_) => false,
        }
    }
}

/// What a request for a delivery comes to.
pub type DeliveryResult = Result<Arc<DeliveryReply>, DeliverError>;
