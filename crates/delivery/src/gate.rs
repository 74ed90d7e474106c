//! The gate of an attempt: the one place where *not sent* and *maybe sent* part.

use commentd_contract::time::Moment;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

const CLOSED: u8 = 0;
const PASSED: u8 = 1;
const CANCELLED: u8 = 2;
/// The attempt waits for something of our own, and has not gone on yet.
const WAITS: u64 = u64::MAX;

/// Decides, once and for all threads, whether an attempt may hand its comment over.
///
/// A provider calls [`Gate::pass`] immediately before the request that carries the comment is handed to its
/// connection, and sends only if it returns true. The dispatcher calls [`Gate::cancel`] when the time is up.
/// Whichever comes first wins; the loser is told so. Position, never the kind of a later error, decides
/// `not_sent`.
///
/// It also knows whether the attempt waits for something that isn't its provider's: a queue of ours, another's call.
#[derive(Debug, Default)]
pub struct Gate {
    state: AtomicU8,
    /// 0 if it never waited, [`WAITS`] while it does, and then when it went on, in µs.
    went_on: AtomicU64,
}

impl Gate {
    /// A gate that nobody has passed or cancelled.
    pub const fn new() -> Self {
        Self { state: AtomicU8::new(CLOSED), went_on: AtomicU64::new(0) }
    }

    /// Asks to send. True exactly once, and never after a cancellation.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.state.compare_exchange(CLOSED, PASSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Forbids sending. True if nothing was sent and now never will be; false if the gate was passed.
    #[must_use]
    pub fn cancel(&self) -> bool {
        match self.state.compare_exchange(CLOSED, CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == CANCELLED,
        }
    }

    /// Whether the comment may have left.
    pub fn is_passed(&self) -> bool {
        self.state.load(Ordering::Acquire) == PASSED
    }

    /// From now on the attempt waits for something of our own; [`Gate::goes_on`] must follow.
    pub fn waits(&self) {
        self.went_on.store(WAITS, Ordering::Release);
    }

    /// The wait for something of our own is over.
    pub fn goes_on(&self, now: Moment) {
        let us = u64::try_from(now.since_start().as_micros()).unwrap_or(WAITS).clamp(1, WAITS - 1);
        self.went_on.store(us, Ordering::Release);
    }

    /// How the attempt has waited for something of our own.
    pub fn own_wait(&self) -> OwnWait {
        match self.went_on.load(Ordering::Acquire) {
            0 => OwnWait::Never,
            WAITS => OwnWait::Waits,
            us => OwnWait::Until(Moment::at(Duration::from_micros(us))),
        }
    }
}

/// Whether an attempt has waited for something that isn't its provider's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnWait {
    /// It hasn't.
    Never,
    /// It still does.
    Waits,
    /// It went on at this moment.
    Until(Moment),
}

impl OwnWait {
    /// Whether the attempt has waited for something of our own, and its provider has had less than `fair` since.
    pub fn is_all(self, fair: Duration, now: Moment) -> bool {
        match self {
            OwnWait::Never => false,
            OwnWait::Waits => true,
            OwnWait::Until(went_on) => now.since(went_on) < fair,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_pass_and_cancel_wins() {
        let gate = Gate::new();
        assert!(gate.pass());
        assert!(!gate.pass() && !gate.cancel() && gate.is_passed());
        let gate = Gate::new();
        assert!(gate.cancel() && gate.cancel());
        assert!(!gate.pass() && !gate.is_passed());
    }

    #[test]
    fn what_has_only_waited_for_us_is_known() {
        let at = |ms| Moment::at(Duration::from_millis(ms));
        let (gate, fair) = (Gate::new(), Duration::from_millis(500));
        assert!(!gate.own_wait().is_all(fair, at(900)));
        gate.waits();
        assert!(gate.own_wait().is_all(fair, at(9000)));
        gate.goes_on(at(9000));
        assert!(gate.own_wait().is_all(fair, at(9499)) && !gate.own_wait().is_all(fair, at(9500)));
    }

    #[test]
    fn racing_threads_never_both_win() {
        for _ in 0..2000 {
            let gate = Gate::new();
            let (passed, cancelled) = std::thread::scope(|scope| {
                let passing = scope.spawn(|| gate.pass());
                let cancelling = scope.spawn(|| gate.cancel());
                (passing.join().unwrap(), cancelling.join().unwrap())
            });
            assert!(passed != cancelled);
        }
    }
}
