//! What the caller is told, and those who follow.

use super::state::{Attempt, Machine, Phase, Step};
use crate::conclusion::Conclusion;
use crate::outcome::{outcome_of, speaking};
use crate::reply::{DeliveryReply, DeliveryResult};
use crate::step::Action;
use crate::verdict::Verdict;
use commentd_contract::{Code, Outcome};
use std::sync::Arc;

impl Machine {
    /// Answers with what is known, and ends.
    pub(super) fn conclude(&mut self, step: &mut Step<'_>) {
        self.answer(step);
        self.phase = Phase::Over;
    }

    pub(super) fn answer(&mut self, step: &mut Step<'_>) {
        if !self.answered {
            self.answer_with(self.conclusion(None), step);
        }
    }

    pub(super) fn answer_unknown(&mut self, message: &str, step: &mut Step<'_>) {
        if !self.answered {
            self.answer_with(Conclusion::unknown(message), step);
        }
    }

    pub(super) fn answer_overloaded(&mut self, message: &str, step: &mut Step<'_>) {
        let (outcome, message) = (self.outcome(), message.to_owned());
        let retry_after_ms = Some(1000);
        self.answer_with(Conclusion { outcome, code: Code::Overloaded, message, retry_after_ms }, step);
    }

    pub(super) fn answer_with(&mut self, conclusion: Conclusion, step: &mut Step<'_>) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        if conclusion.outcome == Outcome::NotSent && !self.opened && !self.key.is_clear {
            // No provider could be tried, or the ledger is slow: what became of the key earlier isn't known yet.
            self.key.held = Some(Box::new(conclusion));
            return;
        }
        let reply = self.reply_of(conclusion);
        self.give(reply, step);
    }

    pub(super) fn give(&mut self, reply: DeliveryReply, step: &mut Step<'_>) {
        self.give_shared(Ok(Arc::new(reply)), step);
    }

    /// Tells the caller, or those who follow where the caller knows already or is gone.
    pub(super) fn give_shared(&mut self, reply: DeliveryResult, step: &mut Step<'_>) {
        let is_first = !self.replied && !self.caller_is_gone && self.plan.has_caller;
        self.replied = true;
        step.ask(if is_first { Action::Reply(reply) } else { Action::UpdateReply(reply) });
    }

    /// What the attempts come to, in words; `instead` speaks for the one that is open.
    pub(super) fn conclusion(&self, instead: Option<&Verdict>) -> Conclusion {
        let verdicts = || self.attempts.iter().map(move |attempt| attempt.verdict.as_ref().or(instead));
        let outcome = outcome_of(verdicts());
        if outcome == Outcome::NotSent && !self.attempts.iter().any(|attempt| attempt.this_run) {
            return Conclusion::skipped(self.skipped.iter().map(|skipped| &skipped.verdict));
        }
        let mut conclusion = Conclusion::of(outcome, speaking(verdicts()).map(|(_, verdict)| verdict));
        // Why looking it up hasn't made it certain.
        let doubt = self.attempts.iter().rev().find_map(|attempt| attempt.doubt.as_deref());
        if let Some(doubt) = doubt.filter(|_| outcome == Outcome::Unknown) {
            conclusion.message = format!("{}; {doubt}", conclusion.message);
        }
        conclusion
    }

    /// What is known by now, for those who ask later.
    pub(super) fn reply_now(&self) -> DeliveryReply {
        let speaking = speaking(self.recorded().map(|(_, verdict)| verdict)).map(|(_, verdict)| verdict);
        self.reply_of(Conclusion::of(self.outcome(), speaking))
    }

    /// The whole reply with this conclusion. It tells of attempts and verdicts that are durable.
    pub(super) fn reply_of(&self, conclusion: Conclusion) -> DeliveryReply {
        let Conclusion { outcome, code, message, retry_after_ms } = conclusion;
        DeliveryReply {
            id: self.opened.then_some(self.plan.id),
            trace_id: Arc::clone(&self.plan.trace_id),
            outcome,
            code,
            message,
            retry_after_ms,
            attempts: self.recorded().map(|(attempt, verdict)| (attempt.name, verdict.cloned())).collect(),
            skipped: self.skipped.clone(),
            replayed: self.replays,
        }
    }

    /// The attempts that are durable, each with its verdict that is.
    fn recorded(&self) -> impl Iterator<Item = (&Attempt, Option<&Verdict>)> {
        let is_recording = matches!(self.phase, Phase::RecordingIntent { .. });
        let count = self.attempts.len() - usize::from(is_recording && !self.attempts.is_empty());
        self.attempts.iter().take(count).enumerate().map(|(index, attempt)| match &self.unrecorded {
            Some((unrecorded, before)) if *unrecorded == index => (attempt, before.as_deref()),
            _ => (attempt, attempt.verdict.as_ref()),
        })
    }
}
