//! What becomes of unknown deliveries: recovery at start, lookups in the background, and a person's word. Over
//! both ledgers, with a channel that does as it is told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod background;
mod people;
mod recovery;
mod support;
