//! What the end-to-end tests share.

pub mod http;
pub mod process;
pub mod proxy;
pub mod rig;

pub use http::{Answer, Client};
pub use process::{Board, Program, Sidecar};
pub use rig::Rig;

use std::time::{Duration, Instant};

/// The longest that a test waits for a condition. Generous: machines are shared and slow.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `holds`, and fails the test naming `what` if it never does.
pub fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    wait_at_most(PATIENCE, what, holds);
}

/// The same with another patience, for what takes its time by design.
pub fn wait_at_most(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "waited {patience:?} in vain for {what}");
        // A poll of a condition that has no event to wait for.
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A reply's value at a path of dots, for example `data.outcome`.
pub fn at<'a>(json: &'a serde_json::Value, path: &str) -> &'a serde_json::Value {
    path.split('.').fold(json, |value, part| match part.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[part],
    })
}
