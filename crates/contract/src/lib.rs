//! The v1 wire between commentd and its callers: requests, replies, codes and the acceptance report.
//!
//! Only types, parsing and serialisation live here. Nothing in this crate opens a socket, reads a clock or
//! decides what happens to a comment; an existing v1 client can be understood from this crate alone.

mod code;
pub mod deliveries;
mod key;
pub mod limits;
mod outcome;
pub mod provider;
mod reply;
pub mod report;
mod request;
pub mod shared;
pub mod terminal;

pub use code::Code;
pub use key::{IdempotencyKey, KeyError};
pub use outcome::{Outcome, ProviderName, VerdictKind};
pub use reply::{AttemptView, BatchData, ErrorData, ItemResult, KeyOwner, Reply, SingleData};
pub use request::{
    Addressing, BatchRequest, CommentRequest, Intake, RequestError, StandIns, TextOrNumber, Var,
};
