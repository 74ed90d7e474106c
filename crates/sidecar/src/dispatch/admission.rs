//! How much may be in flight. What doesn't fit is turned away before any work is done for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Requests in flight, in bytes (64 MiB).
const MOST_BYTES: usize = 64 << 20;

/// Counts what is in flight. Nobody waits for a permit, so there is no queue.
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

fn take(taken: &AtomicUsize, more: usize, most: usize) -> bool {
    let sum = |taken: usize| taken.checked_add(more).filter(|sum| *sum <= most);
    taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, sum).is_ok()
}

/// The bytes of one request, from the first that is read. They are given back when it is dropped.
#[derive(Debug)]
pub struct HeldBytes {
    taken: Arc<Taken>,
    bytes: usize,
}

impl HeldBytes {
    /// Holds so many more; false if they are too many.
    pub fn add(&mut self, more: usize) -> bool {
        let fits = take(&self.taken.bytes, more, MOST_BYTES);
        self.bytes += if fits { more } else { 0 };
        fits
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.taken.bytes.fetch_sub(self.bytes, Ordering::Release);
    }
}

/// AdmissionPermit for some deliveries of one request, given back when it is dropped. What the request's deliveries share in
/// memory is there until the last of them is over, and so are its bytes held.
#[derive(Debug)]
pub struct AdmissionPermit {
    bytes: Arc<HeldBytes>,
    deliveries: usize,
}

impl Admission {
    pub(super) fn new(most_deliveries: usize) -> Self {
        Self { most_deliveries, taken: Arc::default() }
    }

    /// Most deliveries at a time.
    pub(super) fn most_deliveries(&self) -> usize {
        self.most_deliveries
    }

    /// Holds the bytes of a request; `None` if they are too many.
    pub(super) fn hold(&self, bytes: usize) -> Option<HeldBytes> {
        let mut held = HeldBytes { taken: Arc::clone(&self.taken), bytes: 0 };
        held.add(bytes).then_some(held)
    }

    /// AdmissionPermit for this many deliveries of a request with these bytes; `None` if there isn't.
    pub(super) fn admit(&self, deliveries: usize, bytes: HeldBytes) -> Option<AdmissionPermit> {
        take(&self.taken.deliveries, deliveries, self.most_deliveries)
            .then(|| AdmissionPermit { bytes: Arc::new(bytes), deliveries })
    }
}

impl AdmissionPermit {
    /// Takes the permit of one delivery out of it.
    pub fn split(&mut self) -> Option<AdmissionPermit> {
        self.deliveries = self.deliveries.checked_sub(1)?;
        Some(AdmissionPermit { bytes: Arc::clone(&self.bytes), deliveries: 1 })
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.bytes.taken.deliveries.fetch_sub(self.deliveries, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_come_back_piece_by_piece_and_bytes_with_the_last_piece() {
        let admission = Admission::new(3);
        let admit = |deliveries, bytes| admission.admit(deliveries, admission.hold(bytes)?);
        let mut batch = admit(3, 30).unwrap();
        assert!(admit(1, 1).is_none());
        let (one, two) = (batch.split().unwrap(), batch.split().unwrap());
        drop(one);
        assert!(admit(1, 1).is_some());
        assert!(admit(1, MOST_BYTES).is_none());
        drop(batch);
        assert!(admit(1, MOST_BYTES).is_none(), "what the last one shares with the others is still there");
        drop(two);
        assert!(admit(3, MOST_BYTES).is_some());
    }

    #[test]
    fn what_does_not_fit_any_more_is_not_held() {
        let admission = Admission::new(1);
        let mut held = admission.hold(MOST_BYTES - 1).unwrap();
        assert!(!held.add(2) && held.add(1));
        drop(held);
        assert!(admission.hold(MOST_BYTES).is_some());
    }
}
