//! The keys in flight in this process: one delivery a key, however many callers ask for it.

use super::Delivered;
use super::progress::ProgressBoard;
use commentd_delivery::record::KeyRef;
use commentd_delivery::{Fingerprint, Moment};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use tokio::sync::Notify;

/// What other tasks may tell a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The caller that started it hung up.
    CallerGone,
    /// Somebody asks for a delivery that is only being looked up, and waits until then.
    LookNow(Moment),
    /// Somebody asks for a delivery that is only being looked up, and may have it sent again.
    HandOver,
    /// Whoever waits for it is to be answered now.
    AnswerNow,
    /// A person has made certain what was unknown.
    Resolved,
}

/// A delivery in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) fingerprint: Fingerprint,
    pub(super) progress: ProgressBoard,
    pub(super) commands: Commands,
}

/// What a flight was told and hasn't taken in yet, in order. There are a handful at most: a channel would cost each
/// flight a kilobyte.
#[derive(Debug, Default)]
pub(super) struct Commands(Mutex<Inbox>);

#[derive(Debug, Default)]
struct Inbox {
    waiting: VecDeque<Command>,
    /// The flight, once it has looked and found nothing.
    flight: Option<Waker>,
}

impl Commands {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells it something; one that is over never asks.
    pub(super) fn send(&self, command: Command) {
        let flight = {
            let mut inbox = self.inbox();
            inbox.waiting.push_back(command);
            inbox.flight.take()
        };
        if let Some(flight) = flight {
            flight.wake();
        }
    }

    /// The next command, for the flight alone. Cancel safe.
    pub(super) async fn recv(&self) -> Command {
        poll_fn(|cx| {
            let mut inbox = self.inbox();
            if let Some(command) = inbox.waiting.pop_front() {
                return Poll::Ready(command);
            }
            if inbox.flight.as_ref().is_none_or(|flight| !flight.will_wake(cx.waker())) {
                inbox.flight = Some(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

/// What a request finds under its key.
pub(super) enum Seat {
    /// Nothing: the delivery is this request's to run.
    Pilot(Arc<Flight>),
    /// The same comment, in flight.
    Passenger(Arc<Flight>),
    /// Another comment.
    Reused(Arc<Flight>),
}

/// The table of keys in flight.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<HashMap<KeyRef, Arc<Flight>>>,
    /// Told whenever the last one has landed.
    none_left: Notify,
}

impl Flights {
    /// Joins the flight under this key, or starts it.
    pub(super) fn join(&self, key: &KeyRef, fingerprint: Fingerprint) -> Seat {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.entry(key.clone()) {
            Entry::Occupied(entry) if entry.get().fingerprint == fingerprint => {
                Seat::Passenger(Arc::clone(entry.get()))
            }
            Entry::Occupied(entry) => Seat::Reused(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let (progress, commands) = (ProgressBoard::default(), Commands::default());
                let flight = Arc::new(Flight { fingerprint, progress, commands });
                entry.insert(Arc::clone(&flight));
                Seat::Pilot(flight)
            }
        }
    }

    /// The flight under this key.
    pub(super) fn get(&self, key: &KeyRef) -> Option<Arc<Flight>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Tells all of them something.
    pub(super) fn tell_all(&self, command: Command) {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.values().for_each(|flight| flight.commands.send(command));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until there are none. Cancel safe.
    pub(super) async fn all_landed(&self) {
        loop {
            // Made before the look: it hears of every landing from here on.
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

/// Ends a flight when it is dropped, however its task ended, so that nobody waits for it in vain.
pub(super) struct Landing<'a> {
    pub(super) flights: &'a Flights,
    pub(super) key: KeyRef,
    pub(super) flight: Arc<Flight>,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        // First out of the table, then over: whoever then finds it over and tries afresh starts a new one.
        self.flights.remove(&self.key);
        self.flight.progress.send_modify(|progress| {
            progress.over = true;
            progress.answer.get_or_insert(Delivered::Broken);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_delivery::Comment;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn whoever_waits_for_all_to_land_waits_for_the_last_one() {
        let flights = Flights::default();
        flights.all_landed().now_or_never().expect("there is none");
        let mut landings: Vec<Landing<'_>> = ["a", "b"]
            .into_iter()
            .map(|key| {
                let key = KeyRef { caller: String::new(), key: key.into(), item: 0 };
                match flights.join(&key, Comment::default().fingerprint(1)) {
                    Seat::Pilot(flight) => Landing { flights: &flights, key, flight },
                    Seat::Passenger(_) | Seat::Reused(_) => panic!("nobody else flies"),
                }
            })
            .collect();
        let mut all_landed = Box::pin(flights.all_landed());
        assert!((&mut all_landed).now_or_never().is_none());
        landings.pop();
        assert!((&mut all_landed).now_or_never().is_none());
        landings.pop();
        assert!(all_landed.now_or_never().is_some());
    }
}
