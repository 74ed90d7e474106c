//! The gate of an attempt: the one place where *not sent* and *maybe sent* part.

use std::sync::atomic::{AtomicU8, Ordering};

const CLOSED: u8 = 0;
const PASSED: u8 = 1;
const CANCELLED: u8 = 2;

/// Decides, once and for all threads, whether an attempt may hand its comment over.
///
/// A provider calls [`Gate::pass`] immediately before the request that carries the comment is handed to its
/// connection, and sends only if it returns true. The dispatcher calls [`Gate::cancel`] when the time is up.
/// Whichever comes first wins; the loser is told so. Position, never the kind of a later error, decides
/// `not_sent`.
#[derive(Debug, Default)]
pub struct Gate(AtomicU8);

impl Gate {
    /// A gate that nobody has passed or cancelled.
    pub const fn new() -> Self {
        Self(AtomicU8::new(CLOSED))
    }

    /// Asks to send. True exactly once, and never after a cancellation.
    #[must_use]
    pub fn pass(&self) -> bool {
        self.0.compare_exchange(CLOSED, PASSED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Forbids sending. True if nothing was sent and now never will be; false if the gate was passed.
    #[must_use]
    pub fn cancel(&self) -> bool {
        match self.0.compare_exchange(CLOSED, CANCELLED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(state) => state == CANCELLED,
        }
    }

    /// Whether the comment may have left.
    pub fn is_passed(&self) -> bool {
        self.0.load(Ordering::Acquire) == PASSED
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
