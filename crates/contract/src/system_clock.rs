//! The one place that reads the machine's clocks.

use crate::time::{Clock, Moment, whole_ms};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The machine's clocks. Its monotonic side is tokio's, so that a paused runtime pauses it.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
    wall: Wall,
}

/// Where wall time comes from.
#[derive(Clone, Copy, Debug)]
enum Wall {
    System,
    /// It was this, in milliseconds since 1970, when the clock started, and goes on with the monotonic side.
    Given(u64),
}

impl SystemClock {
    /// Starts counting now.
    pub fn start() -> Self {
        Self::with(Wall::System)
    }

    /// Starts counting now, at this wall time (in milliseconds since 1970) instead of the system's: on a paused
    /// runtime, all of it is simulated.
    pub fn start_at(unix_ms: u64) -> Self {
        Self::with(Wall::Given(unix_ms))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn with(wall: Wall) -> Self {
        Self { start: Instant::now(), wall }
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
        match self.wall {
            // A clock before 1970 is wrong; records then say 1970, and nothing else depends on it.
            Wall::System => {
                whole_ms(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
            }
            Wall::Given(unix_ms) => unix_ms.saturating_add(whole_ms(self.now().since_start())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_given_wall_time_goes_on_with_the_paused_clock() {
        let clock = SystemClock::start_at(1_000_000);
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!((clock.unix_ms(), clock.now()), (1_001_500, Moment::at(Duration::from_millis(1500))));
    }
}
