//! Lookups: their pace, what waits for one in the background, and what is remembered of them. They must never become a
//! load of their own.

use super::chain::Chain;
use super::ledger_health::LedgerHealth;
use commentd_contract::SystemClock;
use commentd_contract::deliveries::LastLook;
use commentd_contract::provider::LookCounts;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::{Clock, DeliveryId, Moment};
use commentd_ledger::MarkedPlace;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Lookups at a time.
const AT_A_TIME: usize = 4;

/// Deliveries of which it is kept what their last lookup came to.
const MOST_KEPT: usize = 4096;

/// Hands out turns to look, by the generic cell rate algorithm (ITU-T I.371).
///
/// LookupLimiter that somebody waits for go first: of the others, only a few at a time take their place in the queue.
#[derive(Debug)]
pub(super) struct LookupLimiter {
    at_a_time: Semaphore,
    background: Semaphore,
    due: Mutex<Moment>,
    /// Lookups a second in the long run; a second's worth may come at once after a pause.
    per_second: u32,
    past: Mutex<Past>,
}

/// What lookups have come to since the start.
#[derive(Debug, Default)]
struct Past {
    counts: LookCounts,
    last: HashMap<DeliveryId, LastLook>,
    /// Those of `last`, the oldest first.
    order: VecDeque<DeliveryId>,
}

/// The right to one lookup.
#[derive(Debug)]
pub(super) struct LookupSlot<'a> {
    _background: Option<SemaphorePermit<'a>>,
    _permit: Option<SemaphorePermit<'a>>,
}

/// A slot that was reserved; given back if its lookup is broken off before it begins.
struct Reserved<'a> {
    limiter: &'a LookupLimiter,
    was_used: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.was_used {
            let mut due = self.limiter.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = Moment::at(due.since_start().saturating_sub(self.limiter.interval()));
        }
    }
}

impl LookupLimiter {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            at_a_time: Semaphore::new(AT_A_TIME),
            background: Semaphore::new(AT_A_TIME - 1),
            due: Mutex::new(Moment::START),
            per_second: per_second.max(1),
            past: Mutex::default(),
        }
    }

    /// Keeps what a lookup for this delivery came to; `at_ms` is wall time, in milliseconds since 1970.
    pub(super) fn note(&self, id: DeliveryId, result: &LookupResult, at_ms: u64) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let Past { counts, last, order } = &mut *past;
        let count = match result {
            LookupResult::Found(_) => &mut counts.found,
            LookupResult::NotFound { complete: true } => &mut counts.not_found,
            LookupResult::NotFound { complete: false }
            | LookupResult::Alike(_)
            | LookupResult::CannotBeKnown => &mut counts.undetermined,
            LookupResult::Failed(_) => &mut counts.failed,
        };
        *count += 1;
        let said = result.doubt().unwrap_or_default();
        let is_new = last.insert(id, LastLook { at_ms, finding: word_of(result).into(), said }).is_none();
        if is_new {
            order.push_back(id);
        }
        if order.len() > MOST_KEPT
            && let Some(oldest) = order.pop_front()
        {
            last.remove(&oldest);
        }
    }

    /// How many lookups came to what.
    pub(super) fn counts(&self) -> LookCounts {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// What the last lookup for this delivery came to, if it was one of the latest.
    pub(super) fn last(&self, id: DeliveryId) -> Option<LastLook> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).last.get(&id).cloned()
    }

    /// Waits for a slot; it lasts until it is dropped. `is_awaited` if a caller waits for what the lookup finds.
    pub(super) async fn slot(&self, clock: SystemClock, is_awaited: bool) -> LookupSlot<'_> {
        let background = if is_awaited { None } else { self.background.acquire().await.ok() };
        let start = self.reserve(clock.now());
        let mut reserved = Reserved { limiter: self, was_used: false };
        tokio::time::sleep_until(clock.instant(start)).await;
        let permit = self.at_a_time.acquire().await.ok();
        reserved.was_used = true;
        LookupSlot { _background: background, _permit: permit }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }

    fn reserve(&self, now: Moment) -> Moment {
        let interval = self.interval();
        let tolerance = interval * (self.per_second - 1);
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = (*due).max(now);
        *due = arrival + interval;
        Moment::at(arrival.since_start().saturating_sub(tolerance)).max(now)
    }
}

fn word_of(result: &LookupResult) -> &'static str {
    match result {
        LookupResult::Found(_) => "found",
        LookupResult::NotFound { complete: true } => "not_found",
        LookupResult::NotFound { complete: false } | LookupResult::Alike(_) | LookupResult::CannotBeKnown => {
            "undetermined"
        }
        LookupResult::Failed(_) => "failed",
    }
}

/// Deliveries that are only looked up, at most. Each is looked up three times or more, at 20 lookups a second by
/// default: more of them would only wait.
const LOOKED_UP_AT_A_TIME: usize = 1024;

/// The right of one delivery to be looked up once nobody waits any more.
pub(super) type LookupPermit = OwnedSemaphorePermit;

/// Deliveries that wait for a lookup permit, oldest first. A delivery that stays unknown costs a permit while it is
/// looked up, and 16 bytes while it waits for one. So a million of them neither fill the memory nor keep the place of
/// those that are to be sent.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: Mutex<VecDeque<DeliveryId>>,
    added: Notify,
    permits: Arc<Semaphore>,
}

impl Default for Backlog {
    fn default() -> Self {
        let permits = Arc::new(Semaphore::new(LOOKED_UP_AT_A_TIME));
        Self { waiting: Mutex::default(), added: Notify::new(), permits }
    }
}

impl Backlog {
    /// A permit, if one is free.
    pub(super) fn permit(&self) -> Option<LookupPermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Lets these wait for a permit.
    pub(super) fn add(&self, ids: impl IntoIterator<Item = DeliveryId>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
        self.added.notify_one();
    }

    /// The next one, with its permit. Cancel safe.
    pub(super) async fn next(&self) -> Option<(DeliveryId, LookupPermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(id) => return Some((id, permit)),
                None => self.added.notified().await,
            }
        }
    }
}

/// Which providers' places the ledger knows to keep markers: only there does a lookup's silence prove anything.
#[derive(Debug)]
pub(super) struct Markers {
    /// One for each provider.
    noted: Vec<AtomicBool>,
}

impl Markers {
    pub(super) fn new(providers: usize) -> Self {
        Self { noted: (0..providers).map(|_| AtomicBool::new(false)).collect() }
    }

    /// Tells the providers what earlier processes have seen. Call it once, at the start.
    pub(super) async fn load(&self, chain: &Chain, ledger: &LedgerHealth) {
        let places = ledger.marked_places().await.unwrap_or_else(|error| {
            tracing::warn!(
                "where markers were seen can't be read: {error}; until one is seen again, nothing is taken for absent"
            );
            Vec::new()
        });
        for (provider, noted) in chain.providers().iter().zip(&self.noted) {
            if places.iter().any(|place| place.is_at(provider.destination())) {
                provider.marker_was_seen();
                noted.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Has the ledger remember the places where a marker was seen for the first time. Nobody waits for it: lost with
    /// the process, it is seen again. `at_ms` is wall time, in milliseconds since 1970.
    pub(super) fn note(&self, chain: &Chain, ledger: &LedgerHealth, at_ms: u64) {
        for (provider, noted) in chain.providers().iter().zip(&self.noted) {
            let is_new = !noted.load(Ordering::Relaxed)
                && provider.rules().lookup.is_some_and(|ability| ability.needs_marker)
                && provider.has_seen_marker()
                && !noted.swap(true, Ordering::Relaxed);
            if is_new {
                // What was asked for is done, whoever waits for the answer.
                drop(ledger.note_marker(MarkedPlace::of(provider.destination()), at_ms));
            }
        }
    }
}

/// Most deliveries whose window is kept. One that isn't is looked up, and not sent again.
const MOST_WINDOWS: usize = 100_000;

/// When unknown deliveries were sent, for as long as their channel deduplicates by our key: within that time, a caller
/// that comes again may have one sent again. Nothing of it outlives the process, because the next one's clock can't say
/// how long ago that was.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// When each attempt began, as far as that is known.
    started: HashMap<DeliveryId, Vec<Option<Moment>>>,
    /// In the order in which they were kept, which is nearly that in which they close.
    closes: VecDeque<(Moment, DeliveryId)>,
}

impl Windows {
    /// Keeps when the attempts of this delivery began, until `until`.
    pub(super) fn keep(&self, id: DeliveryId, started: Vec<Option<Moment>>, until: Moment, now: Moment) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while open.closes.front().is_some_and(|(closes, _)| *closes <= now)
            || open.closes.len() >= MOST_WINDOWS
        {
            if let Some((_, closed)) = open.closes.pop_front() {
                open.started.remove(&closed);
            }
        }
        if open.started.insert(id, started).is_none() {
            open.closes.push_back((until, id));
        }
    }

    /// When the attempts of this delivery began, as far as that is known.
    pub(super) fn started(&self, id: DeliveryId) -> Vec<Option<Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).started.get(&id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_pace_holds() {
        let limiter = LookupLimiter::new(20);
        let now = Moment::at(Duration::from_secs(100));
        let starts: Vec<Moment> = (0..60).map(|_| limiter.reserve(now)).collect();
        assert!(starts[..20].iter().all(|start| *start == now));
        assert_eq!(starts[59] - now, Duration::from_secs(2), "40 more at 20 a second");
    }

    #[test]
    fn lookups_are_counted_and_the_latest_of_each_delivery_is_kept() {
        let limiter = LookupLimiter::new(20);
        let id = |n: usize| DeliveryId::from_bytes((n as u128).to_be_bytes());
        limiter.note(id(0), &LookupResult::Failed("HTTP 500".into()), 1);
        assert_eq!(limiter.last(id(0)).unwrap().said, "the channel could not be asked for it: HTTP 500");
        limiter.note(id(0), &LookupResult::NotFound { complete: true }, 2);
        let last = limiter.last(id(0)).unwrap();
        assert_eq!((last.at_ms, last.finding.as_str(), last.said.as_str()), (2, "not_found", ""));
        for n in 1..=MOST_KEPT {
            limiter.note(id(n), &LookupResult::NotFound { complete: false }, 3);
        }
        assert!(limiter.last(id(0)).is_none() && limiter.last(id(MOST_KEPT)).is_some());
        let counts = limiter.counts();
        assert_eq!((counts.found, counts.not_found, counts.undetermined, counts.failed), (0, 1, 4096, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_of_lookups_that_are_broken_off_are_given_back() {
        let clock = SystemClock::start();
        let limiter = LookupLimiter::new(10);
        for _ in 0..10 {
            drop(limiter.slot(clock, true).await);
        }
        for _ in 0..20 {
            assert!(tokio::time::timeout(Duration::from_millis(1), limiter.slot(clock, true)).await.is_err());
        }
        let asked = clock.now();
        drop(limiter.slot(clock, true).await);
        assert!(clock.now() - asked < Duration::from_millis(200), "{:?}", clock.now() - asked);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_awaited_does_not_queue_behind_the_background() {
        let clock = SystemClock::start();
        let limiter = std::sync::Arc::new(LookupLimiter::new(10));
        let background: Vec<_> = (0..200)
            .map(|_| {
                let limiter = std::sync::Arc::clone(&limiter);
                tokio::spawn(async move { drop(limiter.slot(clock, false).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        let asked = clock.now();
        drop(limiter.slot(clock, true).await);
        assert!(clock.now() - asked < Duration::from_secs(1), "{:?}", clock.now() - asked);
        for look in background {
            look.await.unwrap();
        }
        assert!(clock.now() - asked > Duration::from_secs(18), "200 at 10 a second, 10 of them at once");
    }

    #[test]
    fn only_open_windows_are_kept() {
        let at = |s| Moment::at(Duration::from_secs(s));
        let id = |n: u8| DeliveryId::from_bytes([n; 16]);
        let windows = Windows::default();
        windows.keep(id(1), vec![Some(at(0))], at(60), at(1));
        windows.keep(id(1), vec![Some(at(0)), Some(at(2))], at(60), at(3));
        windows.keep(id(2), vec![Some(at(50))], at(110), at(51));
        assert_eq!(windows.started(id(1)), [Some(at(0)), Some(at(2))]);
        windows.keep(id(3), vec![Some(at(60))], at(120), at(61));
        assert!(windows.started(id(1)).is_empty());
        assert_eq!(windows.started(id(2)), [Some(at(50))]);
    }
}
