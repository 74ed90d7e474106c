//! What a flight tells its caller, and those who joined it.

use super::Run;
use crate::dispatch::Delivered;
use crate::dispatch::told::Told;
use crate::dispatch::under_way::Back;
use commentd_contract::{Code, Outcome};
use commentd_delivery::keyed::{self, KeyRule};
use commentd_delivery::record::DeliveryRecord;
use commentd_delivery::rule_switch::{RuleSwitch, is_off};
use commentd_delivery::step::Answer;
use commentd_delivery::{Clock, Verdict};
use commentd_ledger::Find;
use std::sync::Arc;

impl Run {
    /// Reads the key before anything else; true if the record is the answer.
    pub(super) async fn is_answered_from_record(&mut self) -> bool {
        let finding = self.inner.ledger.find(Find::Key(self.key.clone()));
        // A ledger whose disk hangs must not make the answer late; the key counts as unread then.
        let found = tokio::time::timeout_at(self.inner.clock.instant(self.deadline), finding).await;
        match found {
            Ok(Ok(Some(record))) => match keyed::rule(&record, &self.flight.fingerprint) {
                KeyRule::LookUp if !record.is_open() => self.key_is_known(&record),
                KeyRule::LookUp => false,
                KeyRule::Reused | KeyRule::Replay | KeyRule::TryAfresh => self.answer_from(&record),
            },
            Ok(Ok(None)) => {
                self.key_is_clear = true;
                false
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Answers by what stands under the key, without looking it up; false if that is nothing that was sent.
    pub(super) fn answer_from(&mut self, record: &DeliveryRecord) -> bool {
        match keyed::rule(record, &self.flight.fingerprint) {
            KeyRule::Reused => self.publish(Delivered::KeyReused(Some(Arc::new(Told::from_record(record))))),
            KeyRule::Replay | KeyRule::LookUp => {
                self.publish(Delivered::Told(Arc::new(Told::from_record(record))))
            }
            KeyRule::TryAfresh => {
                self.key_is_clear = true;
                return false;
            }
        }
        true
    }

    /// Answers that nothing was sent once the ledger has read the key: what is recorded never changes. Where it
    /// doesn't answer in time, that is said, and not that somebody else is at it.
    pub(super) fn tell_unread(&mut self) {
        let Some(answer) = self.unread.take() else { return };
        if self.key_is_clear {
            return self.tell(answer);
        }
        if is_off(RuleSwitch::OnlyWhatIsInFlightIsSaidToBe) {
            return self.publish(Delivered::KeyInFlight);
        }
        if self.inner.clock.now() >= self.read_by {
            return self.publish(Delivered::LedgerSilent);
        }
        if self.under_way.ledger.is_none() {
            let ledger = Arc::clone(&self.inner.ledger);
            let key = Find::Key(self.key.clone());
            self.under_way.ledger = Some(Box::pin(async move { Back::Read(ledger.find(key).await) }));
        }
        self.under_way.wake_by(self.inner.clock.instant(self.read_by));
        self.unread = Some(answer);
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
        } else if is_unread {
            // No link could be tried, or the ledger is slow: what became of the key earlier isn't known yet.
            self.unread = Some(answer);
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
