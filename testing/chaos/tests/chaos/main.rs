//! The program with failpoints from outside: small runs of chaos, healthy and broken, and ledgers that fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test may fail by panicking, says what it skips, and has a deadline"
)]

#[cfg(target_os = "linux")]
mod pages;
#[cfg(target_os = "linux")]
mod power_loss;
mod restart;
mod runs;
mod support;
#[cfg(target_os = "linux")]
mod trace;
mod unrecordable;
