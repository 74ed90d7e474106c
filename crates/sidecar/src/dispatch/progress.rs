//! How far a flight has come, for all who wait for it.

use super::Delivered;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How far a flight has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// What is known by now; set for the first time when its caller is answered.
    pub(super) answer: Option<Delivered>,
    /// Whether it sends nothing any more and waits for lookups.
    pub(super) only_looking: bool,
    /// Lookups that have come back.
    pub(super) looks: u64,
    /// Whether nothing more will happen.
    pub(super) over: bool,
}

/// Progress that many may wait for. They are woken in the order in which they came: tokio's `watch` channel wakes
/// them in a random one, and a simulation could not replay that.
#[derive(Debug, Default)]
pub(super) struct ProgressBoard {
    progress: Mutex<Progress>,
    changed: Notify,
}

impl ProgressBoard {
    /// What it says now. Not to be held for long.
    pub(super) fn borrow(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it and wakes those who wait.
    pub(super) fn send_modify(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.borrow());
        self.changed.notify_waiters();
    }

    /// The same, but wakes them only if `change` says that it matters to them.
    pub(super) fn send_if_modified(&self, change: impl FnOnce(&mut Progress) -> bool) {
        if change(&mut self.borrow()) {
            self.changed.notify_waiters();
        }
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
