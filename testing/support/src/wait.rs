//! Waiting for a condition.

use std::time::{Duration, Instant};

/// The longest that a test waits for a condition. Generous: machines are shared and slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`, and fails the test naming `what` if it never does.
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    wait_at_most(PATIENCE, what, holds);
}

/// As [`wait_for`] with another patience, for what takes its time by design.
pub fn wait_at_most(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for {what}");
        // The condition has no event to wait for.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits for `future`, and fails the test naming `what` if it takes longer than [`PATIENCE`].
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("waited {PATIENCE:?} in vain for {what}"))
}
