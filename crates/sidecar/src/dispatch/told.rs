//! What a caller is told about a delivery.

use commentd_contract::{AttemptView, Code, Outcome, ProviderName, VerdictKind};
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, speaking_verdict};
use commentd_delivery::step::Answer;
use commentd_delivery::verdict::Effect;
use commentd_delivery::{DeliveryId, Verdict};
use std::sync::Arc;

/// The answer to one request about one delivery.
#[derive(Clone, Debug)]
pub struct Told {
    /// The delivery; `None` if none was made.
    pub id: Option<DeliveryId>,
    /// The trace of the request that made it.
    pub trace_id: Arc<str>,
    /// What is known.
    pub answer: Answer,
    /// Its attempts, in order; an open one has no verdict.
    pub attempts: Vec<(ProviderName, Option<Verdict>)>,
    /// The links that were skipped on the way, in order; they are told, and not recorded.
    pub skipped: Vec<Skipped>,
    /// Whether it answers from the record.
    pub replayed: bool,
}

/// A link that no attempt was made at.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// How many attempts came before it.
    pub after: usize,
    /// Whose link it is.
    pub provider: ProviderName,
    /// Why.
    pub verdict: Verdict,
}

impl Told {
    /// What a record says by itself.
    pub(super) fn from_record(record: &DeliveryRecord) -> Self {
        let outcome = record.outcome();
        let (code, message, retry_after_ms) = match speaking_verdict(&record.attempts) {
            Some(verdict) => (verdict.code, verdict.message.clone(), verdict.retry_after_ms),
            None => (Code::OutcomeUnknown, "an attempt is still open".to_owned(), None),
        };
        Self {
            id: Some(record.id),
            trace_id: record.trace_id.clone(),
            answer: Answer { outcome, code, message, retry_after_ms, recorded: true },
            attempts: record.attempts.iter().map(attempt_of).collect(),
            skipped: Vec::new(),
            replayed: true,
        }
    }

    /// What these attempts of a delivery that is still in flight have come to so far.
    pub(super) fn so_far(
        id: DeliveryId,
        trace_id: Arc<str>,
        outcome: Outcome,
        attempts: Vec<(ProviderName, Option<Verdict>)>,
    ) -> Self {
        let (code, message) = (Code::OutcomeUnknown, String::new());
        let answer = Answer { outcome, code, message, retry_after_ms: None, recorded: true };
        let mut told =
            Self { id: Some(id), trace_id, answer, attempts, skipped: Vec::new(), replayed: false };
        if let Some((_, verdict)) = told.speaking() {
            let (code, message, hint) = (verdict.code, verdict.message.clone(), verdict.retry_after_ms);
            told.answer = Answer { code, message, retry_after_ms: hint, ..told.answer };
        }
        told
    }

    /// The same answer to somebody else's request.
    #[must_use]
    pub(super) fn replay(&self) -> Self {
        Self { replayed: true, ..self.clone() }
    }

    /// The verdict that speaks for the outcome, with its provider.
    pub fn speaking(&self) -> Option<(ProviderName, &Verdict)> {
        let known = || self.attempts.iter().filter_map(|(name, verdict)| Some((*name, verdict.as_ref()?)));
        known()
            .find(|(_, verdict)| verdict.rule().effect == Effect::One)
            .or_else(|| known().rfind(|(_, verdict)| verdict.rule().effect == Effect::Unclear))
            .or_else(|| known().next_back())
    }

    /// The way down the chain as a reply tells it: the attempts, an open one read as unknown, and between them
    /// the links that were skipped, each with its reason.
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

fn attempt_of(attempt: &AttemptRecord) -> (ProviderName, Option<Verdict>) {
    (attempt.destination.provider, attempt.settled().cloned())
}
