//! What a flight tells its caller, and those who joined it.

use super::Run;
use crate::dispatch::Delivered;
use crate::dispatch::told::Told;
use commentd_contract::{Code, Outcome};
use commentd_delivery::Verdict;
use commentd_delivery::keyed::{self, KeyRule};
use commentd_delivery::step::Answer;
use commentd_ledger::Find;
use std::sync::Arc;

impl Run {
    /// Without an attempt, a key that is known still gets its answer; true if it got one.
    pub(super) async fn answer_from_record(&mut self) -> bool {
        let finding = self.inner.ledger.find(Find::Key(self.key.clone()));
        // A ledger whose disk hangs must not make the answer late; the key counts as unread then.
        let found = tokio::time::timeout_at(self.inner.clock.instant(self.deadline), finding).await;
        let Ok(Ok(Some(record))) = found else {
            self.key_is_clear = matches!(found, Ok(Ok(None)));
            return false;
        };
        match keyed::rule(&record, &self.flight.fingerprint) {
            KeyRule::Reused => self.publish(Delivered::KeyReused),
            KeyRule::Replay | KeyRule::LookUp => {
                self.publish(Delivered::Told(Arc::new(Told::from_record(&record))))
            }
            KeyRule::TryAfresh => {
                self.key_is_clear = true;
                return false;
            }
        }
        true
    }

    /// Answers that no link could be tried, once the key is read: what is recorded never changes.
    pub(super) async fn answer_untried(&mut self, answer: Answer) {
        if self.answer_from_record().await {
            return;
        }
        if self.key_is_clear { self.tell(answer) } else { self.publish(Delivered::KeyInFlight) }
    }

    /// Takes a verdict that is durable now into what callers are told.
    pub(super) fn note(&mut self, attempt: usize, verdict: Verdict) {
        let kind = verdict.kind;
        if let Some(entry) = self.attempts.get_mut(attempt) {
            entry.1 = Some(verdict);
        }
        if !self.answered {
            return;
        }
        let told = self.told_now();
        if told.answer.outcome == Outcome::NotSent {
            tracing::warn!(
                id = %self.id,
                trace_id = %self.trace_id,
                verdict = %kind,
                "the comment turned out not to be there after its caller was \
                answered; it is sent when the caller asks again with the same key"
            );
        } else {
            tracing::info!(
                id = %self.id,
                trace_id = %self.trace_id,
                verdict = %kind,
                outcome = %told.answer.outcome,
                "settled after the answer"
            );
        }
        self.flight.progress.send_modify(|progress| progress.answer = Some(Delivered::Told(Arc::new(told))));
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        let is_overload = answer.code == Code::Overloaded && !answer.recorded;
        let is_unread = !self.opened && !self.key_is_clear && answer.outcome == Outcome::NotSent;
        if is_overload && is_unread {
            self.publish(Delivered::NotReadable(answer.message));
        } else if is_overload {
            self.publish(Delivered::NotRecorded(answer.message));
        } else if is_unread && !answer.recorded {
            // No link could be tried, so nobody has asked the ledger yet.
            self.untried = Some(answer);
        } else if is_unread {
            // The ledger is slow: what became of the key earlier isn't known by the deadline.
            self.publish(Delivered::KeyInFlight);
        } else {
            self.tell(answer);
        }
    }

    fn tell(&mut self, answer: Answer) {
        let told = Told {
            id: self.opened.then_some(self.id),
            trace_id: self.trace_id.clone(),
            answer,
            attempts: self.attempts.clone(),
            skipped: self.skipped.clone(),
            replayed: self.replays,
        };
        self.publish(Delivered::Told(Arc::new(told)));
    }

    pub(super) fn told_now(&self) -> Told {
        let told =
            Told::so_far(self.id, self.trace_id.clone(), self.machine.outcome(), self.attempts.clone());
        Told { skipped: self.skipped.clone(), ..told }
    }

    pub(super) fn publish(&mut self, delivered: Delivered) {
        self.answered = true;
        self.flight.progress.send_modify(|progress| progress.answer = Some(delivered));
    }
}
