//! The guard against a second delivery under a key: a table whose primary key is the idempotency key, so that the
//! database itself refuses it.
//!
//! A key is stored as a hash. That keeps the table small however long keys are, and it shows when a bit of the key was
//! flipped in the delivery's own row: the hash still leads there, and what stands there doesn't match.

use super::operation_error::OperationError;
use commentd_delivery::record::KeyRef;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension, Statement, params};
use sha2::{Digest, Sha256};

pub(super) const CLAIM: &str =
    "INSERT INTO keys (hash, item, delivery) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
pub(super) const FIND: &str = "SELECT delivery FROM keys WHERE hash = ?1 AND item = ?2";
pub(super) const FIND_BATCH: &str = "SELECT delivery FROM keys WHERE hash = ?1";
pub(super) const RELEASE: &str = "DELETE FROM keys WHERE hash = ?1 AND item = ?2 AND delivery = ?3";

/// The first half of a SHA-256: callers choose their keys, and must not be able to find two with one hash.
pub(super) type KeyHash = [u8; 16];

pub(super) fn hash(caller: &[u8], key: &[u8]) -> KeyHash {
    let mut hash = Sha256::new();
    hash.update((caller.len() as u64).to_be_bytes());
    hash.update(caller);
    hash.update(key);
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

fn hash_of(key: &KeyRef) -> KeyHash {
    hash(key.caller.as_bytes(), key.key.as_bytes())
}

/// Gives the key to the delivery with this number; false if another has it, and then nothing was written.
pub(super) fn claim(statement: &mut Statement<'_>, key: &KeyRef, number: i64) -> rusqlite::Result<bool> {
    Ok(statement.execute(params![hash_of(key), key.item, number])? > 0)
}

/// The number of the delivery that has this key.
pub(super) fn find(connection: &Connection, key: &KeyRef) -> Result<Option<i64>, OperationError> {
    let mut statement = connection.prepare_cached(FIND)?;
    Ok(statement.query_row(params![hash_of(key), key.item], |row| row.get(0)).optional()?)
}

/// The numbers of the deliveries of all items of a key.
pub(super) fn find_batch(connection: &Connection, caller: &str, key: &str) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(FIND_BATCH)?;
    statement.query_map([hash(caller.as_bytes(), key.as_bytes())], |row| row.get(0))?.collect()
}

/// Makes a key free that the delivery with this number has.
pub(super) fn release(connection: &Connection, key: &KeyRef, number: i64) -> rusqlite::Result<()> {
    release_hash(connection, hash_of(key), key.item.into(), number)
}

/// The same by the key's hash.
pub(super) fn release_hash(
    connection: &Connection,
    hash: KeyHash,
    item: i64,
    number: i64,
) -> rusqlite::Result<()> {
    connection.prepare_cached(RELEASE)?.execute(params![hash, item, number]).map(|_| ())
}

/// Makes the hash known to SQL as `key_hash(caller, key)`, for bringing an older file up to date.
pub(super) fn define_hash(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function("key_hash", 2, flags, |row| {
        let bytes = |column| row.get_raw(column).as_bytes().unwrap_or_default();
        Ok(hash(bytes(0), bytes(1)))
    })
}
