//! Judges the promise of SPEC 3 from outside.
//!
//! It knows two things: what clients asked and were answered, in the order in which it happened ([`log`]), and what
//! the channel has stored ([`channel`]). It knows nothing of deliveries, attempts, or the ledger. [`check()`] goes
//! through them key by key.
//!
//! Every comment that clients ask for has a text of its own, so that a comment at the channel belongs to a key
//! without anybody's word for it.

pub mod channel;
pub mod check;
pub mod log;
pub mod summary;

pub use channel::ChannelRecord;
pub use check::{Excuse, Violation, check};
pub use log::{CallEvent, CommentHistory, ItemReply};
pub use summary::Summary;
