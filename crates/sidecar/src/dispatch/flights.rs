//! The keys in flight in this process: one delivery a key, however many callers ask for it.

use super::Delivered;
use super::progress::ProgressBoard;
use commentd_delivery::Fingerprint;
use commentd_delivery::record::KeyRef;
use futures_util::task::AtomicWaker;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

/// What other tasks may tell a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// The caller that started it hung up.
    CallerGone,
    /// Somebody asks for a delivery that is only being looked up.
    LookNow,
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
pub(super) struct Commands {
    waiting: Mutex<VecDeque<Command>>,
    flight: AtomicWaker,
}

impl Commands {
    /// Tells it something; one that is over never asks.
    pub(super) fn send(&self, command: Command) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        self.flight.wake();
    }

    /// The next command, for the flight alone. Cancel safe.
    pub(super) async fn recv(&self) -> Command {
        poll_fn(|cx| {
            // Registered before the look: it hears of every command from here on.
            self.flight.register(cx.waker());
            match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
                Some(command) => Poll::Ready(command),
                None => Poll::Pending,
            }
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
    Reused,
}

/// The table of keys in flight.
#[derive(Debug, Default)]
pub(super) struct Flights {
    table: Mutex<HashMap<KeyRef, Arc<Flight>>>,
}

impl Flights {
    /// Joins the flight under this key, or starts it.
    pub(super) fn join(&self, key: &KeyRef, fingerprint: Fingerprint) -> Seat {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.entry(key.clone()) {
            Entry::Occupied(entry) if entry.get().fingerprint == fingerprint => {
                Seat::Passenger(Arc::clone(entry.get()))
            }
            Entry::Occupied(_) => Seat::Reused,
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

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn remove(&self, key: &KeyRef) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
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
