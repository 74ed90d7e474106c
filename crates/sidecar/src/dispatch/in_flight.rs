//! The keys in flight in this process: one delivery a key, however many callers ask for it.

use commentd_delivery::Fingerprint;
use commentd_delivery::follower::Progress;
use commentd_delivery::record::KeyRef;
use commentd_delivery::reply::{DeliverError, DeliveryResult};
use commentd_delivery::step::Event;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use tokio::sync::Notify;

/// A delivery in flight.
#[derive(Debug)]
pub(super) struct InFlightDelivery {
    pub(super) fingerprint: Fingerprint,
    pub(super) progress: ProgressWatch,
    pub(super) events: EventInbox,
}

/// Events from others that its task hasn't taken in yet, in order. There are a handful at most: a channel would cost
/// each delivery a kilobyte.
#[derive(Debug, Default)]
pub(super) struct EventInbox(Mutex<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Event>,
    /// The delivery's task, once it has found nothing here.
    task: Option<Waker>,
}

impl EventInbox {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells it something; one that is over never asks.
    pub(super) fn send(&self, event: Event) {
        let task = {
            let mut inbox = self.inbox();
            inbox.waiting.push_back(event);
            inbox.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }

    /// The next event, for the delivery's task alone. Cancel safe.
    pub(super) async fn recv(&self) -> Event {
        poll_fn(|cx| {
            let mut inbox = self.inbox();
            if let Some(event) = inbox.waiting.pop_front() {
                return Poll::Ready(event);
            }
            if inbox.task.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
                inbox.task = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// What a request finds under its key.
pub(super) enum Joined {
    /// Nothing: the delivery is this request's to run.
    Leader(Arc<InFlightDelivery>),
    /// The same comment, in flight.
    Follower(Arc<InFlightDelivery>),
    /// Another comment.
    Reused(Arc<InFlightDelivery>),
}

/// Progress that many may wait for. They are woken in the order in which they came: tokio's `watch` channel wakes
/// them in a random one, and a simulation could not replay that.
#[derive(Debug, Default)]
pub(super) struct ProgressWatch {
    progress: Mutex<Progress>,
    /// Whether there is a reply, for its caller, which asks whenever the delivery has gone on. It never goes away.
    has_reply: AtomicBool,
    changed: Notify,
}

impl ProgressWatch {
    /// What it says now. Not to be held for long.
    pub(super) fn borrow(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply by now.
    pub(super) fn reply(&self) -> Option<DeliveryResult> {
        if self.has_reply.load(Ordering::Acquire) { self.borrow().reply.clone() } else { None }
    }

    /// Changes it and wakes those who wait.
    pub(super) fn update(&self, change: impl FnOnce(&mut Progress)) {
        {
            let mut progress = self.borrow();
            change(&mut progress);
            self.has_reply.store(progress.reply.is_some(), Ordering::Release);
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

/// The table of keys in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    table: Mutex<HashMap<KeyRef, Arc<InFlightDelivery>>>,
    /// Told whenever the last one is over.
    none_left: Notify,
}

impl InFlight {
    /// Joins the delivery under this key, or starts it.
    pub(super) fn join(&self, key: &KeyRef, fingerprint: Fingerprint) -> Joined {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.entry(key.clone()) {
            Entry::Occupied(entry) if entry.get().fingerprint == fingerprint => {
                Joined::Follower(Arc::clone(entry.get()))
            }
            Entry::Occupied(entry) => Joined::Reused(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let (progress, events) = (ProgressWatch::default(), EventInbox::default());
                let delivery = Arc::new(InFlightDelivery { fingerprint, progress, events });
                entry.insert(Arc::clone(&delivery));
                Joined::Leader(delivery)
            }
        }
    }

    /// The delivery under this key.
    pub(super) fn get(&self, key: &KeyRef) -> Option<Arc<InFlightDelivery>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Tells all of them something.
    pub(super) fn tell_all(&self, event: Event) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.values().for_each(|delivery| delivery.events.send(event.clone()));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until there are none. Cancel safe.
    pub(super) async fn all_over(&self) {
        loop {
            // Made before the check: it hears of every end from here on.
            let none_left = self.none_left.notified();
            if self.len() == 0 {
                return;
            }
            none_left.await;
        }
    }

    fn remove(&self, key: &KeyRef) {
        let was_last = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.remove(key).is_some() && table.is_empty()
        };
        if was_last {
            self.none_left.notify_waiters();
        }
    }
}

/// Ends a delivery when it is dropped, however its task ended, so that nobody waits for it in vain.
pub(super) struct InFlightGuard<'a> {
    pub(super) table: &'a InFlight,
    pub(super) key: KeyRef,
    pub(super) delivery: Arc<InFlightDelivery>,
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        // First out of the table, then over: whoever then finds it over and tries afresh starts a new one.
        self.table.remove(&self.key);
        self.delivery.progress.update(|progress| {
            progress.over = true;
            progress.reply.get_or_insert(Err(DeliverError::Failed));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_delivery::Comment;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn whoever_waits_for_all_to_be_over_waits_for_the_last_one() {
        let table = InFlight::default();
        table.all_over().now_or_never().expect("there is none");
        let mut guards: Vec<InFlightGuard<'_>> = ["a", "b"]
            .into_iter()
            .map(|key| {
                let key = KeyRef { caller: String::new(), key: key.into(), item: 0 };
                match table.join(&key, Comment::default().fingerprint(1)) {
                    Joined::Leader(delivery) => InFlightGuard { table: &table, key, delivery },
                    Joined::Follower(_) | Joined::Reused(_) => panic!("there is no other"),
                }
            })
            .collect();
        let mut all_over = Box::pin(table.all_over());
        assert!((&mut all_over).now_or_never().is_none());
        guards.pop();
        assert!((&mut all_over).now_or_never().is_none());
        guards.pop();
        assert!(all_over.now_or_never().is_some());
    }
}
