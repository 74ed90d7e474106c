//! One serving of a board, from its start to the end of its drain.

use crate::state::BoardState;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How far a serving board has come.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) enum ServingPhase {
    Open,
    /// No new connections; faults hold nothing any more.
    Draining,
    /// The drain took too long; nothing is started any more.
    Ended,
}

/// One serving of a board: what its handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) state: Arc<BoardState>,
    phase: watch::Receiver<ServingPhase>,
    /// The serving ends when the last clone is gone: each piece of work holds one.
    _working: mpsc::Sender<Infallible>,
}

impl Serving {
    /// The serving goes through `phase`, and has ended when the receiver of `working` says that no clone is left.
    pub(crate) fn new(
        state: Arc<BoardState>,
        phase: watch::Receiver<ServingPhase>,
        working: mpsc::Sender<Infallible>,
    ) -> Self {
        Self { state, phase, _working: working }
    }

    /// Waits. False when the serving reached `until` first, or was dropped.
    pub(crate) async fn pause(&self, pause_ms: u64, until: ServingPhase) -> bool {
        if pause_ms == 0 {
            return *self.phase.borrow() < until;
        }
        tokio::select! {
            () = sleep(Duration::from_millis(pause_ms)) => true,
            () = self.reached(until) => false,
        }
    }

    /// Resolves when the serving has reached this phase, or was dropped.
    pub(crate) async fn reached(&self, phase: ServingPhase) {
        // An error means that the serving is gone, which is past every phase.
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}
