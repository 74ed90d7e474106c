//! When to try again: full jitter, and a budget that keeps retries from becoming the load.

use commentd_contract::time::Moment;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// First wait's upper bound.
const BASE: Duration = Duration::from_millis(50);
/// No wait is longer.
const CAP: Duration = Duration::from_secs(2);

/// The wait before retry number `retry` (0 for the first): uniform in `[0, min(cap, base·2^retry)]`, "full
/// jitter" as described in Marc Brooker's *Exponential Backoff And Jitter* (2015). `random` is the delivery's
/// own stream, so that deliveries that failed together don't come back together.
pub fn backoff(retry: u32, random: &mut fastrand::Rng) -> Duration {
    let ceiling = BASE.saturating_mul(1u32.checked_shl(retry.min(16)).unwrap_or(u32::MAX)).min(CAP);
    ceiling.mul_f64(random.f64())
}

/// Share of the requests that reached a provider which may be retries.
const RATIO: f64 = 0.2;
/// Retries a second that are allowed whatever the traffic.
const FLOOR_PER_SECOND: f64 = 10.0;
/// How long a request counts.
const WINDOW: Duration = Duration::from_secs(10);
/// The window is counted in slices of this length, so that memory is bounded whatever the rate.
const SLICE: Duration = Duration::from_millis(500);

/// The retry budget of one provider: over any ten seconds, retries stay within 20 % of the requests that
/// reached it plus ten a second.
#[derive(Debug, Default)]
pub struct RetryBudget {
    slices: VecDeque<Slice>,
    /// Shared with the permits that are out.
    permits: Arc<()>,
}

/// The right to one retry. It counts while it lives and once it is spent; dropped unspent, it is given back.
#[derive(Debug, Default)]
#[must_use]
pub struct RetryPermit {
    _budget: Arc<()>,
}

#[derive(Debug)]
struct Slice {
    start: Moment,
    requests: u32,
    retries: u32,
}

impl RetryBudget {
    /// Counts a request that reached the provider.
    pub fn deposit(&mut self, now: Moment) {
        if let Some(slice) = self.slice(now) {
            slice.requests = slice.requests.saturating_add(1);
        }
    }

    /// Reserves one retry of the budget; `None` if there is none left.
    pub fn withdraw(&mut self, now: Moment) -> Option<RetryPermit> {
        self.expire(now);
        let (requests, retries) = self.slices.iter().fold((0u64, 0u64), |(q, r), slice| {
            (q + u64::from(slice.requests), r + u64::from(slice.retries))
        });
        let allowed = requests as f64 * RATIO + FLOOR_PER_SECOND * WINDOW.as_secs_f64();
        let reserved = Arc::strong_count(&self.permits) - 1;
        if retries as f64 + reserved as f64 + 1.0 > allowed {
            return None;
        }
        Some(RetryPermit { _budget: Arc::clone(&self.permits) })
    }

    /// The retry that this permit was for reaches the provider.
    pub fn spend(&mut self, permit: RetryPermit, now: Moment) {
        drop(permit);
        if let Some(slice) = self.slice(now) {
            slice.retries = slice.retries.saturating_add(1);
        }
    }

    fn expire(&mut self, now: Moment) {
        while self.slices.front().is_some_and(|slice| now.since(slice.start) >= WINDOW) {
            self.slices.pop_front();
        }
    }

    fn slice(&mut self, now: Moment) -> Option<&mut Slice> {
        self.expire(now);
        if self.slices.back().is_none_or(|slice| now.since(slice.start) >= SLICE) {
            self.slices.push_back(Slice { start: now, requests: 0, retries: 0 });
        }
        self.slices.back_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    #[test]
    fn waits_stay_within_their_ceiling_and_differ_between_deliveries() {
        let mut one = fastrand::Rng::with_seed(1);
        let mut two = fastrand::Rng::with_seed(2);
        for retry in 0..40 {
            let ceiling = Duration::from_millis(50 * (1 << retry.min(6))).min(CAP);
            assert!(backoff(retry, &mut one) <= ceiling);
        }
        let waits = |random: &mut fastrand::Rng| (0..8).map(|n| backoff(n, random)).collect::<Vec<_>>();
        assert_ne!(waits(&mut one), waits(&mut two));
    }

    #[test]
    fn the_budget_is_a_fifth_of_the_traffic_plus_ten_a_second() {
        let mut budget = RetryBudget::default();
        for _ in 0..500 {
            budget.deposit(at(0));
        }
        let granted: Vec<RetryPermit> = (0..1000).filter_map(|_| budget.withdraw(at(1))).collect();
        assert_eq!(granted.len(), 200, "500 × 0.2 + 10/s × 10 s");
        granted.into_iter().for_each(|permit| budget.spend(permit, at(1)));
        assert!(budget.withdraw(at(9_000)).is_none());
        assert!(budget.withdraw(at(10_500)).is_some(), "the window has passed");
        assert!(budget.slices.len() <= 21);
    }

    #[test]
    fn a_retry_that_is_not_made_is_given_back() {
        let mut budget = RetryBudget::default();
        let permits: Vec<RetryPermit> = (0..200).filter_map(|_| budget.withdraw(at(0))).collect();
        assert_eq!(permits.len(), 100, "while they may still be spent, they count");
        drop(permits);
        assert!(budget.withdraw(at(0)).is_some());
    }
}
