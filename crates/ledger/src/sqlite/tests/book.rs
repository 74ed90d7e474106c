//! A book that a test keeps by hand, transaction by transaction.

use super::super::operations::{self, Book, Recent};
use super::super::{file, schema};
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
pub(in super::super) fn book(connection: &Connection) -> Book<'_> {
    Book::new(connection, Recent::load(connection).unwrap())
}

pub(in super::super) fn count(connection: &Connection, sql: &str) -> usize {
    let count: u32 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    count as usize
}

/// A transaction that does this, and is undone if that is asked for.
pub(in super::super) fn group(book: &mut Book<'_>, undo: bool, operations: impl FnOnce(&mut Book<'_>)) {
    book.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    operations(book);
    book.move_names(book.recent.names.due()).unwrap();
    if undo {
        book.connection.execute_batch("ROLLBACK").unwrap();
        book.undone();
    } else {
        book.connection.execute_batch("COMMIT").unwrap();
        book.committed();
    }
}

/// Settled when the ledger is as old as its own number says.
pub(in super::super) fn deliver(book: &mut Book<'_>, n: u64) {
    assert_eq!(operations::open(book, opening(n)).unwrap(), Opened::New, "delivery {n}");
    let settling = Settling { at_ms: n, ..settling(n, 1, verdict(VerdictKind::Delivered)) };
    book.recent.age.ms = n;
    operations::settle(book, &settling).unwrap();
}
