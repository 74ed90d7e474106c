//! What is looked up when nobody waits for it any more, by as many flights as the pace of lookups can feed.
//!
//! A delivery that stays unknown costs a seat while it is looked up, and 16 bytes while it waits for one. So a
//! million of them neither fill the memory nor keep the room of those that are to be sent.

use super::flights::Seat;
use super::{Inner, run};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_ledger::{Find, LedgerError};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Flights that only look, at most. Each looks three times or more, at 20 lookups a second by default: more of
/// them would only wait.
const SEATS: usize = 1024;
/// How long a ledger that is busy or failing is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// The right of one flight to go on looking.
pub(super) type LookingSeat = OwnedSemaphorePermit;

/// Those that wait for a seat, oldest first.
#[derive(Debug)]
pub(super) struct Backlog {
    waiting: Mutex<VecDeque<DeliveryId>>,
    added: Notify,
    seats: Arc<Semaphore>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { waiting: Mutex::default(), added: Notify::new(), seats: Arc::new(Semaphore::new(SEATS)) }
    }
}

impl Backlog {
    /// A seat, if one is free.
    pub(super) fn seat(&self) -> Option<LookingSeat> {
        Arc::clone(&self.seats).try_acquire_owned().ok()
    }

    /// Lets these wait for a seat.
    pub(super) fn add(&self, ids: impl IntoIterator<Item = DeliveryId>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).extend(ids);
        self.added.notify_one();
    }

    /// The next one, with its seat.
    async fn next(&self) -> Option<(DeliveryId, LookingSeat)> {
        let seat = Arc::clone(&self.seats).acquire_owned().await.ok()?;
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(id) => return Some((id, seat)),
                None => self.added.notified().await,
            }
        }
    }
}

/// Gives everything in the backlog its seat, until the drain.
pub(super) async fn work(inner: Arc<Inner>) {
    let mut is_failing = false;
    loop {
        let next = tokio::select! {
            biased;
            () = inner.drain.cancelled() => return,
            next = inner.backlog.next() => next,
        };
        let Some((id, seat)) = next else { return };
        match board(&inner, id, seat).await {
            Ok(()) => is_failing = false,
            Err(LedgerError::Closed) => return,
            Err(error) => {
                if !is_failing && error != LedgerError::Busy {
                    tracing::error!(%id, %error, "an unknown delivery can't be looked up yet; it is tried again");
                    is_failing = true;
                }
                inner.backlog.add([id]);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn board(inner: &Arc<Inner>, id: DeliveryId, seat: LookingSeat) -> Result<(), LedgerError> {
    // Swept or resolved and swept: nothing is left to look for.
    let Some(record) = inner.ledger.find(Find::Id(id)).await? else { return Ok(()) };
    // Whoever has it in flight looks on by itself.
    if record.outcome() != Outcome::Unknown || inner.flights.get(&record.key).is_some() {
        return Ok(());
    }
    let record = inner.interrupt(record).await?;
    let Some(comment) = record.comment.clone() else {
        // Without its target, a lookup would ask in the wrong place, and not finding it there proves nothing.
        tracing::info!(%id, "its comment was forgotten, so it can't be looked up; it stays unknown");
        return Ok(());
    };
    if let Seat::Pilot(flight) = inner.flights.join(&record.key, record.fingerprint) {
        inner.tasks.spawn(run::look_up(Arc::clone(inner), flight, record, comment, seat));
    }
    Ok(())
}
