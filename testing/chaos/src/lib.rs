//! The promise under `kill -9`.
//!
//! A run keeps a channel alive and ends the sidecar in front of it again and again: at random moments, and at each
//! fence on a comment's way. Many clients send keyed batches meanwhile and come back with the same keys until they
//! know what became of each comment. At the end `commentd-checker` judges what they saw against what the channel
//! has. A run's state is a directory; a second run on it goes on where the first was ended.
//!
//! - [`options`]: what a run is to do
//! - [`upstream`]: the channel, the board with its faults or Isso
//! - [`sidecar`]: the process that is killed
//! - [`client`]: one call, written down before and after
//! - [`work`]: which keys are to be asked
//! - [`life`]: one life of the sidecar
//! - [`state`]: how far a run has come
//! - [`run`]: all of it, and the judgement

pub mod client;
pub mod life;
pub mod options;
pub mod run;
pub mod sidecar;
pub mod state;
pub mod upstream;
pub mod work;

/// Why a run can't go on; the text is for people.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
