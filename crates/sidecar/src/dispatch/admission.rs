//! How much may be in flight. What doesn't fit is turned away before any work is done for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Content in flight, in bytes (64 MiB).
const MOST_BYTES: usize = 64 << 20;

/// The room for deliveries. Nobody waits for it, so it is only counted.
#[derive(Debug)]
pub(super) struct Admission {
    most_deliveries: usize,
    taken: Arc<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    deliveries: AtomicUsize,
    bytes: AtomicUsize,
}

/// Room for some deliveries, given back when it is dropped.
#[derive(Debug)]
pub struct Room {
    taken: Arc<Taken>,
    deliveries: usize,
    bytes: usize,
}

impl Admission {
    pub(super) fn new(most_deliveries: usize) -> Self {
        Self { most_deliveries, taken: Arc::default() }
    }

    /// Room for this many deliveries of this many bytes altogether; `None` if there isn't.
    pub(super) fn admit(&self, deliveries: usize, bytes: usize) -> Option<Room> {
        let take = |taken: &AtomicUsize, more: usize, most: usize| {
            let room = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= most);
            taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, room).is_ok()
        };
        if !take(&self.taken.deliveries, deliveries, self.most_deliveries) {
            return None;
        }
        // Given back if there is no room for the bytes.
        let mut room = Room { taken: Arc::clone(&self.taken), deliveries, bytes: 0 };
        if !take(&self.taken.bytes, bytes, MOST_BYTES) {
            return None;
        }
        room.bytes = bytes;
        Some(room)
    }
}

impl Room {
    /// Takes the room of one delivery of this many bytes out of it.
    pub fn split(&mut self, bytes: usize) -> Option<Room> {
        let (deliveries, left) = (self.deliveries.checked_sub(1)?, self.bytes.checked_sub(bytes)?);
        (self.deliveries, self.bytes) = (deliveries, left);
        Some(Room { taken: Arc::clone(&self.taken), deliveries: 1, bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.bytes.fetch_sub(self.bytes, Ordering::Release);
        self.taken.deliveries.fetch_sub(self.deliveries, Ordering::Release);
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
