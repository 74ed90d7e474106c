//! The providers of the chain as all deliveries share them: budget, breaker and permits of each, and who asks them
//! whether they are there.

use commentd_contract::SystemClock;
use commentd_contract::provider::{BreakerState, BreakerView, ProviderLimits, ProviderView};
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, VerdictKind};
use commentd_delivery::breaker::{Breaker, BreakerEpoch, BreakerPermit, Standing};
use commentd_delivery::record::Destination;
use commentd_delivery::retry::{RetryBudget, RetryPermit};
use commentd_delivery::step::{ProviderHealth, ProviderRules};
use commentd_delivery::{Clock, Gate, Moment, Verdict};
use commentd_providers::status::{ProbeState, ProviderStatus};
use commentd_providers::{Provider, Slot};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;

/// All providers, in order.
pub(super) struct Chain {
    providers: Vec<Arc<dyn Provider>>,
    concurrency: Vec<Arc<Concurrency>>,
    states: Mutex<Vec<ProviderState>>,
}

/// What the decisions about one provider hang on.
struct ProviderState {
    budget: RetryBudget,
    breaker: Breaker,
}

impl Chain {
    pub(super) fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        let concurrency =
            providers.iter().map(|provider| Arc::new(Concurrency::new(provider.concurrency()))).collect();
        let state = |provider: &Arc<dyn Provider>| ProviderState {
            budget: RetryBudget::default(),
            breaker: Breaker::new(provider.has_probe()),
        };
        let states = Mutex::new(providers.iter().map(state).collect());
        Self { providers, concurrency, states }
    }

    pub(super) fn providers(&self) -> &[Arc<dyn Provider>] {
        &self.providers
    }

    pub(super) fn get(&self, index: usize) -> Option<&Arc<dyn Provider>> {
        self.providers.get(index)
    }

    pub(super) fn concurrency(&self, index: usize) -> Option<&Arc<Concurrency>> {
        self.concurrency.get(index)
    }

    /// The provider that leads to where an attempt was sent.
    pub(super) fn leading_to(&self, destination: &Destination) -> Option<usize> {
        self.providers.iter().position(|provider| provider.destination().is_same_place(destination))
    }

    fn states(&self) -> MutexGuard<'_, Vec<ProviderState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides with all providers in view, one decision at a time.
    pub(super) fn decide<T>(&self, decide: impl FnOnce(&mut dyn ProviderHealth) -> T) -> T {
        decide(&mut ChainView { chain: self, states: None })
    }

    /// All that can be seen of the providers from outside.
    pub(super) fn views(&self, now: Moment) -> Vec<ProviderView> {
        let standings: Vec<Standing> =
            self.states().iter().map(|state| state.breaker.standing(now)).collect();
        let all = self.providers.iter().zip(&self.concurrency).zip(standings).enumerate();
        all.map(|(index, ((provider, lanes), standing))| view(index, &**provider, lanes, standing)).collect()
    }

    /// What decisions need to know of the providers, in order.
    pub(super) fn rules(&self) -> Vec<ProviderRules> {
        self.providers.iter().map(|provider| provider.rules()).collect()
    }

    /// Whether a provider's breaker asks for a probe; [`Chain::probed`] must follow.
    pub(super) fn wants_probe(&self, index: usize, now: Moment) -> bool {
        self.states().get_mut(index).is_some_and(|state| state.breaker.wants_probe(now))
    }

    /// What the probe of a provider came to.
    pub(super) fn probed(&self, index: usize, green: bool, now: Moment) {
        if let Some(state) = self.states().get_mut(index) {
            state.breaker.probed(green, now);
        }
    }
}

fn view(index: usize, provider: &dyn Provider, lanes: &Concurrency, standing: Standing) -> ProviderView {
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
        primary: index == 0,
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

/// The chain, as a machine sees it. Most decisions need none of the states.
struct ChainView<'a> {
    chain: &'a Chain,
    /// Held from the first use to the decision's end.
    states: Option<MutexGuard<'a, Vec<ProviderState>>>,
}

impl ChainView<'_> {
    fn state(&mut self, index: usize) -> Option<&mut ProviderState> {
        self.states.get_or_insert_with(|| self.chain.states()).get_mut(index)
    }
}

impl ProviderHealth for ChainView<'_> {
    fn obstacle(&mut self, index: usize, now: Moment) -> Option<Verdict> {
        let provider = self.chain.get(index)?;
        let name = provider.name();
        let skipped = |why: String| {
            Verdict::new(VerdictKind::Denied, format!("{name} was skipped: {why}"))
                .with_code(Code::ProviderUnavailable)
        };
        if let Some(reason) = provider.status().capability.why_not() {
            return Some(skipped(format!("it isn't able to comment: {reason}")));
        }
        let breaker = &self.state(index)?.breaker;
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

    fn is_half_open(&mut self, index: usize, now: Moment) -> bool {
        self.state(index).is_some_and(|state| state.breaker.standing(now) == Standing::HalfOpen)
    }

    fn has_seen_marker(&mut self, index: usize) -> bool {
        self.chain.get(index).is_some_and(|provider| provider.has_seen_marker())
    }

    fn attempt_starts(&mut self, index: usize) -> BreakerPermit {
        self.state(index).map_or_else(BreakerPermit::default, |state| state.breaker.start())
    }

    fn attempt_is_sent(&mut self, index: usize, retry: Option<RetryPermit>, now: Moment) {
        let Some(state) = self.state(index) else { return };
        state.budget.deposit(now);
        if let Some(permit) = retry {
            state.budget.spend(permit, now);
        }
    }

    fn attempt_ends(
        &mut self,
        index: usize,
        permit: BreakerPermit,
        verdict: &Verdict,
        took: Duration,
        now: Moment,
    ) {
        let Some(state) = self.state(index) else { return };
        let was_open = state.breaker.standing(now) != Standing::Closed;
        state.breaker.end(permit, verdict, took, now);
        let is_open = state.breaker.standing(now) != Standing::Closed;
        let name = self.chain.get(index).map_or("", |provider| provider.name().as_str());
        match (was_open, is_open) {
            (false, true) => {
                tracing::warn!(provider = name, last = verdict.message, "the breaker opens after failures");
            }
            (true, false) => tracing::info!(provider = name, "the breaker closes: it delivers again"),
            _ => {}
        }
    }

    fn attempt_is_found(&mut self, index: usize, epoch: BreakerEpoch) {
        if let Some(state) = self.state(index) {
            state.breaker.found(epoch);
        }
    }

    fn withdraw_retry(&mut self, index: usize, now: Moment) -> Option<RetryPermit> {
        self.state(index)?.budget.withdraw(now)
    }
}

/// How many attempts and lookups one provider takes at a time, and who waits.
#[derive(Debug)]
pub(super) struct Concurrency {
    /// `None` where as many may run as come.
    permits: Option<Arc<Semaphore>>,
    in_use: AtomicUsize,
    waiting: AtomicUsize,
}

/// The right to one attempt or lookup, and the slot within the channel's pace that goes with it; given back when it is
/// dropped.
#[derive(Debug)]
pub(super) struct ProviderPermit {
    concurrency: Arc<Concurrency>,
    _permit: Option<OwnedSemaphorePermit>,
    slot: Option<Slot>,
    gate: Option<Arc<Gate>>,
}

impl ProviderPermit {
    /// The same permit with a slot.
    pub(super) fn with(mut self, slot: Option<Slot>) -> Self {
        self.slot = slot;
        self
    }

    /// The turn counts if this gate is passed; else it is given back.
    pub(super) fn through(&mut self, gate: &Arc<Gate>) {
        self.gate = Some(Arc::clone(gate));
    }
}

impl Drop for ProviderPermit {
    fn drop(&mut self) {
        let was_sent = self.gate.as_ref().is_some_and(|gate| gate.is_passed());
        if let Some(slot) = self.slot.take_if(|_| was_sent) {
            slot.count();
        }
        self.concurrency.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the queue; counted until it is dropped.
struct Place<'a>(&'a Concurrency);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Concurrency {
    fn new(most: Option<usize>) -> Self {
        Self {
            permits: most.map(|most| Arc::new(Semaphore::new(most.max(1)))),
            in_use: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a permit, first come, first served. Cancel safe: dropping it gives up the place in the queue.
    pub(super) async fn acquire(self: Arc<Self>) -> ProviderPermit {
        let permit = match &self.permits {
            None => None,
            Some(permits) => {
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let _place = Place(&self);
                // A closed semaphore would mean no permits at all; nothing ever closes it.
                Arc::clone(permits).acquire_owned().await.ok()
            }
        };
        self.in_use.fetch_add(1, Ordering::Relaxed);
        ProviderPermit { concurrency: self, _permit: permit, slot: None, gate: None }
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

/// How often it is considered whether somebody should be asked.
const TICK: Duration = Duration::from_millis(250);
/// Between two probes of a provider that isn't able.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Asks a provider how it is: at the start, while it isn't able, and before its breaker lets a delivery try again. One
/// that is able and known to be there isn't asked: its attempts show how it is, and the hook's pipe serves one client at
/// a time, who shouldn't be us for nothing. Never ends.
pub(super) async fn probe_when_due(chain: &Chain, clock: SystemClock, index: usize) {
    let Some(provider) = chain.get(index).filter(|provider| provider.has_probe()) else { return };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: Option<Moment> = None;
    loop {
        ticks.tick().await;
        let now = clock.now();
        let breaker_asks = chain.wants_probe(index, now);
        if !breaker_asks && !is_due(&**provider, asked, now) {
            continue;
        }
        let before = provider.status();
        let condition = provider.probe().await;
        let now = clock.now();
        asked = Some(now);
        chain.probed(index, condition.is_good(), now);
        if condition != before {
            let health = condition.health.why_not().unwrap_or("up");
            let capability = condition.capability.why_not().unwrap_or("able");
            tracing::info!(provider = %provider.name(), health, capability, "probed");
        }
    }
}

fn is_due(provider: &dyn Provider, asked: Option<Moment>, now: Moment) -> bool {
    let is_well = provider.status().capability == ProbeState::Yes && !is_unrecognized(provider);
    !is_well && asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN_AFTER)
}

/// Whether it hasn't shown by now that it is there and is what it should be.
pub(super) fn is_unrecognized(provider: &dyn Provider) -> bool {
    provider.status().identity != ProbeState::Yes
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn lanes_are_counted_and_given_to_those_who_came_first() {
        let lanes = Arc::new(Concurrency::new(Some(1)));
        let first = Arc::clone(&lanes).acquire().now_or_never().unwrap();
        let mut second = Box::pin(Arc::clone(&lanes).acquire());
        let mut third = Box::pin(Arc::clone(&lanes).acquire());
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
        let lanes = Arc::new(Concurrency::new(None));
        let all: Vec<ProviderPermit> =
            (0..100).map(|_| Arc::clone(&lanes).acquire().now_or_never().unwrap()).collect();
        assert_eq!((lanes.in_use(), lanes.waiting()), (100, 0));
        drop(all);
        assert_eq!(lanes.in_use(), 0);
    }
}
