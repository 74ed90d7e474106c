//! What all deliveries of a dispatcher share.

use super::admission::Admission;
use super::chain::Chain;
use super::in_flight::InFlight;
use super::ledger_health::LedgerHealth;
use super::lookups::{Backlog, LookupLimiter, Markers, Windows};
use commentd_contract::SystemClock;
use commentd_delivery::id::Ids;
use commentd_delivery::known::KnownDelivery;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, interrupted};
use commentd_delivery::{Clock, DeliveryId};
use commentd_ledger::{AttemptEnd, FindBy, LedgerError, Opened, Opening, Settling};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) struct DispatcherState {
    pub(super) chain: Chain,
    pub(super) ledger: LedgerHealth,
    pub(super) clock: SystemClock,
    pub(super) ids: Arc<dyn Ids>,
    pub(super) in_flight: InFlight,
    pub(super) admission: Admission,
    pub(super) lookups: LookupLimiter,
    pub(super) markers: Markers,
    pub(super) backlog: Backlog,
    pub(super) windows: Windows,
    pub(super) tasks: TaskTracker,
    pub(super) drain: Signal,
    /// Whoever waits is answered, and whoever comes doesn't wait.
    pub(super) answers_now: Signal,
    /// Whether what an earlier process left open is still to be recorded. Until then nothing is opened, since that
    /// would be taken for it.
    pub(super) is_unrecovered: AtomicBool,
}

/// Something that happens once, for all. Each delivery asks whether it has, so asking takes no lock.
#[derive(Default)]
pub(super) struct Signal {
    is_on: AtomicBool,
    token: CancellationToken,
}

impl Signal {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    pub(super) fn set(&self) {
        self.is_on.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Waits until it has happened. Cancel safe.
    pub(super) async fn wait(&self) {
        self.token.cancelled().await;
    }
}

impl DispatcherState {
    /// Claims a key, or tells what stands under it.
    pub(super) async fn open(&self, opening: Opening) -> Result<Opened, LedgerError> {
        if !self.is_unrecovered.load(Ordering::Acquire) {
            return self.ledger.open(opening).await;
        }
        let known = self.ledger.find(FindBy::Key(opening.key)).await?;
        known.map(|record| Opened::Known(Box::new(record))).ok_or_else(not_recovered)
    }

    /// Records the intent of another attempt.
    pub(super) async fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> Result<(), LedgerError> {
        if self.is_unrecovered.load(Ordering::Acquire) {
            return Err(not_recovered());
        }
        self.ledger.intend(id, intent).await
    }

    /// Ends the attempts of a delivery that are open although nobody has it in flight, as the end of their process
    /// would: nobody else will end them any more.
    pub(super) async fn interrupt(&self, record: DeliveryRecord) -> Result<DeliveryRecord, LedgerError> {
        if !record.is_open() {
            return Ok(record);
        }
        for attempt in record.attempts.iter().filter(|attempt| attempt.verdict.is_none()) {
            let end = AttemptEnd::Verdict(interrupted());
            let settling =
                Settling { id: record.id, attempt: attempt.number, end, at_ms: self.clock.unix_ms() };
            match self.ledger.settle(settling).await {
                // Somebody has ended it meanwhile.
                Ok(_) | Err(LedgerError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        self.ledger.find(FindBy::Id(record.id)).await?.ok_or(LedgerError::NotFound)
    }

    /// A record as a decision about it needs it.
    pub(super) fn known(&self, record: &DeliveryRecord) -> KnownDelivery {
        let started = self.windows.started(record.id);
        KnownDelivery::new(record, |destination| self.chain.leading_to(destination), &started)
    }
}

fn not_recovered() -> LedgerError {
    LedgerError::Failed("it couldn't record yet what was open when the process before ended".into())
}
