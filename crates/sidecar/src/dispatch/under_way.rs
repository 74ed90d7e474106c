//! What a flight waits for.

use super::links::Lane;
use commentd_delivery::record::DeliveryRecord;
use commentd_delivery::step::Event;
use commentd_ledger::{LedgerError, Opened, Settled};
use futures_util::future::BoxFuture;

/// What comes back from the outside.
pub(super) enum Back {
    Lane(usize, Lane),
    Opened(Result<Opened, LedgerError>),
    /// What is known of the key whose intent can't be recorded.
    Found(Result<Option<DeliveryRecord>, LedgerError>),
    Intended(Result<(), LedgerError>),
    Settled(Result<Settled, LedgerError>),
    Event(Event),
}

/// What is under way for a flight: at most one of each kind.
#[derive(Default)]
pub(super) struct UnderWay {
    pub(super) ledger: Option<BoxFuture<'static, Back>>,
    pub(super) queue: Option<BoxFuture<'static, Back>>,
    pub(super) attempt: Option<BoxFuture<'static, Back>>,
    pub(super) look: Option<BoxFuture<'static, Back>>,
    pub(super) wake: Option<BoxFuture<'static, Back>>,
}

impl UnderWay {
    /// The next thing that comes back. Cancel safe: what is under way stays.
    pub(super) async fn next(&mut self) -> Back {
        tokio::select! {
            biased;
            back = next_of(&mut self.ledger) => back,
            back = next_of(&mut self.queue) => back,
            back = next_of(&mut self.attempt) => back,
            back = next_of(&mut self.look) => back,
            back = next_of(&mut self.wake) => back,
        }
    }
}

async fn next_of(slot: &mut Option<BoxFuture<'static, Back>>) -> Back {
    match slot {
        None => std::future::pending().await,
        Some(future) => {
            let back = future.as_mut().await;
            *slot = None;
            back
        }
    }
}
