//! The names of many deliveries, in order, written once at the end of a table: a run.

use super::filter::{Filter, Probe};
use super::generation::Generation;
use super::{Name, Statements};
use crate::sqlite::operations::Fault;
use rusqlite::{Connection, Row, ffi, params};
use std::ops::Range;

/// Names in a page, so that the row of one fills a page of the file. Tests should see many pages.
const NAMES_A_PAGE: usize = if cfg!(test) { 8 } else { 252 };

/// A name in a page: its hash and its delivery's number, with the highest byte first.
type Written = [u8; 16];

/// A run that is complete.
#[derive(Debug)]
pub(super) struct Run {
    /// Its names are those of the deliveries beyond this one …
    pub(super) after: i64,
    /// … and up to this one.
    pub(super) last: i64,
    pub(super) first_page: i64,
    /// The first hash of each page.
    fences: Vec<i64>,
    filter: Filter,
}

impl Run {
    /// All that the file has, the oldest first, of which the newest goes up to the delivery `moved`. An error if one
    /// is missing or damaged: nobody could tell which keys are claimed.
    pub(super) fn all(connection: &Connection, moved: i64) -> rusqlite::Result<Vec<Self>> {
        let mut statement = connection.prepare(RUNS)?;
        let runs = statement.query_map([], Self::read)?.collect::<rusqlite::Result<Vec<_>>>()?;
        let goes_on = |pair: &[Self]| matches!(pair, [older, newer] if older.last == newer.after);
        if runs.windows(2).all(goes_on) && runs.last().is_none_or(|newest| newest.last == moved) {
            return Ok(runs);
        }
        Err(damaged("some deliveries have no names"))
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let fences = match row.get_ref(3)?.as_bytes().unwrap_or_default().as_chunks() {
            (fences, []) if !fences.is_empty() => {
                fences.iter().map(|fence| i64::from_be_bytes(*fence)).collect()
            }
            _ => return Err(damaged("a list of hashes can't be read")),
        };
        let filter = Filter::from_bytes(row.get_ref(4)?.as_bytes().unwrap_or_default())
            .ok_or_else(|| damaged("a filter of names can't be read"))?;
        Ok(Self { last: row.get(0)?, after: row.get(1)?, first_page: row.get(2)?, fences, filter })
    }

    /// The page after its last.
    pub(super) fn end(&self) -> i64 {
        self.first_page.saturating_add_unsigned(self.fences.len() as u64)
    }

    /// False if it certainly lacks the name; else it may have it.
    pub(super) fn may_have(&self, probe: Probe) -> bool {
        self.filter.may_have(probe)
    }

    /// Adds the deliveries of this run that may go by this name.
    pub(super) fn find<'c>(
        &self,
        connection: &'c Connection,
        statements: &mut Statements<'c>,
        hash: i64,
        found: &mut Vec<i64>,
    ) -> Result<(), Fault> {
        for page in self.pages_with(hash) {
            let number = self.first_page.saturating_add_unsigned(page as u64);
            let mut rows = statements.page.get(connection, PAGE)?.query([number])?;
            let bytes = rows.next()?.map(|row| row.get_ref(0)).transpose()?;
            let names = bytes.and_then(|bytes| bytes.as_bytes().ok()).and_then(names_in);
            let names =
                names.ok_or_else(|| Fault::Unreadable(format!("page {number} of the names isn't there")))?;
            let from = names.partition_point(|name| read(name).0 < hash);
            let equal = names.iter().skip(from).map(read).take_while(|name| name.0 == hash);
            found.extend(equal.map(|name| name.1));
        }
        Ok(())
    }

    /// A name that many deliveries share may begin in one page and go on in others.
    fn pages_with(&self, hash: i64) -> Range<usize> {
        let from = self.fences.partition_point(|first| *first < hash);
        from.saturating_sub(1)..self.fences.partition_point(|first| *first <= hash)
    }
}

/// As SQLite would call it.
fn damaged(how: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(how.into()))
}

/// `None` if these bytes are no page.
fn names_in(bytes: &[u8]) -> Option<&[Written]> {
    let (names, rest) = bytes.as_chunks();
    (rest.is_empty() && !names.is_empty()).then_some(names)
}

fn read(name: &Written) -> Name {
    let [hash, number] = *name.as_chunks().0 else { return (0, 0) };
    (i64::from_be_bytes(hash), i64::from_be_bytes(number))
}

/// A generation on its way to being a run.
#[derive(Debug)]
pub(super) struct Moving {
    pub(super) generation: Generation,
    pub(super) first_page: i64,
    after: i64,
    order: Vec<Name>,
    filter: Filter,
    /// How many of its pages stand in the file: for certain, and by this transaction.
    moved: usize,
    moving: usize,
}

impl Moving {
    /// The names of this generation, whose deliveries are those beyond `after`, to be written from this page on.
    pub(super) fn new(generation: Generation, after: i64, first_page: i64) -> Self {
        let order = generation.sorted();
        let filter = Filter::with_room_for(order.len());
        Self { generation, first_page, after, order, filter, moved: 0, moving: 0 }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.moving >= self.order.len().div_ceil(NAMES_A_PAGE)
    }

    /// Writes pages of so many names, and gives back how many names remain. If that completes the run, it is one from
    /// the commit on.
    ///
    /// The pages may be there already: a process that ended before it completed a run leaves them to the next.
    pub(super) fn write<'c>(
        &mut self,
        connection: &'c Connection,
        statements: &mut Statements<'c>,
        names: usize,
    ) -> rusqlite::Result<usize> {
        let mut pages = names / NAMES_A_PAGE;
        for page in self.order.chunks(NAMES_A_PAGE).skip(self.moving) {
            if pages == 0 {
                return Ok(names % NAMES_A_PAGE);
            }
            pages -= 1;
            let mut bytes = Vec::with_capacity(page.len() * size_of::<Written>());
            for (hash, number) in page {
                bytes.extend(hash.to_be_bytes().into_iter().chain(number.to_be_bytes()));
                self.filter.insert(*hash);
            }
            let number = self.first_page.saturating_add_unsigned(self.moving as u64);
            statements.write_page.get(connection, WRITE_PAGE)?.execute(params![number, bytes])?;
            self.moving += 1;
        }
        let fences: Vec<u8> = self.fences().flat_map(i64::to_be_bytes).collect();
        let filter = self.filter.to_bytes();
        let (after, last) = (self.after, self.generation.last);
        connection.prepare_cached(WRITE_RUN)?.execute(params![
            last,
            after,
            self.first_page,
            fences,
            filter
        ])?;
        Ok(0)
    }

    fn fences(&self) -> impl Iterator<Item = i64> {
        self.order.chunks(NAMES_A_PAGE).filter_map(|page| page.first().map(|name| name.0))
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.moved = self.moving;
    }

    /// The transaction is undone. Gives back how many names it wrote.
    pub(super) fn undone(&mut self) -> usize {
        let pages = self.moving - self.moved;
        self.moving = self.moved;
        pages * NAMES_A_PAGE
    }

    /// What it is once it is complete.
    pub(super) fn into_run(self) -> Run {
        let fences = self.fences().collect();
        let Self { generation, after, first_page, filter, .. } = self;
        Run { after, last: generation.last, first_page, fences, filter }
    }
}

const RUNS: &str = "SELECT last, after, first_page, fences, filter FROM name_runs ORDER BY last";
const WRITE_RUN: &str =
    "INSERT INTO name_runs (last, after, first_page, fences, filter) VALUES (?1, ?2, ?3, ?4, ?5)";
pub(in super::super) const PAGE: &str = "SELECT names FROM name_pages WHERE number = ?1";
const WRITE_PAGE: &str = "INSERT OR REPLACE INTO name_pages (number, names) VALUES (?1, ?2)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::tests::book::file;

    /// As many deliveries as a batch has items go by its name.
    #[test]
    fn names_are_found_wherever_they_stand() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..200 {
            let (_dir, connection) = file();
            let mut names: Vec<Name> = Vec::new();
            for number in 1..=random.i64(1..60) {
                let hash = if random.bool() { random.i64(-3..3) * (i64::MAX / 3) } else { random.i64(..) };
                names.push((hash, number));
            }
            let mut generation = Generation::after(0);
            for name in &names {
                generation.insert(*name);
                generation.last = name.1;
            }
            let (mut statements, mut moving) = (Statements::default(), Moving::new(generation, 0, 7));
            while !moving.is_complete() {
                if random.bool() {
                    moving.undone();
                }
                moving.write(&connection, &mut statements, random.usize(..3) * NAMES_A_PAGE).unwrap();
                if random.bool() {
                    moving.committed();
                }
            }
            let run = moving.into_run();
            let [read] = <[Run; 1]>::try_from(Run::all(&connection, run.last).unwrap()).unwrap();
            assert_eq!((read.after, read.last, read.end()), (run.after, run.last, run.end()));
            let others = (0..20).map(|_| random.i64(..)).chain([i64::MIN, i64::MAX, 0]);
            for hash in names.iter().map(|name| name.0).chain(others) {
                let expected: Vec<i64> =
                    names.iter().filter(|name| name.0 == hash).map(|name| name.1).collect();
                for run in [&run, &read] {
                    assert!(expected.is_empty() || run.may_have(Probe::of(hash)));
                    let mut found = Vec::new();
                    run.find(&connection, &mut statements, hash, &mut found).unwrap();
                    assert_eq!(found, expected, "{hash} among {names:?}");
                }
            }
        }
    }

    /// A key of which nobody can tell whether it is claimed isn't free.
    #[test]
    fn a_page_that_is_lost_is_an_error() {
        let (_dir, connection) = file();
        let mut generation = Generation::after(0);
        (1..=20).for_each(|number| generation.insert((number, number)));
        let (mut statements, mut moving) = (Statements::default(), Moving::new(generation, 0, 1));
        moving.write(&connection, &mut statements, usize::MAX).unwrap();
        let run = moving.into_run();
        for damage in ["UPDATE name_pages SET names = x'0102' WHERE number = 2", "DELETE FROM name_pages"] {
            connection.execute_batch(damage).unwrap();
            let lost = run.find(&connection, &mut statements, 9, &mut Vec::new());
            assert!(matches!(lost, Err(Fault::Unreadable(_))), "{damage}: {lost:?}");
        }
    }

    #[test]
    fn a_run_that_is_lost_or_damaged_is_an_error() {
        for damage in [
            "UPDATE name_runs SET filter = x'01' WHERE last = 20",
            "UPDATE name_runs SET fences = x'' WHERE last = 20",
            "DELETE FROM name_runs WHERE last = 20",
            "DELETE FROM name_runs WHERE last = 30",
        ] {
            let (_dir, connection) = file();
            for last in [10, 20, 30] {
                let mut generation = Generation::after(last);
                generation.insert((last, last));
                let mut moving = Moving::new(generation, last - 10, last);
                moving.write(&connection, &mut Statements::default(), usize::MAX).unwrap();
            }
            assert_eq!(Run::all(&connection, 30).unwrap().len(), 3);
            assert_eq!(connection.execute(damage, []).unwrap(), 1);
            assert!(Run::all(&connection, 30).is_err(), "{damage}");
        }
    }
}
