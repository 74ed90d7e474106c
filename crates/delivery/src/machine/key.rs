//! What a key that is known already means for the request that brings it again (SPEC 5), and what is said while the
//! ledger hasn't told.

use super::state::{Machine, Phase, Step};
use crate::conclusion::UNRECORDABLE_INTENT;
use crate::fingerprint::Fingerprint;
use crate::known::KnownDelivery;
use crate::reply::{DeliverError, DeliveryReply};
use crate::rule_switch::{RuleSwitch, is_off, is_on};
use crate::step::{Action, Notice};
use commentd_contract::Outcome;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyRule {
    /// Another comment under the key: HTTP 422, or code 63 on a batch item.
    Reused,
    /// Certain: answer from the record.
    Replay,
    /// Nothing was added: a new attempt of the same delivery.
    TryAfresh,
    /// Nobody knows yet: look it up, and replay what that leaves.
    LookUp,
}

/// The rule for a request with this fingerprint that meets this delivery, which nobody in this process has in flight.
fn key_rule(known: &KnownDelivery, fingerprint: &Fingerprint) -> KeyRule {
    if known.fingerprint != *fingerprint {
        return KeyRule::Reused;
    }
    match known.outcome() {
        Outcome::Unknown if is_off(RuleSwitch::UnknownIsLookedUp) => KeyRule::TryAfresh,
        _ if is_off(RuleSwitch::CertainIsReplayed) => KeyRule::TryAfresh,
        Outcome::Delivered | Outcome::Held | Outcome::Misplaced | Outcome::Refused | Outcome::DryRun => {
            KeyRule::Replay
        }
        Outcome::NotSent => KeyRule::TryAfresh,
        Outcome::Unknown => KeyRule::LookUp,
    }
}

impl Machine {
    pub(super) fn start(&mut self, step: &mut Step<'_>) {
        self.key.read_by = step.now.max(self.plan.deadline) + self.plan.grace;
        if self.opened && !self.plan.has_caller {
            let known = DeliveryReply { replayed: true, ..self.reply_now() };
            self.give(known, step);
        }
        // A key that is known needs no provider, so it shouldn't wait for one.
        if self.opened || self.key.is_clear || !self.would_wait(step) {
            return self.try_the_chain(step);
        }
        self.phase = Phase::ReadingKey;
        self.read_key(step);
        self.wake(self.plan.deadline, step);
    }

    /// Whether the first provider can't be tried at once, or only by one delivery, which should be one that will be
    /// sent.
    fn would_wait(&self, step: &mut Step<'_>) -> bool {
        let Some(rules) = self.rules(0) else { return true };
        rules.queues
            || self.time_left(step.now) < rules.min_useful
            || (is_on(RuleSwitch::TrialsAreGivenBack) && step.health.is_half_open(0, step.now))
            || step.health.obstacle(0, step.now).is_some()
    }

    fn read_key(&mut self, step: &mut Step<'_>) {
        self.key.is_being_read = true;
        step.ask(Action::ReadKey);
    }

    pub(super) fn key_known(&mut self, known: KnownDelivery, step: &mut Step<'_>) {
        self.key.is_being_read = false;
        match self.phase {
            Phase::ReadingRecord => {
                self.give(DeliveryReply::from_record(&known), step);
                self.phase = Phase::Over;
            }
            Phase::ReadingKey => match key_rule(&known, &self.plan.fingerprint) {
                // The claim of the key will say so once more, and then the delivery goes on.
                KeyRule::TryAfresh => {
                    self.key.is_clear = true;
                    self.try_the_chain(step);
                }
                rule => self.follow_rule(rule, known, step),
            },
            Phase::RecordingIntent { .. } if !self.opened => {
                self.follow_rule(key_rule(&known, &self.plan.fingerprint), known, step);
            }
            Phase::Over if self.key.held.is_some() => self.answer_from_record(known, step),
            _ => {}
        }
    }

    fn follow_rule(&mut self, rule: KeyRule, known: KnownDelivery, step: &mut Step<'_>) {
        match rule {
            KeyRule::Reused | KeyRule::Replay => self.tell_record(rule, &known, step),
            KeyRule::LookUp if known.is_open() => {
                // Nobody has it in flight, so nobody will end it any more.
                self.key.is_being_read = true;
                step.ask(Action::CloseOpenAttempts(known.id));
            }
            KeyRule::LookUp | KeyRule::TryAfresh => {
                self.replays = rule == KeyRule::LookUp;
                self.adopt(known, step);
            }
        }
    }

    /// Goes on with the delivery that has the key.
    fn adopt(&mut self, known: KnownDelivery, step: &mut Step<'_>) {
        if let Phase::RecordingIntent { provider } = self.phase
            && self.rules(provider).is_some_and(|rules| rules.queues)
        {
            step.ask(Action::LeaveQueue);
        }
        let is_heard = !self.caller_is_gone || is_off(RuleSwitch::NothingIsSentForNobody);
        let has_caller = self.plan.has_caller && is_heard;
        (self.answered, self.closed) = (!has_caller, !has_caller);
        self.key.held = None;
        self.skipped.clear();
        self.retry = None;
        self.late_since = None;
        self.wake_at = None;
        self.phase = Phase::New;
        self.take_over(known);
        self.try_the_chain(step);
    }

    /// Answers by what stands under the key, without looking it up, unless nothing of it was sent.
    fn answer_from_record(&mut self, known: KnownDelivery, step: &mut Step<'_>) {
        match key_rule(&known, &self.plan.fingerprint) {
            KeyRule::TryAfresh => self.key.is_clear = true,
            rule => self.tell_record(rule, &known, step),
        }
    }

    fn tell_record(&mut self, rule: KeyRule, known: &KnownDelivery, step: &mut Step<'_>) {
        let reply = Arc::new(DeliveryReply::from_record(known));
        self.key.held = None;
        self.answered = true;
        self.give_shared(
            if rule == KeyRule::Reused { Err(DeliverError::KeyReused(Some(reply))) } else { Ok(reply) },
            step,
        );
        self.phase = Phase::Over;
    }

    pub(super) fn key_free(&mut self, step: &mut Step<'_>) {
        if !std::mem::take(&mut self.key.is_being_read) {
            return;
        }
        match self.phase {
            Phase::ReadingRecord => self.phase = Phase::Over,
            Phase::ReadingKey => {
                self.key.is_clear = true;
                self.try_the_chain(step);
            }
            Phase::RecordingIntent { .. } => {
                self.key.is_clear = true;
                self.nothing_is_recorded(step);
            }
            Phase::Over => self.key.is_clear = true,
            _ => {}
        }
    }

    pub(super) fn key_unreadable(&mut self, step: &mut Step<'_>) {
        if !std::mem::take(&mut self.key.is_being_read) {
            return;
        }
        match self.phase {
            Phase::ReadingRecord => self.phase = Phase::Over,
            Phase::ReadingKey => self.try_the_chain(step),
            Phase::RecordingIntent { .. } => {
                // It won't say so any more.
                self.key.read_by = step.now;
                self.nothing_is_recorded(step);
            }
            Phase::Over => self.key.read_by = step.now,
            _ => {}
        }
    }

    pub(super) fn intent_failed(&mut self, reason: String, step: &mut Step<'_>) {
        if self.opened || self.key.is_clear {
            step.ask(Action::Log(Notice::IntentFailed(reason)));
            return self.nothing_is_recorded(step);
        }
        // A ledger that can't record may still be able to read.
        step.ask(Action::Log(Notice::KeyMayBeKnown(reason)));
        self.read_key(step);
    }

    /// The attempt never existed: nothing may be sent that can't be recorded.
    fn nothing_is_recorded(&mut self, step: &mut Step<'_>) {
        self.attempts.pop();
        self.phase = Phase::New;
        self.closed = true;
        if self.opened {
            if self.outcome() != Outcome::Unknown {
                self.answer_overloaded(UNRECORDABLE_INTENT, step);
            }
        } else if !std::mem::replace(&mut self.answered, true) {
            let reason = UNRECORDABLE_INTENT.to_owned();
            let error = if self.key.is_clear { DeliverError::NotRecorded } else { DeliverError::NotReadable };
            self.give_shared(Err(error(reason)), step);
        }
        self.look_up_or_rest(step);
    }

    /// Answers that nothing was sent once the ledger has read the key: what is recorded never changes. Where it
    /// doesn't answer in time, that is said, and not that somebody else is at it.
    pub(super) fn reply_held(&mut self, step: &mut Step<'_>) {
        let Some(held) = self.key.held.take() else { return };
        if self.key.is_clear {
            let reply = self.reply_of(*held);
            return self.give(reply, step);
        }
        if is_off(RuleSwitch::OnlyWhatIsInFlightIsSaidToBe) {
            return self.give_shared(Err(DeliverError::KeyInFlight), step);
        }
        if step.now >= self.key.read_by {
            return self.give_shared(Err(DeliverError::LedgerSilent), step);
        }
        self.key.held = Some(held);
        let is_claiming = matches!(self.phase, Phase::RecordingIntent { .. });
        if !is_claiming && !self.key.is_being_read {
            self.read_key(step);
        }
        if self.wake_at != Some(self.key.read_by) {
            self.wake(self.key.read_by, step);
        }
    }
}
