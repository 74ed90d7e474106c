//! Time, as it is handed to whoever needs it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on the monotonic clock of this process, counted from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(Duration);

impl Moment {
    /// The start of the process.
    pub const START: Moment = Moment(Duration::ZERO);

    /// The moment this long after the start.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// How long after the start this is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero if it isn't after it.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;
    fn add(self, rhs: Duration) -> Moment {
        Moment(self.0.saturating_add(rhs))
    }
}

impl Sub<Moment> for Moment {
    type Output = Duration;
    fn sub(self, rhs: Moment) -> Duration {
        self.since(rhs)
    }
}

/// The one source of time. Durations and proofs use [`Clock::now`]; records for people use [`Clock::unix_ms`],
/// which may jump. Neither blocks.
pub trait Clock: Send + Sync {
    /// Monotonic.
    fn now(&self) -> Moment;
    /// Wall time, in milliseconds since 1970 (UTC).
    fn unix_ms(&self) -> u64;
}

/// `duration` in whole milliseconds, rounded down, saturating.
pub fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
