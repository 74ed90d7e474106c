//! How much may be in flight. What doesn't fit is turned away before any work is done for it.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Content in flight, in bytes (64 MiB).
const MOST_BYTES: usize = 64 << 20;

/// The room for deliveries.
#[derive(Debug)]
pub(super) struct Admission {
    deliveries: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// Room for some deliveries, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    deliveries: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

impl Admission {
    pub(super) fn new(most_deliveries: usize) -> Self {
        Self {
            deliveries: Arc::new(Semaphore::new(most_deliveries)),
            bytes: Arc::new(Semaphore::new(MOST_BYTES)),
        }
    }

    /// Room for this many deliveries of this many bytes altogether; `None` if there isn't.
    pub(super) fn admit(&self, deliveries: usize, bytes: usize) -> Option<Room> {
        let deliveries = u32::try_from(deliveries).ok()?;
        let bytes = u32::try_from(bytes).ok()?;
        Some(Room {
            deliveries: Arc::clone(&self.deliveries).try_acquire_many_owned(deliveries).ok()?,
            bytes: Arc::clone(&self.bytes).try_acquire_many_owned(bytes).ok()?,
        })
    }
}

impl Room {
    /// Takes the room of one delivery of this many bytes out of it.
    pub fn split(&mut self, bytes: usize) -> Option<Room> {
        Some(Room { deliveries: self.deliveries.split(1)?, bytes: self.bytes.split(bytes)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_back_piece_by_piece() {
        let admission = Admission::new(3);
        let mut batch = admission.admit(3, 30).unwrap();
        assert!(admission.admit(1, 1).is_none());
        let one = batch.split(10).unwrap();
        drop(one);
        assert!(admission.admit(1, 1).is_some());
        assert!(admission.admit(1, MOST_BYTES).is_none());
        drop(batch);
        assert!(admission.admit(3, MOST_BYTES).is_some());
    }
}
