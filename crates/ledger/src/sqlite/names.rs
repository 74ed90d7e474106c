//! Under which names a delivery is found: its id, its key, and its batch's key.
//!
//! Names are as good as random, so that an index over them takes a page of its own for each of them, read, written
//! to the log and copied later: in a large file that costs more than all else that is recorded. So the newest names
//! are kept in memory, where the file's own rows restore them at a start, and move to the table `names` many at a
//! time, in the order of the table. What is found here is only who may go by a name; the row tells whether it does.

use super::operations::Fault;
use super::statements::Kept;
use crate::hasher::RandomMap;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::KeyRef;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// A name's hash and the number of a delivery that may go by it, as the table has them.
type Name = (i64, i64);

/// How many names make a generation: enough that several come to each page of a million deliveries' names, and few
/// enough that a start reads them in some milliseconds. Tests should see many of them.
const GENERATION: usize = if cfg!(test) { 64 } else { 114_688 };

/// How many names move for each that is added.
const PACE: usize = 2;

/// The names of all deliveries.
#[derive(Debug, Default)]
pub(super) struct Names {
    young: Generation,
    /// The generation that is moving to the table.
    ripe: Option<Moving>,
    /// Whether the table has any names.
    table_is_used: bool,
    /// Whether there was a whole generation to move at the start already.
    inherited: bool,
    /// What this transaction adds and removes.
    added: Vec<Name>,
    removed: BTreeSet<Name>,
}

#[derive(Debug, Default)]
struct Generation {
    names: RandomMap<i64, i64>,
    /// Further deliveries that may go by a name that one has already.
    more: BTreeSet<Name>,
    /// The highest number of its deliveries.
    last: i64,
}

impl Generation {
    fn len(&self) -> usize {
        self.names.len() + self.more.len()
    }

    fn insert(&mut self, (hash, number): Name) {
        if *self.names.entry(hash).or_insert(number) != number {
            self.more.insert((hash, number));
        }
    }

    fn remove(&mut self, name: Name) {
        if self.names.get(&name.0) == Some(&name.1) {
            self.names.remove(&name.0);
        } else {
            self.more.remove(&name);
        }
    }

    fn contains(&self, name: Name) -> bool {
        self.names.get(&name.0) == Some(&name.1) || self.more.contains(&name)
    }

    fn find(&self, hash: i64) -> impl Iterator<Item = i64> {
        let more = self.more.range((hash, i64::MIN)..=(hash, i64::MAX));
        self.names.get(&hash).copied().into_iter().chain(more.map(|name| name.1))
    }

    fn sorted(&self) -> Vec<Name> {
        let mut sorted: Vec<Name> = self.names.iter().map(|(hash, number)| (*hash, *number)).collect();
        sorted.extend(&self.more);
        sorted.sort_unstable();
        sorted
    }
}

#[derive(Debug)]
struct Moving {
    generation: Generation,
    /// Its names in the table's order, and how many of them stand there: for certain, and by this transaction.
    order: Vec<Name>,
    moved: usize,
    moving: usize,
}

impl Moving {
    fn ends(&self) -> bool {
        self.moving >= self.order.len()
    }
}

/// The statements that names need for every comment.
#[derive(Default)]
pub(super) struct Statements<'c> {
    find: Kept<'c>,
    insert: Kept<'c>,
}

impl Names {
    /// The names as the file has them, of which the table has those up to the delivery `moved`.
    pub(super) fn load(connection: &Connection, moved: i64) -> rusqlite::Result<Self> {
        let mut young = Generation { last: moved, ..Generation::default() };
        let mut statement = connection.prepare(NOT_MOVED)?;
        let mut rows = statement.query([moved])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get(0)?;
            hashes_in(row)?.for_each(|hash| young.insert((hash, number)));
            young.last = number;
        }
        let inherited = young.len() >= GENERATION;
        Ok(Self { young, table_is_used: moved > 0, inherited, ..Self::default() })
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
        let ripe = self.ripe.as_ref().map(|moving| &moving.generation);
        [Some(&self.young), ripe].into_iter().flatten().flat_map(|names| names.find(hash)).collect()
    }

    /// Removes the names of a delivery that this transaction removes, before it does.
    pub(super) fn remove(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        let hashes = connection.prepare_cached(NAMES_OF)?.query_row([number], hashes_in)?;
        let mut delete = connection.prepare_cached(DELETE)?;
        for hash in hashes {
            delete.execute(params![hash, number])?;
            self.removed.insert((hash, number));
        }
        Ok(())
    }

    /// How many names move in a transaction, so that one generation is gone before the next is complete.
    pub(super) fn due(&self) -> usize {
        self.added.len() * PACE
    }

    /// Moves so many names to the table, at the end of a transaction. If that completes a generation, `meta` names
    /// its last delivery now, which is returned.
    pub(super) fn ripen<'c>(
        &mut self,
        connection: &'c Connection,
        statements: &mut Statements<'c>,
        most: usize,
    ) -> rusqlite::Result<Option<i64>> {
        if self.ripe.is_none() && self.young.len() >= GENERATION {
            let young = Generation { last: self.young.last, ..Generation::default() };
            let generation = std::mem::replace(&mut self.young, young);
            let order = generation.sorted();
            self.ripe = Some(Moving { generation, order, moved: 0, moving: 0 });
        }
        let Some(ripe) = &mut self.ripe else { return Ok(None) };
        let insert = statements.insert.get(connection, INSERT)?;
        for name in ripe.order.iter().skip(ripe.moved).take(most) {
            if ripe.generation.contains(*name) && !self.removed.contains(name) {
                insert.execute(params![name.0, name.1])?;
            }
            ripe.moving += 1;
        }
        if !ripe.ends() {
            return Ok(None);
        }
        connection.prepare_cached(SET_MOVED)?.execute([ripe.generation.last])?;
        Ok(Some(ripe.generation.last))
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.added.clear();
        if let Some(ripe) = &mut self.ripe {
            ripe.moved = ripe.moving;
            self.table_is_used |= ripe.moved > 0;
        }
        if self.ripe.take_if(|ripe| ripe.ends()).is_some() {
            self.inherited = false;
        }
        for name in std::mem::take(&mut self.removed) {
            self.drop_name(name);
        }
    }

    /// The transaction is undone.
    pub(super) fn undone(&mut self) {
        self.removed.clear();
        for name in std::mem::take(&mut self.added) {
            self.drop_name(name);
        }
        if let Some(ripe) = &mut self.ripe {
            ripe.moving = ripe.moved;
        }
    }

    fn drop_name(&mut self, name: Name) {
        self.young.remove(name);
        if let Some(ripe) = &mut self.ripe {
            ripe.generation.remove(name);
        }
    }
}

pub(super) const FIND: &str = "SELECT delivery FROM names WHERE hash = ?1";
pub(super) const NOT_MOVED: &str =
    "SELECT number, id, caller, key, item FROM deliveries WHERE number > ?1 ORDER BY number";
pub(super) const DELETE: &str = "DELETE FROM names WHERE hash = ?1 AND delivery = ?2";
const NAMES_OF: &str = "SELECT number, id, caller, key, item FROM deliveries WHERE number = ?1";
const INSERT: &str = "INSERT INTO names (hash, delivery) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
const MOVED: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'named'";
const SET_MOVED: &str = "UPDATE meta SET value = CAST(?1 AS TEXT) WHERE name = 'named'";

/// The last delivery whose names stand in the table, with those of all before it.
pub(super) fn moved(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(MOVED, [], |row| row.get(0))
}

/// All the names of a delivery. Only what is one of several has its batch as a name, so that whoever claims a key
/// needn't look at a thousand items.
fn hashes(id: &[u8], caller: &[u8], key: &[u8], item: u32) -> impl Iterator<Item = i64> + use<> {
    let batch = (item > 0).then(|| hash(b"batch", caller, key, 0));
    [of_id(id), hash(b"key", caller, key, item)].into_iter().chain(batch)
}

/// The same from a row of the file, even a damaged one, which must keep neither the others nor a start waiting.
fn hashes_in(row: &Row<'_>) -> rusqlite::Result<impl Iterator<Item = i64> + use<>> {
    let bytes = |column| row.get_ref(column).map(|value| value.as_bytes().unwrap_or_default());
    let item = u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX);
    Ok(hashes(bytes(1)?, bytes(2)?, bytes(3)?, item))
}

/// Ids are random, and made here.
pub(super) fn of_id(id: &[u8]) -> i64 {
    id.as_chunks().0.iter().fold(0, |hash, half| hash ^ i64::from_be_bytes(*half))
}

/// Keys are made by others, who must not be able to make many that go by one name.
pub(super) fn of_key(caller: &str, key: &str, item: u32) -> i64 {
    hash(b"key", caller.as_bytes(), key.as_bytes(), item)
}

/// The name of all items of a batch but the first.
pub(super) fn of_batch(caller: &str, key: &str) -> i64 {
    hash(b"batch", caller.as_bytes(), key.as_bytes(), 0)
}

fn hash(kind: &[u8], caller: &[u8], key: &[u8], item: u32) -> i64 {
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update((caller.len() as u64).to_be_bytes());
    hash.update(caller);
    hash.update(key);
    hash.update(item.to_be_bytes());
    hash.finalize().as_chunks().0.first().map_or(0, |first| i64::from_be_bytes(*first))
}

/// Makes the hashes known to SQL, for bringing an older file up to date.
pub(super) fn teach(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("name_of_id", 1, flags, |row| {
        Ok(of_id(row.get_raw(0).as_bytes().unwrap_or_default()))
    })?;
    for kind in ["key", "batch"] {
        connection.create_scalar_function(format!("name_of_{kind}").as_str(), 3, flags, move |row| {
            let bytes = |column| row.get_raw(column).as_bytes().unwrap_or_default();
            let item = u32::try_from(row.get::<i64>(2)?).unwrap_or(u32::MAX);
            Ok(hash(kind.as_bytes(), bytes(0), bytes(1), item))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
