//! A context that a test works on by hand, transaction by transaction.

use super::super::context::{Counters, TxContext};
use super::super::{file, operations, schema};
use crate::conformance::{opening, settling, verdict};
use crate::{Opened, Settling, Stamp};
use commentd_contract::VerdictKind;
use rusqlite::Connection;
use tempfile::TempDir;

pub(in super::super) fn file() -> (TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    file::create(&path).unwrap();
    let connection = schema::open(&path, Stamp::Live).unwrap();
    (dir, connection)
}

/// As a process has it that opens the file.
pub(in super::super) fn context(connection: &Connection) -> TxContext<'_> {
    TxContext::new(connection, Counters::load(connection).unwrap())
}

/// A transaction that does this, and is undone if that is asked for.
pub(in super::super) fn group(
    tx: &mut TxContext<'_>,
    undo: bool,
    operations: impl FnOnce(&mut TxContext<'_>),
) {
    tx.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    operations(tx);
    if undo {
        tx.connection.execute_batch("ROLLBACK").unwrap();
        tx.undone();
    } else {
        tx.connection.execute_batch("COMMIT").unwrap();
    }
}

/// Settled when the ledger is as old as its own number says.
pub(in super::super) fn deliver(tx: &mut TxContext<'_>, n: u64) {
    assert_eq!(operations::open(tx, opening(n)).unwrap(), Opened::New, "delivery {n}");
    let settling = Settling { at_ms: n, ..settling(n, 1, verdict(VerdictKind::Delivered)) };
    tx.age.ms = n;
    operations::settle(tx, &settling).unwrap();
}
