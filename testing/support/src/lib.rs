//! What several test suites share. Everything here is a development dependency, and fails the test that uses it by
//! panicking.
//!
//! - [`http`]: an HTTP client that sends exactly the bytes it is given
//! - [`process`]: programs that serve until the test ends
//! - [`board`]: a board within the test's own process
//! - [`server`]: servers that follow a script and record what arrives
//! - [`wait`]: waiting for a condition

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, and measures by the clock"
)]

pub mod board;
pub mod http;
pub mod process;
pub mod server;
pub mod wait;

pub use board::RunningBoard;
pub use http::{HttpClient, RawResponse};
pub use process::ServingProcess;
pub use wait::{PATIENCE, in_time, wait_at_most, wait_for};
