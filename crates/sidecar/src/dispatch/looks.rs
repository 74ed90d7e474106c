//! The pace of lookups: they must never become a load of their own.

use commentd_contract::SystemClock;
use commentd_contract::deliveries::LastLook;
use commentd_contract::provider::LookCounts;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::{Clock, DeliveryId, Moment};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Lookups at a time.
const AT_A_TIME: usize = 4;

/// Deliveries of which it is kept what their last look came to.
const MOST_KEPT: usize = 4096;

/// Hands out turns to look, by the generic cell rate algorithm (ITU-T I.371).
///
/// Looks that somebody waits for go first: of the others, only a few at a time take their place in the queue.
#[derive(Debug)]
pub(super) struct Looks {
    lanes: Semaphore,
    background: Semaphore,
    due: Mutex<Moment>,
    /// Lookups a second in the long run; a second's worth may come at once after a pause.
    per_second: u32,
    past: Mutex<Past>,
}

/// What looks have come to since the start.
#[derive(Debug, Default)]
struct Past {
    counts: LookCounts,
    last: HashMap<DeliveryId, LastLook>,
    /// Those of `last`, the oldest first.
    order: VecDeque<DeliveryId>,
}

/// A turn to look.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _behind: Option<SemaphorePermit<'a>>,
    _lane: Option<SemaphorePermit<'a>>,
}

/// A turn that was reserved; given back if its look is broken off before it begins.
struct Reserved<'a> {
    looks: &'a Looks,
    was_used: bool,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.was_used {
            let mut due = self.looks.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = Moment::at(due.since_start().saturating_sub(self.looks.interval()));
        }
    }
}

impl Looks {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            lanes: Semaphore::new(AT_A_TIME),
            background: Semaphore::new(AT_A_TIME - 1),
            due: Mutex::new(Moment::START),
            per_second: per_second.max(1),
            past: Mutex::default(),
        }
    }

    /// Keeps what a look for this delivery came to; `at_ms` is wall time, in milliseconds since 1970.
    pub(super) fn note(&self, id: DeliveryId, finding: &LookupResult, at_ms: u64) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let Past { counts, last, order } = &mut *past;
        let count = match finding {
            LookupResult::Found(_) => &mut counts.found,
            LookupResult::NotFound { complete: true } => &mut counts.not_found,
            LookupResult::NotFound { complete: false }
            | LookupResult::Alike(_)
            | LookupResult::CannotBeKnown => &mut counts.undetermined,
            LookupResult::Failed(_) => &mut counts.failed,
        };
        *count += 1;
        let said = finding.doubt().unwrap_or_default();
        let is_new = last.insert(id, LastLook { at_ms, finding: word_of(finding).into(), said }).is_none();
        if is_new {
            order.push_back(id);
        }
        if order.len() > MOST_KEPT
            && let Some(oldest) = order.pop_front()
        {
            last.remove(&oldest);
        }
    }

    /// How many looks came to what.
    pub(super) fn counts(&self) -> LookCounts {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// What the last look for this delivery came to, if it was one of the latest.
    pub(super) fn last(&self, id: DeliveryId) -> Option<LastLook> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).last.get(&id).cloned()
    }

    /// Waits for a turn; it lasts until it is dropped. `is_awaited` if a caller waits for what the look finds.
    pub(super) async fn turn(&self, clock: SystemClock, is_awaited: bool) -> Turn<'_> {
        let behind = if is_awaited { None } else { self.background.acquire().await.ok() };
        let start = self.reserve(clock.now());
        let mut reserved = Reserved { looks: self, was_used: false };
        tokio::time::sleep_until(clock.instant(start)).await;
        let lane = self.lanes.acquire().await.ok();
        reserved.was_used = true;
        Turn { _behind: behind, _lane: lane }
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

fn word_of(finding: &LookupResult) -> &'static str {
    match finding {
        LookupResult::Found(_) => "found",
        LookupResult::NotFound { complete: true } => "not_found",
        LookupResult::NotFound { complete: false } | LookupResult::Alike(_) | LookupResult::CannotBeKnown => {
            "undetermined"
        }
        LookupResult::Failed(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_pace_holds() {
        let looks = Looks::new(20);
        let now = Moment::at(Duration::from_secs(100));
        let starts: Vec<Moment> = (0..60).map(|_| looks.reserve(now)).collect();
        assert!(starts[..20].iter().all(|start| *start == now));
        assert_eq!(starts[59] - now, Duration::from_secs(2), "40 more at 20 a second");
    }

    #[test]
    fn looks_are_counted_and_the_latest_of_each_delivery_is_kept() {
        let looks = Looks::new(20);
        let id = |n: usize| DeliveryId::from_bytes((n as u128).to_be_bytes());
        looks.note(id(0), &LookupResult::Failed("HTTP 500".into()), 1);
        assert_eq!(looks.last(id(0)).unwrap().said, "the channel could not be asked for it: HTTP 500");
        looks.note(id(0), &LookupResult::NotFound { complete: true }, 2);
        let last = looks.last(id(0)).unwrap();
        assert_eq!((last.at_ms, last.finding.as_str(), last.said.as_str()), (2, "not_found", ""));
        for n in 1..=MOST_KEPT {
            looks.note(id(n), &LookupResult::NotFound { complete: false }, 3);
        }
        assert!(looks.last(id(0)).is_none() && looks.last(id(MOST_KEPT)).is_some());
        let counts = looks.counts();
        assert_eq!((counts.found, counts.not_found, counts.undetermined, counts.failed), (0, 1, 4096, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_of_looks_that_are_broken_off_are_given_back() {
        let clock = SystemClock::start();
        let looks = Looks::new(10);
        for _ in 0..10 {
            drop(looks.turn(clock, true).await);
        }
        for _ in 0..20 {
            assert!(tokio::time::timeout(Duration::from_millis(1), looks.turn(clock, true)).await.is_err());
        }
        let asked = clock.now();
        drop(looks.turn(clock, true).await);
        assert!(clock.now() - asked < Duration::from_millis(200), "{:?}", clock.now() - asked);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_awaited_does_not_queue_behind_the_background() {
        let clock = SystemClock::start();
        let looks = std::sync::Arc::new(Looks::new(10));
        let background: Vec<_> = (0..200)
            .map(|_| {
                let looks = std::sync::Arc::clone(&looks);
                tokio::spawn(async move { drop(looks.turn(clock, false).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        let asked = clock.now();
        drop(looks.turn(clock, true).await);
        assert!(clock.now() - asked < Duration::from_secs(1), "{:?}", clock.now() - asked);
        for look in background {
            look.await.unwrap();
        }
        assert!(clock.now() - asked > Duration::from_secs(18), "200 at 10 a second, 10 of them at once");
    }
}
