//! The first tier: the pure machine against a modelled ledger, channels and network.
//!
//! A history is the whole life of one delivery: several runs of the machine over a chain of up to four channels,
//! with crashes, hang-ups, requests that come again under the same key, lookups, a person who settles what is
//! unknown, and a ledger that fails. The model knows what really happened, and holds every answer and every record
//! against it.

#![allow(clippy::indexing_slicing, reason = "in a model, an index that is wrong should fail loudly")]

pub mod channel;
pub mod dice;
mod driver;
mod health;
pub mod history;
mod ledger;
mod promise;
mod samples;
pub mod world;
