//! The keys in flight in this process: one delivery a key, however many callers ask for it.

use super::Delivered;
use super::progress::ProgressBoard;
use commentd_delivery::Fingerprint;
use commentd_delivery::record::KeyRef;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

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
    pub(super) commands: mpsc::UnboundedSender<Command>,
}

/// What a request finds under its key.
pub(super) enum Seat {
    /// Nothing: the delivery is this request's to run.
    Pilot(Arc<Flight>, mpsc::UnboundedReceiver<Command>),
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
                let (commands, receiver) = mpsc::unbounded_channel();
                let flight = Arc::new(Flight { fingerprint, progress: ProgressBoard::default(), commands });
                entry.insert(Arc::clone(&flight));
                Seat::Pilot(flight, receiver)
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
