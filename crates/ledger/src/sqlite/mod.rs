//! The ledger in a file: embedded SQLite, one writer thread, one transaction for everything that waits.
//!
//! - `ledger`: the file opened, and the trait
//! - `open_error`: why a file can't be opened
//! - `file`: the path, its parent folder, its mode
//! - `wal`: what a crash has left of the write-ahead log
//! - `wal_file`: the log while it is written
//! - `schema`: what stands in the file, and how an older one is brought up to date
//! - `queue`: what waits for the writer, bounded
//! - `responders`: how those who wait for the writer hear of it
//! - `writer`: group commit, and what a failure means for what comes later
//! - `context`: what the operations work on
//! - `operations`: each operation as SQL
//! - `sweep`: what is past its retention
//! - `keys`: the guard against a second delivery under a key
//! - `ids`: finding a delivery by its id
//! - `statements`: what is written for every comment
//! - `addressings`: what the items of a batch share, written once
//! - `markers`: where a marker of ours was seen
//! - `rows`: records as they are read
//! - `operation_error`: why an operation isn't carried out
//! - `failpoints`: failures that a test asks for

mod addressings;
mod context;
mod failpoints;
mod file;
mod ids;
mod keys;
mod ledger;
mod markers;
mod open_error;
mod operation_error;
mod operations;
mod queue;
mod responders;
mod rows;
mod schema;
mod statements;
mod sweep;
#[cfg(test)]
mod tests;
mod wal;
mod wal_file;
mod writer;

pub use ledger::{SqliteLedger, SqliteOptions};
pub use open_error::OpenError;
