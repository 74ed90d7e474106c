//! The one place of this crate that reads a clock.

use std::time::{Duration, Instant, SystemTime};

/// Where [`run`](crate::run()) takes its times from.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment; never goes back. Rounds are measured with it.
    fn monotonic(&self) -> Duration;
    /// The time of day, for the report's `started_at` and `finished_at`.
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

#[allow(clippy::disallowed_methods, reason = "this is the clock that the rest of the crate is handed")]
impl SystemClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the clock that the rest of the crate is handed")]
impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
