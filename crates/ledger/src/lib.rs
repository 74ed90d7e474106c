//! The durable record of deliveries, behind one trait.
//!
//! [`Ledger`] is what the sidecar knows. [`SqliteLedger`] is the default; [`MemoryLedger`] is for tests,
//! benchmarks and rehearsals. Both pass the same conformance suite (`conformance`, behind the feature of that
//! name). Nothing in the trait assumes one machine: a claim is one operation, and a settling names what it
//! settles.
//!
//! - `ledger`: the trait, and what its operations take and return
//! - `error`: why an operation was not carried out
//! - `rules`: what the record allows; pure, shared by every ledger
//! - `age`: how long a process has run on a ledger
//! - `lock`: one process for one file
//! - `own_files`: files that are ours, and which file a name leads to
//! - `sqlite`: the ledger in a file
//! - `memory`: the same in a map

mod age;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod error;
mod ledger;
mod lock;
mod memory;
mod own_files;
mod rules;
mod sqlite;

pub use error::LedgerError;
pub use ledger::{
    AttemptEnd, FindBy, Ledger, LedgerDescription, LedgerFuture, MAX_LISTED, MarkedPlace, Opened, Opening,
    RecordFilter, Settled, Settling, Stamp,
};
pub use lock::{LockError, LockHolder};
pub use memory::MemoryLedger;
pub use sqlite::{OpenError, SqliteLedger, SqliteOptions};
