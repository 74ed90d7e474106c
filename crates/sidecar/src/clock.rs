//! The one place that reads the time.

use commentd_delivery::time::whole_ms;
use commentd_delivery::{Clock, Moment};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The machine's clocks. Its monotonic side is tokio's, so that a paused runtime pauses it.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts counting now.
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The moment as tokio's timers want it.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.start + moment.since_start()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> Moment {
        Moment::at(Instant::now() - self.start)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn unix_ms(&self) -> u64 {
        // A clock before 1970 is wrong; records then say 1970, and nothing else depends on it.
        whole_ms(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }
}
