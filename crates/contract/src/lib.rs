//! The v1 wire between commentd and its callers: requests, replies, codes and the acceptance report.
//!
//! By default there are only types, parsing and serialisation here: no socket is opened, no clock read, and nothing
//! decided about a comment. Two features add what callers of a sidecar share: `client`, an HTTP client that speaks the
//! contract, and `system-clock`, the machine's [`time::Clock`].

#[cfg(feature = "client")]
pub mod client;
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
#[cfg(feature = "system-clock")]
mod system_clock;
pub mod terminal;
pub mod time;

pub use code::Code;
pub use key::{IdempotencyKey, KeyError};
pub use outcome::{Outcome, ProviderName, VerdictKind};
pub use reply::{AttemptView, BatchData, ErrorData, ItemResult, KeyOwner, Reply, SingleData};
pub use request::{
    Addressing, BatchRequest, CommentRequest, Intake, RequestError, StandIns, TextOrNumber, Var,
};
#[cfg(feature = "system-clock")]
pub use system_clock::SystemClock;
