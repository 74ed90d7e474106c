//! Which event does what in which phase.

use super::state::{LookupRight, Machine, Phase, Step};
use crate::breaker::FAIR_TIME;
use crate::conclusion::{UNRECORDED_IN_TIME, not_sent_in_time};
use crate::rule_switch::{RuleSwitch, is_off};
use crate::step::{Action, Ending, Event, ProviderHealth};
use commentd_contract::time::Moment;

impl Machine {
    /// Takes in an event. Events that don't belong to the current phase (a verdict of an attempt that was
    /// cancelled) are ignored; a wake-up before its time is asked for again.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Moment, health: &mut dyn ProviderHealth) -> Vec<Action> {
        let mut step = Step { now, health, actions: Vec::with_capacity(2) };
        if self.phase != Phase::Finished {
            self.take_in(event, &mut step);
            self.give_back(&mut step);
            self.end_step(&mut step);
        }
        step.actions
    }

    fn take_in(&mut self, event: Event, step: &mut Step<'_>) {
        match event {
            Event::CallerGone => self.caller_gone(step),
            Event::AnswerNow => self.answer_now(step),
            Event::Drain => self.is_draining = true,
            Event::KeyKnown(known) => self.key_known(*known, step),
            Event::KeyFree => self.key_free(step),
            Event::KeyUnreadable => self.key_unreadable(step),
            Event::FollowerAsks { until } => self.follower_asks(until, step),
            Event::HandOver if self.is_only_lookups() => self.end(Ending::HandedOver, step),
            Event::ResolvedByPerson if self.is_only_lookups() => {
                self.phase = Phase::ReadingRecord;
                self.key.is_being_read = true;
                step.ask(Action::ReadDelivery(self.plan.id));
            }
            Event::LookupPermit(true) => self.lookup_right = LookupRight::Held,
            Event::LookupPermit(false) if self.is_only_lookups() => self.end(Ending::ToBacklog, step),
            Event::Woken => self.woken_at(step),
            Event::IntentRecorded if is_off(RuleSwitch::IntentBeforeSend) => self.opened = true,
            event => self.go_on(event, step),
        }
    }

    /// What the current phase waits for.
    fn go_on(&mut self, event: Event, step: &mut Step<'_>) {
        match (self.phase, event) {
            (Phase::New, Event::Start) => self.start(step),
            (Phase::Queueing { provider }, Event::PermitGranted { provider: free }) if provider == free => {
                self.permit_granted(provider, step);
            }
            (Phase::Queueing { provider }, Event::NoSlot { provider: late, verdict }) if provider == late => {
                self.leave(provider, verdict, step);
            }
            (Phase::RecordingIntent { provider }, Event::IntentRecorded) if !self.key.is_being_read => {
                self.intent_recorded(provider, step);
            }
            (Phase::RecordingIntent { .. }, Event::IntentFailed(reason)) if !self.key.is_being_read => {
                self.intent_failed(reason, step);
            }
            (Phase::Sending { .. }, Event::Cancelled { unsent: true, own_wait })
                if own_wait.is_all(FAIR_TIME, step.now) =>
            {
                // It has only waited for something of ours: that is no fault of its provider.
                self.late_since = Some(step.now).filter(|now| *now > self.plan.deadline);
                self.settle_last(not_sent_in_time().uncounted(), step);
            }
            (Phase::Sending { .. }, Event::Cancelled { unsent, .. })
                if unsent || is_off(RuleSwitch::PassedGateIsUnknown) =>
            {
                self.settle_last(not_sent_in_time(), step);
            }
            (Phase::Sending { .. }, Event::Cancelled { .. }) => {
                // What is open counts as unknown. The attempt runs on; its verdict is recorded when it comes.
                self.closed = true;
                self.answer(step);
            }
            (Phase::Sending { .. }, Event::AttemptEnded(verdict)) => {
                // It was there, and is read only now because the process was stopped: it has its grace as well.
                self.late_since = Some(step.now).filter(|now| *now > self.plan.deadline);
                self.settle_last(verdict, step);
            }
            (Phase::Settling { .. }, Event::Settled) => self.settled(step),
            (Phase::Settling { attempt, resolves, .. }, Event::ClaimLost) => {
                self.claim_lost(attempt, resolves, step);
            }
            (Phase::Settling { .. }, Event::SettleFailed(failure, reason)) => {
                self.settle_failed(failure, reason, step);
            }
            (Phase::LookingUp { attempt, provider }, Event::LookupDone(result, began)) => {
                self.looked_up(attempt, provider, result, began, step);
            }
            _ => {}
        }
    }

    fn caller_gone(&mut self, step: &mut Step<'_>) {
        self.caller_is_gone = true;
        self.answered = true;
        self.closed = true;
        match self.phase {
            Phase::Sending { .. } => step.ask(Action::Cancel),
            Phase::Queueing { .. } => {
                step.ask(Action::LeaveQueue);
                self.look_up_or_rest(step);
            }
            Phase::Waiting { .. } => self.look_up_or_rest(step),
            Phase::New => self.phase = Phase::Over,
            _ => {}
        }
    }

    fn answer_now(&mut self, step: &mut Step<'_>) {
        self.key.read_by = self.key.read_by.min(step.now + self.plan.grace);
        if self.answered || step.now >= self.plan.deadline {
            return;
        }
        self.plan.deadline = step.now;
        if matches!(self.phase, Phase::Settling { .. }) {
            self.wake(step.now + self.plan.grace, step);
        } else {
            self.woken(step);
        }
    }

    fn woken_at(&mut self, step: &mut Step<'_>) {
        match self.wake_at {
            // One that was replaced, or a timer that is early: the one that counts is still to come.
            Some(due) if step.now < due => step.ask(Action::Wake(due)),
            _ => self.woken(step),
        }
    }

    fn woken(&mut self, step: &mut Step<'_>) {
        let late = step.now >= self.plan.deadline;
        match self.phase {
            Phase::ReadingKey if late => self.try_the_chain(step),
            Phase::RecordingIntent { .. } if late => {
                self.closed = true;
                // The record isn't there yet, and nothing will be sent once it is.
                self.answer_with(self.conclusion(Some(&not_sent_in_time())), step);
            }
            Phase::Sending { .. } if late && !self.closed => {
                self.closed = true;
                step.ask(Action::Cancel);
            }
            Phase::Settling { .. } => {
                self.closed = true;
                self.answer_unknown(UNRECORDED_IN_TIME, step);
            }
            Phase::Waiting { provider } => self.begin(provider, step),
            Phase::Queueing { provider } => self.queued_in_vain(provider, step),
            Phase::LookingUp { .. } if late => {
                self.closed = true;
                self.answer(step);
            }
            Phase::Resting { attempt, provider } => {
                if late && !self.answered {
                    self.closed = true;
                    self.answer(step);
                }
                self.look_up(attempt, provider, step);
            }
            _ => {}
        }
    }

    /// What every step ends with: an answer that waited for the key, the end, and what those who follow should know.
    fn end_step(&mut self, step: &mut Step<'_>) {
        self.reply_held(step);
        match self.phase {
            Phase::Over if self.key.held.is_none() => return self.end(Ending::Over, step),
            Phase::Over | Phase::ReadingRecord | Phase::Finished => return,
            _ => {}
        }
        let only_lookups = self.is_only_lookups();
        if only_lookups && self.is_draining {
            return self.end(Ending::Over, step);
        }
        if only_lookups && self.lookup_right != LookupRight::Held {
            if self.lookup_right == LookupRight::None {
                self.lookup_right = LookupRight::Asked;
                step.ask(Action::TakeLookupPermit);
            }
            return;
        }
        if only_lookups != self.shows_only_lookups {
            self.shows_only_lookups = only_lookups;
            step.ask(Action::ShowProgress { only_lookups, repeats_until: self.repeats_until() });
        }
    }

    fn end(&mut self, ending: Ending, step: &mut Step<'_>) {
        if !self.replied {
            // For those who joined it after its caller hung up.
            self.give(self.reply_now(), step);
        }
        self.phase = Phase::Finished;
        self.wake_at = None;
        step.ask(Action::Finish(ending));
    }
}
