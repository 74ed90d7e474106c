//! What becomes of unknown deliveries: recovery at start, lookups in the background, and a person's word. Over
//! both ledgers, with a channel that does as it is told. And what is said of keys that the ledger is slow to read, or
//! whose callers hang up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod again;
mod background;
mod hang_up;
mod healing;
mod markers;
mod pace_and_breaker;
mod people;
mod recovery;
mod support;
mod unread;
