//! What the ledger's last writes came to, for whoever asks whether it records.

use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord};
use commentd_ledger::{
    Description, Filter, Find, Ledger, LedgerError, MarkedPlace, Opened, Opening, Pending, Settled, Settling,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two checks while nothing is known to be wrong, and while something is.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_AGAIN: Duration = Duration::from_secs(1);
/// A ledger that needs longer than this to say that it can record can't record in time either.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ledger, with the result of its last write kept.
pub(super) struct Recording {
    ledger: Arc<dyn Ledger>,
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
}

impl Recording {
    pub(super) fn new(ledger: Arc<dyn Ledger>) -> Self {
        Self { ledger, failure: Mutex::default(), has_failed: AtomicBool::new(false) }
    }

    /// Why the last write failed; `None` if it didn't.
    pub(super) fn failure(&self) -> Option<String> {
        if !self.has_failed.load(Ordering::Acquire) {
            return None;
        }
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Checks now and then whether it records, so that it is known without a comment, until the drain begins.
    pub(super) async fn keep_checking(&self, drain: &CancellationToken) {
        let checking = async {
            loop {
                let failed = self.has_failed.load(Ordering::Acquire);
                tokio::time::sleep(if failed { CHECK_AGAIN } else { CHECK_EVERY }).await;
                if tokio::time::timeout(PATIENCE, self.check()).await.is_err() {
                    self.set(Some(format!("the ledger doesn't answer within {} s", PATIENCE.as_secs())));
                }
            }
        };
        tokio::select! {
            () = drain.cancelled() => {}
            () = checking => {}
        }
    }

    fn set(&self, failure: Option<String>) {
        let has_failed = failure.is_some();
        if has_failed || self.has_failed.load(Ordering::Acquire) {
            let mut kept = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            *kept = failure;
            self.has_failed.store(has_failed, Ordering::Release);
        }
    }

    /// The same operation, and what it came to is noted if it wrote.
    fn noted<'a, T: Send + 'a>(
        &'a self,
        operation: Pending<'a, T>,
        wrote: impl FnOnce(&T) -> bool + Send + 'a,
    ) -> Pending<'a, T> {
        Box::pin(async move {
            let result = operation.await;
            match &result {
                Ok(done) if wrote(done) => self.set(None),
                Err(error @ (LedgerError::Failed(_) | LedgerError::Busy)) => {
                    self.set(Some(error.to_string()))
                }
                // The record said no, which it could.
                _ => {}
            }
            result
        })
    }
}

impl Ledger for Recording {
    fn open(&self, opening: Opening) -> Pending<'_, Opened> {
        self.noted(self.ledger.open(opening), |opened| matches!(opened, Opened::New))
    }
    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> Pending<'_, ()> {
        self.noted(self.ledger.intend(id, intent), |()| true)
    }
    fn settle(&self, settling: Settling) -> Pending<'_, Settled> {
        self.noted(self.ledger.settle(settling), |settled| matches!(settled, Settled::Recorded))
    }
    fn find(&self, find: Find) -> Pending<'_, Option<DeliveryRecord>> {
        self.ledger.find(find)
    }
    fn list(&self, filter: Filter) -> Pending<'_, Vec<DeliveryRecord>> {
        self.ledger.list(filter)
    }
    fn recover(&self, at_ms: u64) -> Pending<'_, Vec<DeliveryId>> {
        self.noted(self.ledger.recover(at_ms), |_| true)
    }
    fn forget(&self, id: DeliveryId) -> Pending<'_, ()> {
        self.noted(self.ledger.forget(id), |()| true)
    }
    fn age(&self, passed_ms: u64, at_ms: u64) -> Pending<'_, ()> {
        self.ledger.age(passed_ms, at_ms)
    }
    fn sweep(&self, kept_ms: u64, most: u32) -> Pending<'_, u32> {
        self.noted(self.ledger.sweep(kept_ms, most), |removed| *removed > 0)
    }
    fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> Pending<'_, ()> {
        self.noted(self.ledger.note_marker(place, at_ms), |()| true)
    }
    fn marked_places(&self) -> Pending<'_, Vec<MarkedPlace>> {
        self.ledger.marked_places()
    }
    fn check(&self) -> Pending<'_, ()> {
        self.noted(self.ledger.check(), |()| true)
    }
    fn describe(&self) -> Description {
        self.ledger.describe()
    }
    fn close(&self) -> Pending<'_, ()> {
        self.ledger.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_ledger::{MemoryLedger, Stamp};

    #[tokio::test]
    async fn the_last_write_says_whether_it_records_and_a_read_says_nothing() {
        let recording = Recording::new(Arc::new(MemoryLedger::new(Stamp::Rehearsal)));
        let fails = |error| recording.noted(Box::pin(async { Err::<(), _>(error) }), |()| true);
        assert_eq!(recording.failure(), None);
        fails(LedgerError::NotFound).await.unwrap_err();
        assert_eq!(recording.failure(), None, "the record said no");
        fails(LedgerError::Failed("disk full".into())).await.unwrap_err();
        assert!(recording.failure().unwrap().contains("disk full"));
        recording.noted(Box::pin(async { Ok(()) }), |()| false).await.unwrap();
        assert!(recording.failure().is_some(), "nothing was written");
        recording.check().await.unwrap();
        assert_eq!(recording.failure(), None);
    }

    /// Each anonymous request for `/ready` wrote to the disk, and one that came before the disk was full said nothing
    /// of it.
    #[tokio::test(start_paused = true)]
    async fn it_is_checked_without_a_request_and_a_hung_disk_shows() {
        let recording = Recording::new(Arc::new(MemoryLedger::new(Stamp::Rehearsal)));
        recording.set(Some("disk full".into()));
        let drain = CancellationToken::new();
        let checked = tokio::time::timeout(CHECK_EVERY * 2, recording.keep_checking(&drain)).await;
        assert!(checked.is_err());
        assert_eq!(recording.failure(), None);
    }
}
