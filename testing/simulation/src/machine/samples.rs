//! Short ways to say things.

use commentd_contract::VerdictKind;
use commentd_delivery::Verdict;
use std::time::Duration;

/// This many milliseconds.
pub(super) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A verdict of this kind with a text that names it.
pub(super) fn verdict(kind: VerdictKind) -> Verdict {
    Verdict::new(kind, format!("the channel says {kind}"))
}
