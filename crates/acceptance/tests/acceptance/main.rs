//! The acceptance runner against a stub sidecar.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod rounds;
mod schema;
mod stub;
