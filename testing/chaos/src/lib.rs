//! The promise under `kill -9`.
//!
//! A run keeps a channel alive and ends the sidecar in front of it again and again: at random moments, and at each
//! failpoint on a comment's way. Many clients send keyed batches meanwhile and come back with the same keys until they
//! know what became of each comment. At the end `commentd-checker` judges what they saw against what the channel
//! has. A run's state is a directory; a second run on it goes on where the first was ended.
//!
//! - [`options`]: what a run is to do
//! - [`upstream`]: the channel, the board with its faults or Isso
//! - [`sidecar`]: the process that is killed
//! - [`client`]: one call, written down before and after
//! - [`requests`]: which keys are to be asked
//! - [`life`]: one life of the sidecar
//! - [`state`]: how far a run has come
//! - [`run`]: all of it, and the judgement

pub mod client;
mod error;
pub mod life;
pub mod options;
pub mod run;
pub mod sidecar;
pub mod state;
pub mod upstream;

pub use error::ChaosError;
pub mod requests;
