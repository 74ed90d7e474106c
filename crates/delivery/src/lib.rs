//! What commentd decides about a delivery, as pure code: no socket, no clock, no async.
//!
//! A delivery is the life of one comment. [`machine::Machine`] takes an event and the time and says what to do
//! next; everything it knows about verdicts stands in one table, [`verdict::rule`].
//!
//! - [`verdict`]: what an attempt came to, and what may follow (the one rule table)
//! - [`machine`]: (state, event, now) → actions, for a chain of any length
//! - [`step`]: the events that it takes and the actions that it asks for
//! - [`outcome`]: what a delivery comes to by its verdicts, and which of them speaks for it
//! - [`reply`]: what its caller is told
//! - [`follower`]: what a request does that finds its delivery in flight
//! - [`gate`]: the atomic *may send* or *cancelled* of one attempt
//! - [`lookup`]: when to ask the channel again, and what proves absence
//! - [`retry`]: backoff and the retry budget
//! - [`breaker`]: whether a provider may be tried at all
//! - [`record`]: what the ledger keeps; [`known`]: the same, as a decision needs it
//! - [`rule_switch`]: switches for the rules, in builds that are to fail their tests

pub mod breaker;
mod conclusion;
pub mod fingerprint;
pub mod follower;
pub mod gate;
pub mod id;
pub mod known;
pub mod lookup;
pub mod machine;
pub mod outcome;
pub mod record;
pub mod reply;
pub mod retry;
pub mod rule_switch;
pub mod step;
pub mod verdict;

pub use commentd_contract::time::{Clock, Moment};
pub use fingerprint::{Comment, Fingerprint};
pub use gate::Gate;
pub use id::DeliveryId;
pub use verdict::Verdict;
