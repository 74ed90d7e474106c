//! What commentd decides about a delivery, as pure code: no socket, no clock, no async.
//!
//! A delivery is the life of one comment. [`machine::Machine`] takes an event and the time and says what to do
//! next; everything it knows about verdicts stands in one table, [`verdict::rule`]. The rooms:
//!
//! - [`verdict`]: what an attempt came to, and what may follow (the one rule table)
//! - [`machine`]: (state, event, now) → actions, for a chain of any length
//! - [`step`]: the events it takes and the actions it asks for
//! - [`gate`]: the atomic *may send* or *cancelled* of one attempt
//! - [`lookup`]: when to ask the channel again, and what proves absence
//! - [`retry`]: backoff and the retry budget
//! - [`breaker`]: whether a provider may be tried at all
//! - [`keyed`]: what a key that is known already means for a new request
//! - [`rule_switch`]: switches for the rules, in builds that are to fail their tests
//! - [`record`]: what the ledger keeps, and the answer that follows from it

pub mod answers;
pub mod breaker;
pub mod fingerprint;
pub mod gate;
pub mod id;
pub mod keyed;
pub mod lookup;
pub mod machine;
pub mod record;
pub mod retry;
pub mod rule_switch;
pub mod step;
pub mod verdict;

pub use commentd_contract::time::{Clock, Moment};
pub use fingerprint::{Comment, Fingerprint};
pub use gate::Gate;
pub use id::DeliveryId;
pub use verdict::Verdict;
