//! Which link of the chain comes next, and what keeps it from being tried: time, a breaker, a provider that isn't
//! able, a queue.

use super::{Attempt, Machine, Phase};
use crate::answers::{no_lane_in_time, not_sent_in_time};
use crate::lookup::LookupSchedule;
use crate::record::interrupted;
use crate::retry::backoff;
use crate::rule_switch::{RuleSwitch, is_off};
use crate::step::{Action, ProviderHealth, ProviderRules};
use crate::verdict::{Again, Contradiction, Effect, Next, Verdict};
use commentd_contract::time::Moment;
use commentd_contract::{Outcome, VerdictKind};
use std::time::Duration;

impl Machine {
    /// Gives back what isn't needed any more: the permit of a retry that isn't made, and the passes of attempts that
    /// were never sent or have ended. The owner of the breakers hears what an ended one came to, once; that a cut
    /// reply's comment was found it hears in place of the failure, or after it.
    pub(super) fn give_back(&mut self, now: Moment, shared: &mut dyn ProviderHealth) {
        let is_before_send = matches!(self.phase, Phase::Queueing { .. } | Phase::RecordingIntent { .. });
        if !is_before_send && !matches!(self.phase, Phase::Waiting { .. }) || self.closed {
            self.retry = None;
        }
        for index in 0..self.attempts.len() {
            let waits = self.is_being_found(index);
            let Some(attempt) = self.attempts.get_mut(index) else { continue };
            let Some(link) = attempt.link else { continue };
            let is_one = |verdict: &Verdict| verdict.rule().effect == Effect::One;
            if let Some(epoch) = attempt.counted_unknown
                && attempt.verdict.as_ref().is_some_and(is_one)
            {
                attempt.counted_unknown = None;
                shared.attempt_is_found(link, epoch);
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
                None if self.phase == Phase::Over => interrupted(),
                Some(verdict) if !waits => verdict,
                _ => continue,
            };
            let Some(permit) = attempt.permit.take() else { continue };
            if verdict.kind == VerdictKind::Unknown {
                attempt.counted_unknown = Some(permit.epoch());
            }
            shared.attempt_ends(link, permit, &verdict, now.since(sent), now);
        }
    }

    /// Whether an attempt is unknown and a first look that its caller still waits for may find it: what it says about
    /// the provider is then seen in a moment.
    fn is_being_found(&self, index: usize) -> bool {
        let (Phase::Settling { attempt, .. } | Phase::Looking { attempt, .. }) = self.phase else {
            return false;
        };
        let Some(entry) = self.attempts.get(index).filter(|_| attempt == index) else { return false };
        let is_unclear =
            entry.verdict.as_ref().is_some_and(|verdict| verdict.rule().effect == Effect::Unclear);
        is_unclear
            && !self.answered
            && !self.closed
            && entry.search.as_ref().is_some_and(LookupSchedule::is_fresh)
    }

    /// Goes to the first link from `link` on at which an attempt can start, or answers if there is none.
    pub(super) fn begin(
        &mut self,
        link: usize,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        let mut link = link;
        while let Some(rules) = self.plan.chain.get(link).copied() {
            if self.closed || now >= self.plan.deadline {
                return self.look_or_rest(now, actions);
            }
            let Some(verdict) = self.obstacle(link, &rules, now, shared) else {
                return self.enter(link, &rules, now, shared, actions);
            };
            self.skip(link, verdict, actions);
            if !self.may_go_on() {
                return self.look_or_rest(now, actions);
            }
            link += 1;
        }
        self.conclude(actions);
    }

    fn obstacle(
        &self,
        link: usize,
        rules: &ProviderRules,
        now: Moment,
        shared: &mut dyn ProviderHealth,
    ) -> Option<Verdict> {
        if self.time_left(now) < rules.min_useful {
            return Some(not_sent_in_time());
        }
        shared.obstacle(link, now)
    }

    /// Whether another link may start, as far as the attempts so far are concerned: a link that is skipped where a
    /// repetition was meant to make an unknown certain doesn't make it certain.
    fn may_go_on(&self) -> bool {
        self.outcome() == Outcome::NotSent || is_off(RuleSwitch::UnknownForbidsFallback)
    }

    fn skip(&mut self, link: usize, verdict: Verdict, actions: &mut Vec<Action>) {
        self.skips.push(verdict.clone());
        actions.push(Action::Skip { link, verdict });
    }

    /// Starts an attempt, or queues for the lane that it needs.
    fn enter(
        &mut self,
        link: usize,
        rules: &ProviderRules,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        if !rules.queues {
            return self.start_attempt(link, now, shared, actions);
        }
        self.phase = Phase::Queueing { link };
        actions.push(Action::Queue { link });
        // When too little time is left to be useful here, it may still be enough for the next link.
        let spare = self.time_left(now).saturating_sub(rules.min_useful);
        self.wake(now + spare, actions);
    }

    pub(super) fn lane_free(
        &mut self,
        link: usize,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        let Some(rules) = self.plan.chain.get(link).copied() else { return };
        // What held when it joined the queue may not hold any more.
        match self.obstacle(link, &rules, now, shared) {
            None => self.start_attempt(link, now, shared, actions),
            Some(verdict) => self.leave(link, verdict, now, shared, actions),
        }
    }

    pub(super) fn queued_in_vain(
        &mut self,
        link: usize,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        self.leave(link, no_lane_in_time(), now, shared, actions);
    }

    pub(super) fn leave(
        &mut self,
        link: usize,
        why: Verdict,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Leave);
        self.skip(link, why, actions);
        if self.may_go_on() {
            return self.begin(link + 1, now, shared, actions);
        }
        self.look_or_rest(now, actions);
    }

    fn start_attempt(
        &mut self,
        link: usize,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        let permit = shared.attempt_starts(link);
        // Mostly the only one, and room for four would be a kilobyte.
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt {
            link: Some(link),
            verdict: None,
            started: Some(now),
            sent: None,
            permit: Some(permit),
            counted_unknown: None,
            search: None,
            doubt: None,
            was_sent: false,
            this_run: true,
        });
        self.phase = Phase::RecordingIntent { link };
        actions.push(Action::RecordIntent { attempt: self.attempts.len() - 1, link });
        if is_off(RuleSwitch::IntentBeforeSend) {
            self.phase = Phase::Sending { link };
            actions.push(Action::Send { attempt: self.attempts.len() - 1, link });
        }
        self.wake(self.plan.deadline, actions);
    }

    pub(super) fn next_link(
        &mut self,
        link: usize,
        verdict: &Verdict,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        let allowed = verdict.rule().next == Next::Allowed && self.outcome() == Outcome::NotSent;
        if allowed || is_off(RuleSwitch::UnknownForbidsFallback) {
            return self.begin(link + 1, now, shared, actions);
        }
        self.look_or_rest(now, actions);
    }

    /// Waits for the backoff (at least the channel's hint), if time and budget have a retry left.
    pub(super) fn retry(
        &mut self,
        link: usize,
        verdict: &Verdict,
        now: Moment,
        shared: &mut dyn ProviderHealth,
        actions: &mut Vec<Action>,
    ) {
        let hint = Duration::from_millis(verdict.retry_after_ms.unwrap_or(0));
        let wait = backoff(self.tries(link).saturating_sub(1), &mut self.random).max(hint);
        let permit = if self.fits(link, wait, now) { shared.withdraw_retry(link, now) } else { None };
        if let Some(permit) = permit {
            self.retry = Some((link, permit));
            self.phase = Phase::Waiting { link };
            self.wake(now + wait, actions);
            return;
        }
        self.next_link(link, verdict, now, shared, actions);
    }

    fn time_left(&self, now: Moment) -> Duration {
        self.plan.deadline.since(now)
    }

    fn fits(&self, link: usize, wait: Duration, now: Moment) -> bool {
        self.plan.chain.get(link).is_some_and(|rules| wait + rules.min_useful <= self.time_left(now))
    }

    fn tries(&self, link: usize) -> u32 {
        let tries = self.attempts.iter().filter(|attempt| attempt.this_run && attempt.link == Some(link));
        u32::try_from(tries.count()).unwrap_or(u32::MAX)
    }

    fn has_tries(&self, link: usize) -> bool {
        self.plan.chain.get(link).is_some_and(|rules| self.tries(link) < rules.max_attempts)
    }

    fn renewals(&self, link: usize) -> usize {
        let renewed = |attempt: &&Attempt| {
            attempt.this_run
                && attempt.link == Some(link)
                && attempt.verdict.as_ref().is_some_and(|verdict| verdict.renewed)
        };
        self.attempts.iter().filter(renewed).count()
    }

    /// Whether the same provider may try again after `verdict`, time and budget aside.
    pub(super) fn may_repeat(&self, link: usize, verdict: &Verdict) -> bool {
        let allowed = match verdict.rule().again {
            Again::AfterHint | Again::WithinBudget => true,
            // It has been told already what it would be told again.
            Again::IfDeduplicated => verdict.contradiction != Some(Contradiction::Duplicate),
            Again::OnceAfterRenewal => verdict.renewed && self.renewals(link) == 1,
            Again::Never => false,
        };
        allowed && !self.closed && self.has_tries(link) && self.repeats_safely(link)
    }

    /// Whether no attempt is unresolved, or the channel deduplicates by our key and its window covers whatever
    /// this link may have had from us. The repetition may pass its gate as late as the deadline.
    fn repeats_safely(&self, link: usize) -> bool {
        if is_off(RuleSwitch::UnknownForbidsRetry) || !self.attempts.iter().any(Attempt::is_unclear) {
            return true;
        }
        let until = self.deduplicated_until(link);
        until.is_some_and(|until| self.plan.deadline < until || is_off(RuleSwitch::DeduplicationHasAWindow))
    }

    /// Until when the channel of this link takes what it gets from us for what it has had; `None` if it doesn't, or
    /// something that is unresolved was sent elsewhere, or at a time that nobody knows. The window may count from any
    /// request that carried the key, even one that had no effect.
    fn deduplicated_until(&self, link: usize) -> Option<Moment> {
        let window = self.plan.chain.get(link)?.deduplicates_within?;
        let mut first: Option<Moment> = None;
        for attempt in &self.attempts {
            if attempt.link != Some(link) {
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
        let (link, verdict) = self.last_ended()?;
        let repeats = self.outcome() == Outcome::Unknown && verdict.rule().again == Again::IfDeduplicated;
        self.deduplicated_until(link).filter(|_| repeats)
    }

    /// When each attempt began, as far as that is known.
    pub fn started(&self) -> Vec<Option<Moment>> {
        self.attempts.iter().map(|attempt| attempt.started).collect()
    }
}
