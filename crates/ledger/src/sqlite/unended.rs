//! Which deliveries have no row in `ends`, because their first attempt hasn't ended.
//!
//! No index leads to them: a row that only says that a delivery is open would be written at the opening, and anew at
//! the end. They are few, and kept in memory; a start finds them among the deliveries beyond the one that `meta`
//! names. Those that are still open when that passes them get their row all the same, so that a start never looks
//! further back.

use rusqlite::Connection;
use std::collections::BTreeSet;

/// The numbers of the deliveries without a row in `ends`.
#[derive(Debug, Default)]
pub(super) struct Unended {
    numbers: BTreeSet<i64>,
    /// What this transaction adds and removes.
    added: Vec<i64>,
    removed: Vec<i64>,
}

impl Unended {
    /// Those that the file has beyond the delivery with this number.
    pub(super) fn load(connection: &Connection, named: i64) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare(WITHOUT_END)?;
        let numbers = statement.query_map([named], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok(Self { numbers, ..Self::default() })
    }

    /// Notes a delivery that this transaction adds.
    pub(super) fn add(&mut self, number: i64) {
        self.numbers.insert(number);
        self.added.push(number);
    }

    /// Notes that this transaction writes the row of a delivery, if it is the first time.
    pub(super) fn remove(&mut self, number: i64) {
        if self.numbers.remove(&number) {
            self.removed.push(number);
        }
    }

    /// Writes the rows of those up to this number: open, and so unknown.
    pub(super) fn write_up_to(&mut self, connection: &Connection, last: i64) -> rusqlite::Result<()> {
        let numbers: Vec<i64> = self.numbers.range(..=last).copied().collect();
        let mut insert = connection.prepare_cached(INSERT_OPEN)?;
        for number in numbers {
            insert.execute([number])?;
            self.remove(number);
        }
        Ok(())
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = i64> {
        self.numbers.iter().rev().copied()
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.added.clear();
        self.removed.clear();
    }

    /// The transaction is undone. What it both added and removed was never there.
    pub(super) fn undone(&mut self) {
        self.numbers.extend(self.removed.drain(..));
        for number in self.added.drain(..) {
            self.numbers.remove(&number);
        }
    }
}

pub(super) const WITHOUT_END: &str = "SELECT number FROM deliveries LEFT JOIN ends ON delivery = number \
     WHERE number > ?1 AND delivery IS NULL ORDER BY number";
// A row that is there already says more.
const INSERT_OPEN: &str =
    "INSERT INTO ends (delivery, outcome) VALUES (?1, 'unknown') ON CONFLICT DO NOTHING";

#[cfg(test)]
mod tests;
