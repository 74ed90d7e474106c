//! How far a flight has come, for all who wait for it.

use super::Delivered;
use commentd_delivery::Moment;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How far a flight has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// What is known by now; set for the first time when its caller is answered.
    pub(super) answer: Option<Delivered>,
    /// Whether it sends nothing any more and waits for lookups.
    pub(super) only_looking: bool,
    /// Until when a caller whose deadline comes earlier may have it sent again, once it only looks.
    pub(super) repeats_until: Option<Moment>,
    /// Whether it has left the delivery to a caller that may have it sent again.
    pub(super) handed_over: bool,
    /// Whether nothing more will happen.
    pub(super) over: bool,
}

/// Progress that many may wait for. They are woken in the order in which they came: tokio's `watch` channel wakes
/// them in a random one, and a simulation could not replay that.
#[derive(Debug, Default)]
pub(super) struct ProgressBoard {
    progress: Mutex<Progress>,
    /// Whether there is an answer, for its caller, who looks whenever the flight has gone on. It never goes away.
    is_answered: AtomicBool,
    changed: Notify,
}

impl ProgressBoard {
    /// What it says now. Not to be held for long.
    pub(super) fn borrow(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer by now.
    pub(super) fn answer(&self) -> Option<Delivered> {
        if self.is_answered.load(Ordering::Acquire) { self.borrow().answer.clone() } else { None }
    }

    /// Changes it and wakes those who wait.
    pub(super) fn send_modify(&self, change: impl FnOnce(&mut Progress)) {
        {
            let mut progress = self.borrow();
            change(&mut progress);
            self.is_answered.store(progress.answer.is_some(), Ordering::Release);
        }
        self.changed.notify_waiters();
    }

    /// Waits until it says what is wanted. Cancel safe.
    pub(super) async fn wait_for(&self, is_wanted: impl Fn(&Progress) -> bool) -> Progress {
        loop {
            // Made before the check: it hears of every change from here on.
            let changed = self.changed.notified();
            let now = self.borrow().clone();
            if is_wanted(&now) {
                return now;
            }
            changed.await;
        }
    }
}
