//! Which provider of the chain comes next, and what keeps it from being tried: time, a breaker, a provider that isn't
//! able, a queue.

use super::state::{Attempt, Machine, Phase, Step};
use crate::conclusion::{no_lane_in_time, not_sent_in_time};
use crate::lookup::LookupSchedule;
use crate::record::interrupted;
use crate::reply::SkippedProvider;
use crate::retry::backoff;
use crate::rule_switch::{RuleSwitch, is_off};
use crate::step::{Action, ProviderRules};
use crate::verdict::{Again, Contradiction, Effect, Next, Verdict};
use commentd_contract::time::Moment;
use commentd_contract::{Outcome, VerdictKind};
use std::time::Duration;

impl Machine {
    /// Gives back what isn't needed any more: the permit of a retry that isn't made, and the passes of attempts that
    /// were never sent or have ended. The owner of the breakers hears what an ended one came to, once; that a cut
    /// reply's comment was found it hears in place of the failure, or after it.
    pub(super) fn give_back(&mut self, step: &mut Step<'_>) {
        let is_before_send = matches!(self.phase, Phase::Queueing { .. } | Phase::RecordingIntent { .. });
        if !is_before_send && !matches!(self.phase, Phase::Waiting { .. }) || self.closed {
            self.retry = None;
        }
        for index in 0..self.attempts.len() {
            let waits = self.is_being_found(index);
            let Some(attempt) = self.attempts.get_mut(index) else { continue };
            let Some(provider) = attempt.provider else { continue };
            let is_one = |verdict: &Verdict| verdict.rule().effect == Effect::One;
            if let Some(epoch) = attempt.counted_unknown
                && attempt.verdict.as_ref().is_some_and(is_one)
            {
                attempt.counted_unknown = None;
                step.health.attempt_is_found(provider, epoch);
            }
            let Some(sent) = attempt.sent else {
                if !is_before_send || self.closed {
                    attempt.permit = None;
                }
                continue;
            };
            if attempt.permit.is_none() {
                continue;
            }
            // An unknown that waited for its first look, and that the ledger couldn't record, is none any more.
            let verdict = match attempt.verdict.clone() {
                None if matches!(self.phase, Phase::Over) => interrupted(),
                Some(verdict) if !waits => verdict,
                _ => continue,
            };
            let Some(permit) = attempt.permit.take() else { continue };
            if verdict.kind == VerdictKind::Unknown {
                attempt.counted_unknown = Some(permit.epoch());
            }
            step.health.attempt_ends(provider, permit, &verdict, step.now.since(sent), step.now);
        }
    }

    /// Whether an attempt is unknown and a first lookup that its caller still waits for may find it: what it says about
    /// the provider is then seen in a moment.
    fn is_being_found(&self, index: usize) -> bool {
        let (Phase::Settling { attempt, .. } | Phase::LookingUp { attempt, .. }) = self.phase else {
            return false;
        };
        let Some(entry) = self.attempts.get(index).filter(|_| attempt == index) else { return false };
        let is_unclear =
            entry.verdict.as_ref().is_some_and(|verdict| verdict.rule().effect == Effect::Unclear);
        is_unclear
            && !self.answered
            && !self.closed
            && entry.lookups.as_ref().is_some_and(LookupSchedule::is_fresh)
    }

    /// Begins, or goes on with a delivery that is known: what may follow hangs on what it has come to so far.
    pub(super) fn try_the_chain(&mut self, step: &mut Step<'_>) {
        match self.outcome() {
            Outcome::NotSent => self.begin(0, step),
            Outcome::Unknown if is_off(RuleSwitch::UnknownIsLookedUp) => self.begin(0, step),
            _ if is_off(RuleSwitch::CertainIsReplayed) => self.begin(0, step),
            Outcome::Unknown => {
                for index in 0..self.attempts.len() {
                    let schedule = self.schedule(index, step.now);
                    if let Some(attempt) = self.attempts.get_mut(index) {
                        attempt.lookups = schedule;
                    }
                }
                let repeats = self.last_ended().filter(|(provider, last)| self.may_repeat(*provider, last));
                match repeats.map(|(provider, _)| provider) {
                    Some(provider) => self.begin(provider, step),
                    None => self.look_up_or_rest(step),
                }
            }
            // Certain by an earlier run: whoever asks, nothing may follow.
            _ => self.conclude(step),
        }
    }

    /// Goes to the first provider from `provider` on at which an attempt can start, or answers if there is none.
    pub(super) fn begin(&mut self, provider: usize, step: &mut Step<'_>) {
        let mut provider = provider;
        while let Some(rules) = self.rules(provider).copied() {
            if self.closed || step.now >= self.plan.deadline {
                return self.look_up_or_rest(step);
            }
            let Some(verdict) = self.obstacle(provider, &rules, step) else {
                return self.enter(provider, &rules, step);
            };
            self.skip(provider, verdict, step);
            if !self.may_go_on() {
                return self.look_up_or_rest(step);
            }
            provider += 1;
        }
        self.conclude(step);
    }

    fn obstacle(&self, provider: usize, rules: &ProviderRules, step: &mut Step<'_>) -> Option<Verdict> {
        if self.time_left(step.now) < rules.min_useful {
            return Some(not_sent_in_time());
        }
        step.health.obstacle(provider, step.now)
    }

    /// Whether another provider may start, as far as the attempts so far are concerned: a provider that is skipped
    /// where a repetition was meant to make an unknown certain doesn't make it certain.
    fn may_go_on(&self) -> bool {
        self.outcome() == Outcome::NotSent || is_off(RuleSwitch::UnknownForbidsFallback)
    }

    fn skip(&mut self, provider: usize, verdict: Verdict, step: &mut Step<'_>) {
        let Some(name) = self.rules(provider).map(|rules| rules.name) else { return };
        let after = self.attempts.len();
        self.skipped.push(SkippedProvider { after, provider: name, verdict: verdict.clone() });
        step.ask(Action::Skip { provider, verdict });
    }

    /// Starts an attempt, or queues for the permit that it needs.
    fn enter(&mut self, provider: usize, rules: &ProviderRules, step: &mut Step<'_>) {
        if !rules.queues {
            return self.start_attempt(provider, step);
        }
        self.phase = Phase::Queueing { provider };
        step.ask(Action::Queue { provider });
        // When too little time is left to be useful here, it may still be enough for the next provider.
        let spare = self.time_left(step.now).saturating_sub(rules.min_useful);
        self.wake(step.now + spare, step);
    }

    pub(super) fn permit_granted(&mut self, provider: usize, step: &mut Step<'_>) {
        let Some(rules) = self.rules(provider).copied() else { return };
        // What held when it joined the queue may not hold any more.
        match self.obstacle(provider, &rules, step) {
            None => self.start_attempt(provider, step),
            Some(verdict) => self.leave(provider, verdict, step),
        }
    }

    pub(super) fn queued_in_vain(&mut self, provider: usize, step: &mut Step<'_>) {
        self.leave(provider, no_lane_in_time(), step);
    }

    pub(super) fn leave(&mut self, provider: usize, why: Verdict, step: &mut Step<'_>) {
        step.ask(Action::LeaveQueue);
        self.skip(provider, why, step);
        if self.may_go_on() {
            return self.begin(provider + 1, step);
        }
        self.look_up_or_rest(step);
    }

    fn start_attempt(&mut self, provider: usize, step: &mut Step<'_>) {
        let Some(name) = self.rules(provider).map(|rules| rules.name) else { return };
        let permit = step.health.attempt_starts(provider);
        let attempt = self.attempts.len();
        // Mostly the only one, and space for four would be a kilobyte.
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt::begun(name, provider, step.now, permit));
        self.phase = Phase::RecordingIntent { provider };
        step.ask(Action::RecordIntent { attempt, provider, claims_key: !self.opened });
        if is_off(RuleSwitch::IntentBeforeSend) {
            self.phase = Phase::Sending { provider };
            step.ask(Action::Send { attempt, provider });
        }
        self.wake(self.plan.deadline, step);
    }

    pub(super) fn intent_recorded(&mut self, provider: usize, step: &mut Step<'_>) {
        self.opened = true;
        self.key.is_clear = true;
        self.phase = Phase::Sending { provider };
        if self.key.held.take().is_some() {
            // There is a record now, so the answer waits for its settling, as every other does.
            self.answered = self.caller_is_gone;
        }
        if self.closed || step.now >= self.plan.deadline {
            self.closed = true;
            return self.settle_last(not_sent_in_time(), step);
        }
        let retry = self.retry.take().filter(|(at, _)| *at == provider);
        step.health.attempt_is_sent(provider, retry.map(|(_, permit)| permit), step.now);
        if let Some(last) = self.attempts.last_mut() {
            last.sent = Some(step.now);
        }
        self.replays = false;
        step.ask(Action::Send { attempt: self.attempts.len() - 1, provider });
    }

    /// What may follow the last attempt, by its verdict: the same provider again, the next one, or neither.
    pub(super) fn follow_last(&mut self, step: &mut Step<'_>) {
        let Some((provider, verdict)) = self.last_ended() else { return self.look_up_or_rest(step) };
        let hint = Duration::from_millis(verdict.retry_after_ms.unwrap_or(0));
        let next = verdict.rule().next;
        if self.may_repeat(provider, verdict) && self.retry(provider, hint, step) {
            return;
        }
        let allowed = next == Next::Allowed && self.outcome() == Outcome::NotSent;
        if allowed || is_off(RuleSwitch::UnknownForbidsFallback) {
            return self.begin(provider + 1, step);
        }
        self.look_up_or_rest(step);
    }

    /// Waits for the backoff (at least the channel's hint); false if time or budget have no retry left.
    fn retry(&mut self, provider: usize, hint: Duration, step: &mut Step<'_>) -> bool {
        let wait = backoff(self.tries(provider).saturating_sub(1), &mut self.random).max(hint);
        if !self.fits(provider, wait, step.now) {
            return false;
        }
        let Some(permit) = step.health.withdraw_retry(provider, step.now) else { return false };
        self.retry = Some((provider, permit));
        self.phase = Phase::Waiting { provider };
        self.wake(step.now + wait, step);
        true
    }

    fn fits(&self, provider: usize, wait: Duration, now: Moment) -> bool {
        self.plan.chain.get(provider).is_some_and(|rules| wait + rules.min_useful <= self.time_left(now))
    }

    fn tries(&self, provider: usize) -> u32 {
        let tries =
            self.attempts.iter().filter(|attempt| attempt.this_run && attempt.provider == Some(provider));
        u32::try_from(tries.count()).unwrap_or(u32::MAX)
    }

    fn has_tries(&self, provider: usize) -> bool {
        self.plan.chain.get(provider).is_some_and(|rules| self.tries(provider) < rules.max_attempts)
    }

    fn renewals(&self, provider: usize) -> usize {
        let renewed = |attempt: &&Attempt| {
            attempt.this_run
                && attempt.provider == Some(provider)
                && attempt.verdict.as_ref().is_some_and(|verdict| verdict.renewed)
        };
        self.attempts.iter().filter(renewed).count()
    }

    /// Whether the same provider may try again after `verdict`, time and budget aside.
    pub(super) fn may_repeat(&self, provider: usize, verdict: &Verdict) -> bool {
        let allowed = match verdict.rule().again {
            Again::AfterHint | Again::WithinBudget => true,
            // It has been told already what it would be told again.
            Again::IfDeduplicated => verdict.contradiction != Some(Contradiction::Duplicate),
            Again::OnceAfterRenewal => verdict.renewed && self.renewals(provider) == 1,
            Again::Never => false,
        };
        allowed && !self.closed && self.has_tries(provider) && self.repeats_safely(provider)
    }

    /// Whether no attempt is unresolved, or the channel deduplicates by our key and its window covers whatever
    /// this provider may have had from us. The repetition may pass its gate as late as the deadline.
    fn repeats_safely(&self, provider: usize) -> bool {
        if is_off(RuleSwitch::UnknownForbidsRetry) || !self.attempts.iter().any(Attempt::is_unclear) {
            return true;
        }
        let until = self.deduplicated_until(provider);
        until.is_some_and(|until| self.plan.deadline < until || is_off(RuleSwitch::DeduplicationHasAWindow))
    }

    /// Until when the channel of this provider takes what it gets from us for what it has had; `None` if it doesn't, or
    /// something that is unresolved was sent elsewhere, or at a time that nobody knows. The window may count from any
    /// request that carried the key, even one that had no effect.
    fn deduplicated_until(&self, provider: usize) -> Option<Moment> {
        let window = self.plan.chain.get(provider)?.deduplicates_within?;
        let mut first: Option<Moment> = None;
        for attempt in &self.attempts {
            if attempt.provider != Some(provider) {
                if attempt.is_unclear() {
                    return None;
                }
                continue;
            }
            let started = attempt.started?;
            first = Some(first.map_or(started, |first| first.min(started)));
        }
        Some(first? + window)
    }

    /// Until when whoever asks again may have an unknown attempt repeated; `None` if never.
    pub fn repeats_until(&self) -> Option<Moment> {
        let (provider, verdict) = self.last_ended()?;
        let repeats = self.outcome() == Outcome::Unknown && verdict.rule().again == Again::IfDeduplicated;
        self.deduplicated_until(provider).filter(|_| repeats)
    }
}
