//! What the operations of the one writer work on.

use super::addressings::SharedAddressings;
use super::ids;
use super::operation_error::OperationError;
use super::rows::{self, column_ms};
use super::statements::Statements;
use crate::LedgerError;
use crate::age::Age;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::AttemptRecord;
use rusqlite::{Connection, params};
use std::collections::HashMap;

/// What a start reads from the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counters {
    /// The number of the next delivery: one that none has.
    next_number: i64,
    age: Age,
}

impl Counters {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |name| connection.query_row(META, [name], |row| row.get(0)).map(rows::record_ms);
        let age = Age { ms: number("aged_ms")?, at_ms: number("aged_at_ms")? };
        let last: i64 = connection.query_row(LAST_NUMBER, [], |row| row.get(0))?;
        Ok(Self { next_number: last.saturating_add(1), age })
    }
}

/// The database as its one writer has it.
pub(super) struct TxContext<'c> {
    pub(super) connection: &'c Connection,
    /// Compiled once.
    pub(super) statements: Statements<'c>,
    pub(super) addressings: SharedAddressings,
    /// How old the ledger is.
    pub(super) age: Age,
    /// How old the file says it is.
    recorded_age: Age,
    next_number: i64,
    /// Deliveries with an open attempt as the transaction has them, so that a settling needn't read what this process
    /// has just written. Some may be missing.
    open: HashMap<DeliveryId, OpenDelivery>,
}

/// A delivery's number, and its attempts.
pub(super) struct OpenDelivery {
    pub(super) number: i64,
    pub(super) attempts: Vec<AttemptRecord>,
}

/// Most deliveries that are kept in mind. Some may never be settled, so at this number all are dropped.
const MOST_OPEN: usize = 8192;
/// How much of its age a ledger may lose in a crash, in milliseconds: it then keeps deliveries for longer.
const RECORD_AGE_EVERY_MS: u64 = 600_000;

const META: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1";
const LAST_NUMBER: &str = "SELECT coalesce(max(number), 0) FROM deliveries";

impl<'c> TxContext<'c> {
    pub(super) fn new(connection: &'c Connection, counters: Counters) -> Self {
        Self {
            connection,
            statements: Statements::default(),
            addressings: SharedAddressings::default(),
            age: counters.age,
            recorded_age: counters.age,
            next_number: counters.next_number,
            open: HashMap::new(),
        }
    }

    /// The transaction is undone, and with it what is remembered of it. Time has passed all the same.
    pub(super) fn undone(&mut self) {
        self.recorded_age = Age::default();
        self.addressings.forget();
        self.open.clear();
    }

    pub(super) fn next_number(&self) -> i64 {
        self.next_number
    }

    /// A delivery was added under the next number.
    pub(super) fn added(&mut self, id: DeliveryId, attempts: Vec<AttemptRecord>) {
        self.remember(id, self.next_number, attempts);
        self.next_number += 1;
    }

    pub(super) fn remember(&mut self, id: DeliveryId, number: i64, attempts: Vec<AttemptRecord>) {
        if self.open.len() >= MOST_OPEN {
            self.open.clear();
        }
        self.open.insert(id, OpenDelivery { number, attempts });
    }

    /// The delivery with this id, for changing it: it isn't remembered any more.
    pub(super) fn take(&mut self, id: &DeliveryId) -> Result<OpenDelivery, OperationError> {
        if let Some(open) = self.open.remove(id) {
            return Ok(open);
        }
        let number = ids::find(self.connection, id.as_bytes())?.ok_or(LedgerError::NotFound)?;
        let attempts = rows::attempts(self.connection, number)?.ok_or(LedgerError::NotFound)?;
        Ok(OpenDelivery { number, attempts })
    }

    /// Nothing is remembered of open deliveries any more.
    pub(super) fn forget_open(&mut self) {
        self.open.clear();
    }

    /// Lets the ledger grow older, and writes that at times.
    pub(super) fn grow_older(&mut self, passed_ms: u64, at_ms: u64) -> rusqlite::Result<()> {
        self.age = self.age.after(passed_ms, at_ms);
        if self.age.ms.saturating_sub(self.recorded_age.ms) >= RECORD_AGE_EVERY_MS {
            self.record_age()?;
        }
        Ok(())
    }

    /// Writes the ledger's age if the file has another.
    pub(super) fn record_age(&mut self) -> rusqlite::Result<()> {
        if self.age != self.recorded_age {
            let mut statement =
                self.connection.prepare_cached("UPDATE meta SET value = CAST(?2 AS TEXT) WHERE name = ?1")?;
            statement.execute(params!["aged_ms", column_ms(self.age.ms)])?;
            statement.execute(params!["aged_at_ms", column_ms(self.age.at_ms)])?;
            self.recorded_age = self.age;
        }
        Ok(())
    }
}
