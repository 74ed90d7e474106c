//! What waits for the writer: bounded, in the order of the calls.

use super::responders::Responder;
use crate::{FindBy, LedgerError, MarkedPlace, Opened, Opening, RecordFilter, Settled, Settling};
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// One call of the trait.
#[derive(Debug)]
pub(super) enum Operation {
    Open(Box<Opening>, Responder<Opened>),
    Intend(DeliveryId, Box<AttemptRecord>, Responder<()>),
    Settle(Box<Settling>, Responder<Settled>),
    Find(FindBy, Responder<Option<DeliveryRecord>>),
    List(RecordFilter, Responder<Vec<DeliveryRecord>>),
    Recover(u64, Responder<Vec<DeliveryId>>),
    Forget(DeliveryId, Responder<()>),
    Age {
        passed_ms: u64,
        at_ms: u64,
        reply: Responder<()>,
    },
    Sweep {
        kept_ms: u64,
        most: u32,
        reply: Responder<u32>,
    },
    NoteMarker(Box<MarkedPlace>, u64, Responder<()>),
    MarkedPlaces(Responder<Vec<MarkedPlace>>),
    Check(Responder<()>),
    /// Says that it began, then holds the writer until a word comes; panics, as no operation should, once none
    /// can come.
    #[cfg(test)]
    Hold(std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<()>, Responder<()>),
}

impl Operation {
    /// Whether it may record something, and so needs a transaction.
    pub(super) fn records(&self) -> bool {
        !matches!(self, Operation::Find(..) | Operation::List(..) | Operation::MarkedPlaces(..))
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    state: Mutex<QueueState>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Operation>,
    closed: bool,
    /// Whether the writer sleeps until there is something; otherwise it looks by itself.
    writer_sleeps: bool,
    on_closed: Option<Responder<()>>,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), state: Mutex::default(), filled: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an operation, without waiting. A settling has twice the room: what it settles may have been sent,
    /// and nobody but a lookup could say later what became of it.
    pub(super) fn push(&self, operation: Operation) -> Result<(), LedgerError> {
        let limit = match operation {
            Operation::Settle(..) => self.limit.saturating_mul(2),
            _ => self.limit,
        };
        let mut state = self.state();
        if state.closed {
            return Err(LedgerError::Closed);
        }
        if state.waiting.len() >= limit {
            return Err(LedgerError::Busy);
        }
        state.waiting.push_back(operation);
        let writer_sleeps = std::mem::take(&mut state.writer_sleeps);
        drop(state);
        if writer_sleeps {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for operations and takes the oldest, at most this many; `None` once the queue is closed and empty.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Operation>> {
        let mut state = self.state();
        while state.waiting.is_empty() && !state.closed {
            state.writer_sleeps = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.waiting.len().min(most.max(1));
        (count > 0).then(|| state.waiting.drain(..count).collect())
    }

    /// Lets nothing more in; `on_closed` is for the writer to answer when it has ended.
    pub(super) fn close(&self, on_closed: Option<Responder<()>>) -> Result<(), LedgerError> {
        let mut state = self.state();
        if state.closed {
            return Err(LedgerError::Closed);
        }
        state.closed = true;
        state.on_closed = on_closed;
        drop(state);
        self.filled.notify_all();
        Ok(())
    }

    /// Lets nothing more in and drops what waits, whose callers learn that nobody will answer. Returns whom the
    /// end is to be told to.
    pub(super) fn end(&self) -> Option<Responder<()>> {
        let mut state = self.state();
        state.closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        let on_closed = state.on_closed.take();
        drop(state);
        // Outside the lock: dropping a reply wakes whoever waits for it.
        drop(dropped);
        on_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_delivery::record::KeyRef;

    fn check() -> Operation {
        Operation::Check(Responder::new().0)
    }

    #[test]
    fn a_full_queue_still_has_room_for_settlings() {
        let queue = Queue::new(2);
        let settle = || {
            let verdict = commentd_delivery::record::interrupted();
            let id = DeliveryId::from_bytes([0; 16]);
            let settling = Settling { id, attempt: 1, end: crate::AttemptEnd::Verdict(verdict), at_ms: 0 };
            Operation::Settle(Box::new(settling), Responder::new().0)
        };
        queue.push(check()).unwrap();
        queue.push(check()).unwrap();
        assert_eq!(queue.push(check()), Err(LedgerError::Busy));
        let key = KeyRef { caller: String::new(), key: "k".into(), item: 0 };
        assert_eq!(queue.push(Operation::Find(FindBy::Key(key), Responder::new().0)), Err(LedgerError::Busy));
        queue.push(settle()).unwrap();
        queue.push(settle()).unwrap();
        assert_eq!(queue.push(settle()), Err(LedgerError::Busy));
        assert_eq!(queue.take(3).unwrap().len(), 3);
        queue.push(check()).unwrap();
    }

    #[test]
    fn a_closed_queue_gives_out_what_it_has_and_takes_nothing() {
        let queue = Queue::new(9);
        queue.push(check()).unwrap();
        queue.push(check()).unwrap();
        queue.close(None).unwrap();
        assert_eq!(queue.push(check()), Err(LedgerError::Closed));
        assert_eq!(queue.close(None), Err(LedgerError::Closed));
        assert_eq!(queue.take(1).unwrap().len(), 1);
        assert_eq!(queue.take(9).unwrap().len(), 1);
        assert!(queue.take(9).is_none());
    }
}
