//! What the machine asks about its providers, in a history.

use super::samples::verdict;
use commentd_contract::VerdictKind;
use commentd_delivery::breaker::{Breaker, BreakerEpoch, BreakerPermit, Standing};
use commentd_delivery::retry::RetryPermit;
use commentd_delivery::step::ProviderHealth;
use commentd_delivery::{Moment, Verdict};
use std::time::Duration;

/// A retry budget with this much left in it, and the providers that can't be tried, or only by one delivery at a time.
#[derive(Debug, Default)]
pub(super) struct FakeProviderHealth {
    /// Retries left.
    pub(super) retries: u32,
    /// Providers whose breaker is open.
    pub(super) shut: Vec<usize>,
    /// The breakers of providers that begin half open.
    pub(super) half_open: Vec<(usize, Breaker)>,
    /// At which providers' places a marker was seen.
    pub(super) marked: Vec<bool>,
    /// Attempts that were sent and have not ended.
    pub(super) under_way: i64,
}

impl FakeProviderHealth {
    /// One with this many retries and no provider shut.
    pub(super) fn of(retries: u32) -> Self {
        Self { retries, ..Self::default() }
    }

    /// Lets the breaker of this provider begin half open.
    pub(super) fn half_open(&mut self, provider: usize, now: Moment) {
        let mut breaker = Breaker::new(true);
        while breaker.is_passable(now) {
            let permit = breaker.start();
            breaker.end(permit, &verdict(VerdictKind::Unknown), Duration::ZERO, now);
        }
        let later = now + Duration::from_secs(60);
        if breaker.wants_probe(later) {
            breaker.probed(true, later);
        }
        self.half_open.push((provider, breaker));
    }

    fn breaker(&mut self, provider: usize) -> Option<&mut Breaker> {
        self.half_open.iter_mut().find(|(own, _)| *own == provider).map(|(_, breaker)| breaker)
    }

    /// Whether a trial was taken and neither given back nor ended, although nobody has it any more.
    pub(super) fn keeps_a_trial(&self, now: Moment) -> bool {
        let is_kept =
            |breaker: &Breaker| breaker.standing(now) == Standing::HalfOpen && !breaker.is_passable(now);
        self.half_open.iter().any(|(_, breaker)| is_kept(breaker))
    }
}

impl ProviderHealth for FakeProviderHealth {
    fn obstacle(&mut self, provider: usize, now: Moment) -> Option<Verdict> {
        let is_taken = self.breaker(provider).is_some_and(|breaker| !breaker.is_passable(now));
        (is_taken || self.shut.contains(&provider)).then(|| Verdict {
            retry_after_ms: Some(1000),
            ..Verdict::new(VerdictKind::Denied, format!("provider {provider} is shut"))
        })
    }

    fn is_half_open(&mut self, provider: usize, now: Moment) -> bool {
        self.breaker(provider).is_some_and(|breaker| breaker.standing(now) == Standing::HalfOpen)
    }

    fn has_seen_marker(&mut self, provider: usize) -> bool {
        self.marked.get(provider).copied().unwrap_or_default()
    }

    fn attempt_starts(&mut self, provider: usize) -> BreakerPermit {
        assert!(!self.shut.contains(&provider), "an attempt at a provider that is shut");
        self.breaker(provider).map(Breaker::start).unwrap_or_default()
    }

    fn attempt_is_sent(&mut self, _provider: usize, _retry: Option<RetryPermit>, _now: Moment) {
        self.under_way += 1;
    }

    fn attempt_ends(
        &mut self,
        provider: usize,
        permit: BreakerPermit,
        verdict: &Verdict,
        took: Duration,
        now: Moment,
    ) {
        self.under_way -= 1;
        if let Some(breaker) = self.breaker(provider) {
            breaker.end(permit, verdict, took, now);
        }
    }

    fn attempt_is_found(&mut self, provider: usize, epoch: BreakerEpoch) {
        if let Some(breaker) = self.breaker(provider) {
            breaker.found(epoch);
        }
    }

    fn withdraw_retry(&mut self, _provider: usize, _now: Moment) -> Option<RetryPermit> {
        let granted = (self.retries > 0).then(RetryPermit::default);
        self.retries = self.retries.saturating_sub(1);
        granted
    }
}
