//! How a flight makes durable what an attempt came to: as often as it takes.

use super::{Run, number};
use crate::dispatch::markers;
use crate::dispatch::under_way::Back;
use commentd_delivery::record::{Resolution, ResolvedBy};
use commentd_delivery::rule_switch::{RuleSwitch, is_off};
use commentd_delivery::step::Event;
use commentd_delivery::{Clock, Verdict};
use commentd_ledger::{End, LedgerError, Settled, Settling};
use commentd_providers::failpoint::{self, Failpoint};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait before a settling that failed is tried again: at first, and at most; it doubles each time.
const RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// Retries after which a drain doesn't wait for it any more.
const MOST_RETRIES_IN_A_DRAIN: u32 = 8;

impl Run {
    pub(super) fn record_settling(&mut self, attempt: usize, verdict: Verdict, resolves: bool) {
        markers::note(&self.inner);
        let at_ms = self.inner.clock.unix_ms();
        let end = if resolves {
            End::Resolution(Resolution { by: ResolvedBy::Lookup, at_ms, verdict })
        } else {
            tracing::debug!(verdict = %verdict.kind, message = %verdict.message, "attempt ended");
            End::Verdict(verdict)
        };
        let settling = Settling { id: self.id, attempt: number(attempt), end, at_ms };
        self.settle_after(Duration::ZERO, settling, 0);
    }

    /// `None` while the recording is tried again.
    pub(super) fn settled(&mut self, result: Result<Settled, LedgerError>) -> Option<Event> {
        let (settling, failures) = self.settling.take()?;
        match result {
            Ok(Settled::Recorded) => {
                failpoint::reach(Failpoint::AfterRecord);
                let attempt = usize::try_from(settling.attempt).unwrap_or(usize::MAX).saturating_sub(1);
                self.note(attempt, settling.end.into_verdict());
                Some(Event::Settled)
            }
            Ok(Settled::ClaimLost) => {
                tracing::warn!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    "the channel names a comment that another delivery has claimed"
                );
                Some(Event::ClaimLost)
            }
            // A full disk or a full queue may pass, however long it takes. The caller doesn't wait: its answer comes
            // at the deadline.
            Err(error @ (LedgerError::Busy | LedgerError::Failed(_))) if self.may_settle_later(failures) => {
                if failures == 0 {
                    tracing::warn!(
                        id = %self.id,
                        trace_id = %self.trace_id,
                        %error,
                        "the result can't be recorded yet; it is tried again until it is"
                    );
                }
                let wait = RETRY.saturating_mul(1 << failures.min(16)).min(LONGEST_RETRY);
                self.settle_after(wait, settling, failures.saturating_add(1));
                None
            }
            Err(LedgerError::Conflict(reason)) => {
                tracing::info!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    %reason,
                    "the record was settled by somebody else"
                );
                Some(Event::SettlingFailed)
            }
            Err(error) => {
                tracing::error!(
                    id = %self.id,
                    trace_id = %self.trace_id,
                    %error,
                    "the result can't be recorded; it is unknown until a lookup settles it"
                );
                Some(Event::SettlingFailed)
            }
        }
    }

    fn may_settle_later(&self, failures: u32) -> bool {
        let may_wait = !self.inner.drain.is_cancelled() && !is_off(RuleSwitch::SettlingsAreRetried);
        may_wait || failures < MOST_RETRIES_IN_A_DRAIN
    }

    fn settle_after(&mut self, wait: Duration, settling: Settling, failures: u32) {
        let ledger = Arc::clone(&self.inner.ledger);
        self.settling = Some((settling.clone(), failures));
        self.under_way.ledger = Some(Box::pin(async move {
            if failures > 0 {
                tokio::time::sleep(wait).await;
            }
            Back::Settled(ledger.settle(settling).await)
        }));
    }
}
