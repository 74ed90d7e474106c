//! What goes on without a caller: closing what an earlier process left open, and looking up what is unknown.

use super::in_flight::Joined;
use super::lookups::LookupPermit;
use super::state::DispatcherState;
use super::task;
use commentd_contract::Outcome;
use commentd_delivery::{Clock, DeliveryId};
use commentd_ledger::{FindBy, LedgerError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a ledger that couldn't record at the start what was left open is asked again.
const RECOVER_EVERY: Duration = Duration::from_secs(1);
/// How long a ledger that is busy or failing is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// Closes what an earlier process left open once the ledger can record again. Ends with the drain.
pub(super) async fn recover_later(state: Arc<DispatcherState>) {
    loop {
        tokio::select! {
            () = state.drain.wait() => return,
            () = tokio::time::sleep(RECOVER_EVERY) => {}
        }
        match state.ledger.recover(state.clock.unix_ms()).await {
            Ok(unknown) => {
                tracing::info!("the ledger records again; {} deliveries are unknown", unknown.len());
                state.is_unrecovered.store(false, Ordering::Release);
                state.backlog.add(unknown);
                return;
            }
            Err(LedgerError::Closed) => return,
            Err(error) => tracing::debug!(%error, "the ledger can't record yet"),
        }
    }
}

/// Looks up everything in the backlog, as permits come free, until the drain.
pub(super) async fn look_up_backlog(state: Arc<DispatcherState>) {
    let mut is_failing = false;
    loop {
        let next = tokio::select! {
            biased;
            () = state.drain.wait() => return,
            next = state.backlog.next() => next,
        };
        let Some((id, permit)) = next else { return };
        match look_up_one(&state, id, permit).await {
            Ok(()) => is_failing = false,
            Err(LedgerError::Closed) => return,
            Err(error) => {
                if !is_failing && error != LedgerError::Busy {
                    tracing::error!(%id, %error, "an unknown delivery can't be looked up yet; it is tried again");
                    is_failing = true;
                }
                state.backlog.add([id]);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn look_up_one(
    state: &Arc<DispatcherState>,
    id: DeliveryId,
    permit: LookupPermit,
) -> Result<(), LedgerError> {
    // Swept or resolved and swept: nothing is left to look for.
    let Some(record) = state.ledger.find(FindBy::Id(id)).await? else { return Ok(()) };
    // Whoever has it in flight looks on by itself.
    if record.outcome() != Outcome::Unknown || state.in_flight.get(&record.key).is_some() {
        return Ok(());
    }
    let record = state.interrupt(record).await?;
    let Some(comment) = record.comment.clone() else {
        // Without its target, a lookup would ask in the wrong place, and not finding it there proves nothing.
        tracing::info!(%id, "its comment was forgotten, so it can't be looked up; it stays unknown");
        return Ok(());
    };
    if let Joined::Leader(delivery) = state.in_flight.join(&record.key, record.fingerprint) {
        state.tasks.spawn(task::look_up(Arc::clone(state), delivery, record, comment, permit));
    }
    Ok(())
}
