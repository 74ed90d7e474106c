//! What the requests of a board share: its store, its faults, its counters.

use crate::error::BoardError;
use crate::fault::{Fault, FaultPlan};
use crate::journal::Journal;
use crate::store::Store;
use commentd_contract::SystemClock;
use commentd_contract::time::{Clock, Moment};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Most posts at a time, those included whose client has left but which will still be stored; more are
/// answered 503 and not counted.
pub const MAX_IN_FLIGHT: u64 = 4096;

/// How a board is set up. The default is an honest one in memory.
#[derive(Clone, Debug, Default)]
pub struct BoardOptions {
    /// The SQLite file, created if missing; `None`: in memory.
    pub database: Option<PathBuf>,
    /// How it misbehaves.
    pub faults: FaultPlan,
    /// Any number; with the request's number it decides every draw of the plan.
    pub seed: u64,
    /// Whether a repeated idempotency key is answered with the first reply instead of storing again.
    pub deduplicate: bool,
    /// A file to which every fault is appended as it is decided on, a JSON line each: number of the request, fault,
    /// its lateness where it has one, and the texts of the comments; `None`: nowhere. For tests that judge a client
    /// by what it was up against.
    pub journal: Option<PathBuf>,
}

/// What the board has seen since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Posts of all shapes that were read in full; also the number of the latest.
    pub received: u64,
    /// Comments stored.
    pub stored: u64,
    /// Posts that are still being delayed, held or stored late, with or without a client.
    pub in_flight: u64,
}

/// What all requests of a board share.
#[derive(Debug)]
pub(crate) struct BoardState {
    store: Store,
    clock: SystemClock,
    faults: FaultPlan,
    seed: u64,
    deduplicate: bool,
    journal: Option<Journal>,
    counters: watch::Sender<Counters>,
}

impl BoardState {
    /// Checks the plan and opens the store and the journal. Blocks on the files.
    pub(crate) fn open(options: BoardOptions) -> Result<Self, BoardError> {
        options.faults.check()?;
        let clock = SystemClock::start();
        Ok(Self {
            store: Store::open(options.database.as_deref(), clock)?,
            clock,
            faults: options.faults,
            seed: options.seed,
            deduplicate: options.deduplicate,
            journal: options.journal.map(Journal::open).transpose()?,
            counters: watch::Sender::new(Counters::default()),
        })
    }

    pub(crate) fn counters(&self) -> &watch::Sender<Counters> {
        &self.counters
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn faults(&self) -> (&FaultPlan, u64) {
        (&self.faults, self.seed)
    }

    pub(crate) fn deduplicates(&self) -> bool {
        self.deduplicate
    }

    /// Counts a post in: its number from 1, and the guard that counts it out. `None` when too many are in flight.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<(u64, PostInFlight)> {
        let mut number = None;
        self.counters.send_if_modified(|counters| {
            if counters.in_flight >= MAX_IN_FLIGHT {
                return false;
            }
            counters.received += 1;
            counters.in_flight += 1;
            number = Some(counters.received);
            true
        });
        number.map(|number| (number, PostInFlight { state: Arc::clone(self) }))
    }

    /// Writes to the journal that a post with these texts meets this fault.
    pub(crate) fn note_fault(&self, number: u64, fault: &Fault, texts: &[&str]) {
        if let Some(journal) = &self.journal {
            journal.note(number, fault, texts);
        }
    }

    pub(crate) fn count_stored(&self, comments: u64) {
        self.counters.send_modify(|counters| counters.stored += comments);
    }
}

/// A post that has been counted in and is counted out when this is dropped.
#[derive(Debug)]
pub(crate) struct PostInFlight {
    state: Arc<BoardState>,
}

impl Drop for PostInFlight {
    fn drop(&mut self) {
        self.state.counters.send_modify(|counters| counters.in_flight -= 1);
    }
}
