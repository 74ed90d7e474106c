//! How old a ledger is: the time for which a process has run on it. Deliveries are kept by that, and not by a wall
//! clock, which may be wrong and set right.

use commentd_delivery::rule_switch::{RuleSwitch, is_on};

/// What a time without a process counts for at most, in milliseconds: an hour.
const MOST_APART_MS: u64 = 3_600_000;

/// A ledger's age.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age {
    /// In milliseconds.
    pub(crate) ms: u64,
    /// The wall time at which it was told last, in milliseconds since 1970; 0 if never.
    pub(crate) at_ms: u64,
}

impl Age {
    /// The age after a process has run for so long, by its monotonic clock.
    pub(crate) fn after(self, passed_ms: u64, at_ms: u64) -> Self {
        Self { ms: self.ms.saturating_add(passed_ms), at_ms }
    }

    /// The age when a process begins at this wall time.
    pub(crate) fn at_start(self, at_ms: u64) -> Self {
        let apart_ms = if self.at_ms == 0 { 0 } else { at_ms.saturating_sub(self.at_ms) };
        let most_ms = if is_on(RuleSwitch::OnlyRunningTimeCounts) { MOST_APART_MS } else { u64::MAX };
        self.after(apart_ms.min(most_ms), at_ms)
    }
}
