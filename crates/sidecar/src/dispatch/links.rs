//! The links of the chain as all deliveries share them: budget, breaker and lanes of each.

use commentd_contract::provider::{BreakerState, BreakerView, ProviderLimits, ProviderView};
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::breaker::{Breaker, BreakerEpoch, BreakerPermit, Standing};
use commentd_delivery::record::Destination;
use commentd_delivery::retry::{RetryBudget, RetryPermit};
use commentd_delivery::step::ProviderHealth;
use commentd_delivery::{Gate, Moment, Verdict};
use commentd_providers::status::ProviderStatus;
use commentd_providers::{Provider, Slot};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All links, in order.
pub(super) struct Links {
    providers: Vec<Arc<dyn Provider>>,
    lanes: Vec<Arc<Lanes>>,
    gauges: Mutex<Vec<Gauge>>,
}

/// What the decisions about one link hang on.
struct Gauge {
    budget: RetryBudget,
    breaker: Breaker,
}

impl Links {
    pub(super) fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        let lanes = providers.iter().map(|provider| Arc::new(Lanes::new(provider.concurrency()))).collect();
        let gauge = |provider: &Arc<dyn Provider>| Gauge {
            budget: RetryBudget::default(),
            breaker: Breaker::new(provider.has_probe()),
        };
        let gauges = Mutex::new(providers.iter().map(gauge).collect());
        Self { providers, lanes, gauges }
    }

    pub(super) fn providers(&self) -> &[Arc<dyn Provider>] {
        &self.providers
    }

    pub(super) fn get(&self, link: usize) -> Option<&Arc<dyn Provider>> {
        self.providers.get(link)
    }

    pub(super) fn lanes(&self, link: usize) -> Option<&Arc<Lanes>> {
        self.lanes.get(link)
    }

    /// The link that leads to where an attempt was sent.
    pub(super) fn leading_to(&self, destination: &Destination) -> Option<usize> {
        self.providers.iter().position(|provider| provider.destination().is_same_place(destination))
    }

    fn gauges(&self) -> MutexGuard<'_, Vec<Gauge>> {
        self.gauges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides with all links in view, one decision at a time.
    pub(super) fn decide<T>(&self, decide: impl FnOnce(&mut dyn ProviderHealth) -> T) -> T {
        decide(&mut View { links: self, gauges: None })
    }

    /// All that can be seen of the links from outside.
    pub(super) fn views(&self, now: Moment) -> Vec<ProviderView> {
        let standings: Vec<Standing> =
            self.gauges().iter().map(|gauge| gauge.breaker.standing(now)).collect();
        let links = self.providers.iter().zip(&self.lanes).zip(standings).enumerate();
        links.map(|(link, ((provider, lanes), standing))| view(link, &**provider, lanes, standing)).collect()
    }

    /// Whether a link's breaker lets one delivery at a time try.
    pub(super) fn is_half_open(&self, link: usize, now: Moment) -> bool {
        self.gauges().get(link).is_some_and(|gauge| gauge.breaker.standing(now) == Standing::HalfOpen)
    }

    /// Whether a link's breaker asks for a probe; [`Links::probed`] must follow.
    pub(super) fn wants_probe(&self, link: usize, now: Moment) -> bool {
        self.gauges().get_mut(link).is_some_and(|gauge| gauge.breaker.wants_probe(now))
    }

    /// What the probe of a link came to.
    pub(super) fn probed(&self, link: usize, green: bool, now: Moment) {
        if let Some(gauge) = self.gauges().get_mut(link) {
            gauge.breaker.probed(green, now);
        }
    }
}

fn view(link: usize, provider: &dyn Provider, lanes: &Lanes, standing: Standing) -> ProviderView {
    let ProviderStatus { health, capability, identity } = provider.status();
    let rules = provider.rules();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (state, wait) = match standing {
        Standing::Closed => (BreakerState::Closed, None),
        Standing::Open(wait) => (BreakerState::Open, Some(wait)),
        Standing::HalfOpen => (BreakerState::HalfOpen, None),
    };
    ProviderView {
        provider: provider.name(),
        primary: link == 0,
        healthy: health.answer(),
        health_reason: health.why_not().unwrap_or_default().to_owned(),
        recognized: identity.answer(),
        identity_reason: identity.why_not().unwrap_or_default().to_owned(),
        able: capability.answer(),
        capability_reason: capability.why_not().unwrap_or_default().to_owned(),
        capture_age_ms: provider.capture_age().map(whole_ms),
        breaker: BreakerView { state, retry_after_ms: wait.map(whole_ms) },
        limits: ProviderLimits {
            lanes: provider.concurrency().map(count),
            max_attempts: rules.max_attempts,
            min_useful_ms: whole_ms(rules.min_useful),
        },
        lanes_in_use: count(lanes.in_use()),
        queue_length: count(lanes.waiting()),
    }
}

/// The links, as a machine sees them. Most decisions need none of their gauges.
struct View<'a> {
    links: &'a Links,
    /// Held from the first use to the decision's end.
    gauges: Option<MutexGuard<'a, Vec<Gauge>>>,
}

impl View<'_> {
    fn gauge(&mut self, link: usize) -> Option<&mut Gauge> {
        self.gauges.get_or_insert_with(|| self.links.gauges()).get_mut(link)
    }
}

impl ProviderHealth for View<'_> {
    fn obstacle(&mut self, link: usize, now: Moment) -> Option<Verdict> {
        let provider = self.links.get(link)?;
        let name = provider.name();
        let skipped = |why: String| {
            Verdict::new(VerdictKind::Denied, format!("{name} was skipped: {why}"))
                .with_code(Code::ProviderUnavailable)
        };
        if let Some(reason) = provider.status().capability.why_not() {
            return Some(skipped(format!("it isn't able to comment: {reason}")));
        }
        let breaker = &self.gauge(link)?.breaker;
        if breaker.is_passable(now) {
            return None;
        }
        Some(match breaker.standing(now) {
            Standing::Open(wait) => Verdict {
                retry_after_ms: Some(whole_ms(wait)),
                ..skipped(format!("its breaker is open after failures, for {} ms more", wait.as_millis()))
            },
            Standing::Closed | Standing::HalfOpen => {
                skipped("its breaker is half open, and another comment is trying".into())
            }
        })
    }

    fn has_seen_marker(&mut self, link: usize) -> bool {
        self.links.get(link).is_some_and(|provider| provider.has_seen_marker())
    }

    fn attempt_starts(&mut self, link: usize) -> BreakerPermit {
        self.gauge(link).map_or_else(BreakerPermit::default, |gauge| gauge.breaker.start())
    }

    fn attempt_is_sent(&mut self, link: usize, retry: Option<RetryPermit>, now: Moment) {
        let Some(gauge) = self.gauge(link) else { return };
        gauge.budget.deposit(now);
        if let Some(permit) = retry {
            gauge.budget.spend(permit, now);
        }
    }

    fn attempt_ends(
        &mut self,
        link: usize,
        permit: BreakerPermit,
        verdict: &Verdict,
        took: Duration,
        now: Moment,
    ) {
        let Some(gauge) = self.gauge(link) else { return };
        let was_open = gauge.breaker.standing(now) != Standing::Closed;
        gauge.breaker.end(permit, verdict, took, now);
        let is_open = gauge.breaker.standing(now) != Standing::Closed;
        let name = self.links.get(link).map_or("", |provider| provider.name().as_str());
        match (was_open, is_open) {
            (false, true) => {
                tracing::warn!(provider = name, last = verdict.message, "the breaker opens after failures");
            }
            (true, false) => tracing::info!(provider = name, "the breaker closes: it delivers again"),
            _ => {}
        }
    }

    fn attempt_is_found(&mut self, link: usize, epoch: BreakerEpoch) {
        if let Some(gauge) = self.gauge(link) {
            gauge.breaker.found(epoch);
        }
    }

    fn withdraw_retry(&mut self, link: usize, now: Moment) -> Option<RetryPermit> {
        self.gauge(link)?.budget.withdraw(now)
    }
}

/// The lanes of one link: how many attempts and lookups it takes at a time, and who waits.
#[derive(Debug)]
pub(super) struct Lanes {
    /// `None` where as many may run as come.
    permits: Option<Arc<Semaphore>>,
    in_use: AtomicUsize,
    waiting: AtomicUsize,
}

/// A lane, and the turn within the channel's pace that goes with it; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    _permit: Option<OwnedSemaphorePermit>,
    turn: Option<Slot>,
    gate: Option<Arc<Gate>>,
}

impl Lane {
    /// The same lane with a turn.
    pub(super) fn with(mut self, turn: Option<Slot>) -> Self {
        self.turn = turn;
        self
    }

    /// The turn counts if this gate is passed; else it is given back.
    pub(super) fn through(&mut self, gate: &Arc<Gate>) {
        self.gate = Some(Arc::clone(gate));
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let was_sent = self.gate.as_ref().is_some_and(|gate| gate.is_passed());
        if let Some(turn) = self.turn.take_if(|_| was_sent) {
            turn.count();
        }
        self.lanes.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the queue; counted until it is dropped.
struct Place<'a>(&'a Lanes);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    fn new(most: Option<usize>) -> Self {
        Self {
            permits: most.map(|most| Arc::new(Semaphore::new(most.max(1)))),
            in_use: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a lane, first come, first served. Cancel safe: dropping it gives up the place in the queue.
    pub(super) async fn enter(self: Arc<Self>) -> Lane {
        let permit = match &self.permits {
            None => None,
            Some(permits) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _place = Place(&self);
                // A closed semaphore would mean no lanes at all; nothing ever closes it.
                Arc::clone(permits).acquire_owned().await.ok()
            }
        };
        self.in_use.fetch_add(1, Ordering::Relaxed);
        Lane { lanes: self, _permit: permit, turn: None, gate: None }
    }

    /// How many are in use.
    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::Relaxed)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn lanes_are_counted_and_given_to_those_who_came_first() {
        let lanes = Arc::new(Lanes::new(Some(1)));
        let first = Arc::clone(&lanes).enter().now_or_never().unwrap();
        let mut second = Box::pin(Arc::clone(&lanes).enter());
        let mut third = Box::pin(Arc::clone(&lanes).enter());
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        assert_eq!((lanes.in_use(), lanes.waiting()), (1, 2));
        drop(first);
        assert!((&mut third).now_or_never().is_none(), "the second was there before it");
        drop(second);
        assert!((&mut third).now_or_never().is_some(), "who leaves the queue keeps nobody waiting");
        assert_eq!((lanes.in_use(), lanes.waiting()), (0, 0));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let lanes = Arc::new(Lanes::new(None));
        let all: Vec<Lane> = (0..100).map(|_| Arc::clone(&lanes).enter().now_or_never().unwrap()).collect();
        assert_eq!((lanes.in_use(), lanes.waiting()), (100, 0));
        drop(all);
        assert_eq!(lanes.in_use(), 0);
    }
}
