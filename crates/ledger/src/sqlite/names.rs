//! Under which names a delivery is found: its id, its key, and its batch's key.
//!
//! Names are as good as random, so that an index over them takes a page of its own for each of them, read, written
//! to the log and copied later: in a large file that costs more than all else that is recorded. So the newest names
//! are kept in memory, where the file's own rows restore them at a start: the young generation. When it is large enough
//! it is ripe, and written to the end of the table `name_pages`, in order, some pages with each commit; then it is a
//! run, of which only a filter stays in memory. A run is never changed. Once a sweep has passed it, what it has left
//! goes to the table `names`, which older files have for all, and its pages are removed. What is found here is only
//! who may go by a name; the row tells whether it does, so that a name may outlive its delivery.
//!
//! - `hash`: what stands for a name
//! - `generation`: names in memory
//! - `run`: names in the file, and how they get there
//! - `filter`: which names a run certainly lacks

mod filter;
mod generation;
mod hash;
mod run;

use super::operations::Fault;
use super::statements::Kept;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::KeyRef;
use filter::Probe;
use generation::Generation;
use hash::hashes;
pub(super) use hash::{hashes_in, of_batch, of_id, of_key, teach};
use run::{Moving, Run};
use rusqlite::{Connection, params};

/// A name's hash and the number of a delivery that may go by it.
type Name = (i64, i64);

/// How many names make a generation: enough that a file has few runs, each of which may have to be asked, and few
/// enough that a start reads them in some milliseconds. Tests should see many of them.
const GENERATION: usize = if cfg!(test) { 64 } else { 114_688 };

/// How many names move for each that is added.
const PACE: usize = 2;

/// Pages that one turn of a sweep removes at most of runs that are gone: more than a turn leaves behind.
const PAGES_A_TURN: u32 = 8;

/// The names of all deliveries.
#[derive(Debug, Default)]
pub(super) struct Names {
    young: Generation,
    /// The generation that is moving to the file.
    ripe: Option<Moving>,
    /// How many more of its names may move now.
    credit: usize,
    /// The runs of the file, the oldest first.
    runs: Vec<Run>,
    /// The page after those of the newest run.
    next_page: i64,
    /// The last delivery whose names stand in the file.
    moved: i64,
    /// Up to which delivery the oldest run's names were brought to the table, or to its end: for certain, and by this
    /// transaction.
    retired: Retired,
    retiring: Retired,
    /// Whether the table may have any names.
    table_is_used: bool,
    /// Whether there was a whole generation to move at the start already.
    inherited: bool,
    /// What this transaction adds.
    added: Vec<Name>,
}

/// How far the oldest run has been let go.
#[derive(Clone, Copy, Debug, Default)]
struct Retired {
    up_to: i64,
    all: bool,
}

/// The statements that names need for every comment.
#[derive(Default)]
pub(super) struct Statements<'c> {
    find: Kept<'c>,
    page: Kept<'c>,
    write_page: Kept<'c>,
}

impl Names {
    /// The names of all deliveries: those up to the delivery `moved` stand in the file, the others follow from its rows.
    pub(super) fn load(connection: &Connection, moved: i64) -> rusqlite::Result<Self> {
        let mut young = Generation::after(moved);
        let mut statement = connection.prepare(NOT_MOVED)?;
        let mut rows = statement.query([moved])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            hashes_in(row)?.for_each(|hash| young.insert((hash, number)));
            young.last = number;
        }
        let runs = Run::all(connection, moved)?;
        let next_page = runs.last().map_or(1, Run::end);
        let table_is_used = connection.query_row(TABLE_IS_USED, [], |row| row.get(0))?;
        let inherited = young.len() >= GENERATION;
        Ok(Self { young, runs, next_page, moved, table_is_used, inherited, ..Self::default() })
    }

    /// Whether there was a whole generation to move at the start, and still is. Moving begins anew with each process,
    /// so processes that see few deliveries would leave ever more to the next.
    pub(super) fn are_behind(&self) -> bool {
        self.inherited
    }

    /// A number that no delivery has or had.
    pub(super) fn next_number(&self) -> i64 {
        self.young.last + 1
    }

    /// Notes the names of a delivery that this transaction adds.
    pub(super) fn add(&mut self, number: i64, id: &DeliveryId, key: &KeyRef) {
        for hash in hashes(id.as_bytes(), key.caller.as_bytes(), key.key.as_bytes(), key.item) {
            self.young.insert((hash, number));
            self.added.push((hash, number));
        }
        self.young.last = number;
    }

    /// Which deliveries may go by this name, the newest first.
    pub(super) fn find<'c>(
        &self,
        connection: &'c Connection,
        statements: &mut Statements<'c>,
        hash: i64,
    ) -> Result<Vec<i64>, Fault> {
        let mut found = self.recent(hash);
        let probe = Probe::of(hash);
        for run in self.runs.iter().filter(|run| run.may_have(probe)) {
            run.find(connection, statements, hash, &mut found)?;
        }
        if self.table_is_used {
            let mut rows = statements.find.get(connection, FIND)?.query([hash])?;
            while let Some(row) = rows.next()? {
                found.push(row.get(0)?);
            }
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        Ok(found)
    }

    /// Which of the latest deliveries may go by this name.
    pub(super) fn recent(&self, hash: i64) -> Vec<i64> {
        let mut found = Vec::new();
        self.young.find(hash, &mut found);
        if let Some(ripe) = &self.ripe {
            ripe.generation.find(hash, &mut found);
        }
        found
    }

    /// Removes from the table the names of a delivery that this transaction removes, before it does.
    pub(super) fn remove(&self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        let in_table = self.runs.first().map_or(self.moved, |oldest| oldest.last);
        if !self.table_is_used || number > in_table {
            return Ok(());
        }
        let hashes = connection.prepare_cached(NAMES_OF)?.query_row([number], hashes_in)?;
        let mut delete = connection.prepare_cached(DELETE)?;
        for hash in hashes {
            delete.execute(params![hash, number])?;
        }
        Ok(())
    }

    /// Lets go of the oldest run, of so many of its deliveries at a time, once a sweep removes only later ones: this is
    /// the first of them. What is left of it then stays for long, and is mostly unknown.
    pub(super) fn retire(&mut self, connection: &Connection, swept: i64, most: u32) -> rusqlite::Result<()> {
        if let Some(oldest) = self.runs.first().filter(|oldest| oldest.last < swept) {
            let mut statement = connection.prepare_cached(LEFT)?;
            let after = self.retiring.up_to.max(oldest.after);
            let mut rows = statement.query(params![after, oldest.last, most])?;
            let (mut insert, mut left) = (connection.prepare_cached(INSERT)?, 0);
            while let Some(row) = rows.next()? {
                let number = row.get(0)?;
                for hash in hashes_in(row)? {
                    insert.execute(params![hash, number])?;
                }
                self.retiring.up_to = number;
                self.table_is_used = true;
                left += 1;
            }
            if left < most {
                connection.prepare_cached(REMOVE_RUN)?.execute([oldest.last])?;
                self.retiring.all = true;
            }
        }
        connection.prepare_cached(REMOVE_PAGES)?.execute(params![self.first_page(), PAGES_A_TURN])?;
        Ok(())
    }

    /// The first page that is in use, or will be next.
    fn first_page(&self) -> i64 {
        let of_ripe = self.ripe.as_ref().map(|ripe| ripe.first_page);
        self.runs.first().map(|oldest| oldest.first_page).or(of_ripe).unwrap_or(self.next_page)
    }

    /// How many names move in a transaction, so that one generation is gone before the next is complete.
    pub(super) fn due(&self) -> usize {
        self.added.len() * PACE
    }

    /// Moves so many names to the file, at the end of a transaction. If that completes a run, `meta` names its last
    /// delivery now, which is returned.
    pub(super) fn ripen<'c>(
        &mut self,
        connection: &'c Connection,
        statements: &mut Statements<'c>,
        most: usize,
    ) -> rusqlite::Result<Option<i64>> {
        if self.ripe.is_none() && self.young.len() >= GENERATION {
            let next = Generation::after(self.young.last);
            let generation = std::mem::replace(&mut self.young, next);
            self.ripe = Some(Moving::new(generation, self.moved, self.next_page));
            self.credit = 0;
        }
        let Some(ripe) = &mut self.ripe else { return Ok(None) };
        self.credit = ripe.write(connection, statements, self.credit.saturating_add(most))?;
        if !ripe.is_complete() {
            return Ok(None);
        }
        connection.prepare_cached(SET_MOVED)?.execute([ripe.generation.last])?;
        Ok(Some(ripe.generation.last))
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.added.clear();
        self.retired = self.retiring;
        if self.retired.all {
            (self.retired, self.retiring) = Default::default();
            self.runs.remove(0);
        }
        if let Some(ripe) = &mut self.ripe {
            ripe.committed();
        }
        if let Some(complete) = self.ripe.take_if(|ripe| ripe.is_complete()) {
            let run = complete.into_run();
            (self.moved, self.next_page, self.inherited) = (run.last, run.end(), false);
            self.runs.push(run);
        }
    }

    /// The transaction is undone.
    pub(super) fn undone(&mut self) {
        self.retiring = self.retired;
        for name in std::mem::take(&mut self.added) {
            self.young.remove(name);
            if let Some(ripe) = &mut self.ripe {
                ripe.generation.remove(name);
            }
        }
        if let Some(ripe) = &mut self.ripe {
            self.credit += ripe.undone();
        }
    }
}

#[cfg(test)]
pub(super) use run::PAGE;
pub(super) const FIND: &str = "SELECT delivery FROM names WHERE hash = ?1";
pub(super) const NOT_MOVED: &str =
    "SELECT number, id, caller, key, item FROM deliveries WHERE number > ?1 ORDER BY number";
pub(super) const LEFT: &str = "SELECT number, id, caller, key, item FROM deliveries \
     WHERE number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3";
pub(super) const DELETE: &str = "DELETE FROM names WHERE hash = ?1 AND delivery = ?2";
const REMOVE_PAGES: &str = "DELETE FROM name_pages WHERE number IN \
     (SELECT number FROM name_pages WHERE number < ?1 ORDER BY number LIMIT ?2)";
const REMOVE_RUN: &str = "DELETE FROM name_runs WHERE last = ?1";
const TABLE_IS_USED: &str = "SELECT EXISTS (SELECT 1 FROM names)";
pub(super) const NAMES_OF: &str = "SELECT number, id, caller, key, item FROM deliveries WHERE number = ?1";
const INSERT: &str = "INSERT INTO names (hash, delivery) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
const MOVED: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'named'";
const SET_MOVED: &str = "UPDATE meta SET value = CAST(?1 AS TEXT) WHERE name = 'named'";

/// The last delivery whose names stand in the file, with those of all before it.
pub(super) fn moved(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(MOVED, [], |row| row.get(0))
}

#[cfg(test)]
mod tests;
