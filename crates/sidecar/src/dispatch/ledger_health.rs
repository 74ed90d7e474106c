//! The ledger, and whether it records: what its last write came to.

use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord};
use commentd_ledger::{
    FindBy, Ledger, LedgerError, LedgerFuture, MarkedPlace, Opened, Opening, RecordFilter, Settled, Settling,
};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two checks while nothing is known to be wrong, and while something is.
const CHECK_EVERY: Duration = Duration::from_secs(5);
const CHECK_AGAIN: Duration = Duration::from_secs(1);
/// A ledger that needs longer than this to say that it can record can't record in time either.
const PATIENCE: Duration = Duration::from_secs(2);

/// The ledger, with the result of its last write kept.
pub(super) struct LedgerHealth {
    ledger: Arc<dyn Ledger>,
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
}

impl LedgerHealth {
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
    pub(super) async fn keep_checking(&self, drain: impl Future<Output = ()>) {
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
            () = drain => {}
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

    /// The ledger itself, for what neither reads nor writes deliveries.
    pub(super) fn inner(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// Waits for the operation, and notes what it came to if it wrote.
    async fn noted<T>(
        &self,
        operation: LedgerFuture<'_, T>,
        wrote: impl FnOnce(&T) -> bool,
    ) -> Result<T, LedgerError> {
        let result = operation.await;
        match &result {
            Ok(done) if wrote(done) => self.set(None),
            Err(error @ (LedgerError::Failed(_) | LedgerError::Busy)) => self.set(Some(error.to_string())),
            // The record said no, which it could.
            _ => {}
        }
        result
    }

    pub(super) async fn open(&self, opening: Opening) -> Result<Opened, LedgerError> {
        self.noted(self.ledger.open(opening), |opened| matches!(opened, Opened::New)).await
    }

    pub(super) async fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> Result<(), LedgerError> {
        self.noted(self.ledger.intend(id, intent), |()| true).await
    }

    pub(super) async fn settle(&self, settling: Settling) -> Result<Settled, LedgerError> {
        self.noted(self.ledger.settle(settling), |settled| matches!(settled, Settled::Recorded)).await
    }

    pub(super) fn find(&self, find: FindBy) -> LedgerFuture<'_, Option<DeliveryRecord>> {
        self.ledger.find(find)
    }

    pub(super) fn list(&self, filter: RecordFilter) -> LedgerFuture<'_, Vec<DeliveryRecord>> {
        self.ledger.list(filter)
    }

    pub(super) async fn recover(&self, at_ms: u64) -> Result<Vec<DeliveryId>, LedgerError> {
        self.noted(self.ledger.recover(at_ms), |_| true).await
    }

    pub(super) async fn forget(&self, id: DeliveryId) -> Result<(), LedgerError> {
        self.noted(self.ledger.forget(id), |()| true).await
    }

    pub(super) async fn sweep(&self, kept_ms: u64, most: u32) -> Result<u32, LedgerError> {
        self.noted(self.ledger.sweep(kept_ms, most), |removed| *removed > 0).await
    }

    pub(super) fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> LedgerFuture<'_, ()> {
        self.ledger.note_marker(place, at_ms)
    }

    pub(super) fn marked_places(&self) -> LedgerFuture<'_, Vec<MarkedPlace>> {
        self.ledger.marked_places()
    }

    pub(super) async fn check(&self) -> Result<(), LedgerError> {
        self.noted(self.ledger.check(), |()| true).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_ledger::{MemoryLedger, Stamp};

    #[tokio::test]
    async fn the_last_write_says_whether_it_records_and_a_read_says_nothing() {
        let health = LedgerHealth::new(Arc::new(MemoryLedger::new(Stamp::Rehearsal)));
        let fails = |error| health.noted(Box::pin(async { Err::<(), _>(error) }), |()| true);
        assert_eq!(health.failure(), None);
        fails(LedgerError::NotFound).await.unwrap_err();
        assert_eq!(health.failure(), None, "the record said no");
        fails(LedgerError::Failed("disk full".into())).await.unwrap_err();
        assert!(health.failure().unwrap().contains("disk full"));
        health.noted(Box::pin(async { Ok(()) }), |()| false).await.unwrap();
        assert!(health.failure().is_some(), "nothing was written");
        health.check().await.unwrap();
        assert_eq!(health.failure(), None);
    }

    /// Each anonymous request for `/ready` wrote to the disk, and one that came before the disk was full said nothing
    /// of it.
    #[tokio::test(start_paused = true)]
    async fn it_is_checked_without_a_request_and_a_hung_disk_shows() {
        let health = LedgerHealth::new(Arc::new(MemoryLedger::new(Stamp::Rehearsal)));
        health.set(Some("disk full".into()));
        let checked =
            tokio::time::timeout(CHECK_EVERY * 2, health.keep_checking(std::future::pending())).await;
        assert!(checked.is_err());
        assert_eq!(health.failure(), None);
    }
}
