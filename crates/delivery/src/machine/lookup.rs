//! When the channel is asked for an unclear attempt's comment, and what its word is worth.

use super::state::{Machine, Phase, Step};
use crate::conclusion::absent;
use crate::lookup::{LookupResult, LookupSchedule, NextLookup};
use crate::step::Action;
use crate::verdict::Effect;
use commentd_contract::time::Moment;

impl Machine {
    /// Starts the next lookup that is due, or sets the time for it; concludes if lookups won't help.
    pub(super) fn look_up_or_rest(&mut self, step: &mut Step<'_>) {
        let next = self.attempts.iter().enumerate().find_map(|(index, attempt)| {
            let schedule = attempt.lookups.as_ref().filter(|_| attempt.is_unclear())?;
            Some((index, attempt.provider?, schedule.is_fresh()))
        });
        match next {
            None => self.conclude(step),
            Some((attempt, provider, true)) => self.look_up(attempt, provider, step),
            Some((attempt, provider, false)) => self.rest(attempt, provider, step.now, step),
        }
    }

    pub(super) fn look_up(&mut self, attempt: usize, provider: usize, step: &mut Step<'_>) {
        self.phase = Phase::LookingUp { attempt, provider };
        let verdict = self.attempts.get(attempt).and_then(|attempt| attempt.verdict.as_ref());
        let receipt = verdict.filter(|verdict| verdict.comment_id_is_ours);
        let receipt = receipt.map(|verdict| verdict.comment_id.clone()).unwrap_or_default();
        let awaited = !(self.replied || self.caller_is_gone) || step.now < self.awaited_until;
        step.ask(Action::LookUp { attempt, provider, receipt, awaited });
        if !self.answered {
            self.wake(self.plan.deadline, step);
        }
    }

    fn rest(&mut self, attempt: usize, provider: usize, until: Moment, step: &mut Step<'_>) {
        self.phase = Phase::Resting { attempt, provider };
        self.wake(if self.answered { until } else { until.min(self.plan.deadline) }, step);
    }

    pub(super) fn looked_up(
        &mut self,
        attempt: usize,
        provider: usize,
        result: LookupResult,
        began: Moment,
        step: &mut Step<'_>,
    ) {
        if let Some(none_of_ours) = self.duplicate_of_anothers(attempt, &result) {
            return self.settle(attempt, none_of_ours, true, step);
        }
        let veto = self.veto(attempt, provider, step);
        let veto = veto.filter(|_| result == LookupResult::NotFound { complete: true });
        if let Some(entry) = self.attempts.get_mut(attempt) {
            entry.doubt = veto.map(str::to_owned).or_else(|| result.doubt());
        }
        let complete = match result {
            LookupResult::Found(verdict) if verdict.rule().effect == Effect::One => {
                return self.settle(attempt, verdict, true, step);
            }
            LookupResult::NotFound { complete } => complete && veto.is_none(),
            LookupResult::Found(_) | LookupResult::Failed(_) | LookupResult::Alike(_) => false,
            LookupResult::CannotBeKnown => return self.give_up(attempt, step),
        };
        self.missed(attempt, provider, complete, began, step);
    }

    /// A lookup that began at `began` hasn't found the attempt's comment.
    pub(super) fn missed(
        &mut self,
        attempt: usize,
        provider: usize,
        complete: bool,
        began: Moment,
        step: &mut Step<'_>,
    ) {
        let Some(schedule) = self.schedule_of(attempt) else { return };
        match schedule.missed(complete, began, step.now) {
            NextLookup::Absent => self.settle(attempt, absent(), true, step),
            NextLookup::At(moment) => self.rest(attempt, provider, moment, step),
            NextLookup::GiveUp => self.give_up(attempt, step),
        }
    }

    fn schedule_of(&mut self, attempt: usize) -> Option<&mut LookupSchedule> {
        self.attempts.get_mut(attempt)?.lookups.as_mut()
    }

    /// Somebody waits for what the lookups find: the waits between them begin anew.
    pub(super) fn follower_asks(&mut self, until: Moment, step: &mut Step<'_>) {
        self.awaited_until = self.awaited_until.max(until);
        let (Phase::LookingUp { attempt, .. } | Phase::Resting { attempt, .. }) = self.phase else { return };
        if let Some(schedule) = self.schedule_of(attempt) {
            schedule.hasten();
        }
        if let Phase::Resting { attempt, provider } = self.phase {
            self.look_up(attempt, provider, step);
        }
    }

    /// Lookups won't make this attempt certain; another one's may go on.
    fn give_up(&mut self, attempt: usize, step: &mut Step<'_>) {
        if let Some(entry) = self.attempts.get_mut(attempt) {
            entry.lookups = None;
        }
        self.look_up_or_rest(step);
    }
}
