//! The hashes that names are kept by.

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

/// All the names of a delivery. Only what is one of several has its batch as a name, so that whoever claims a key
/// needn't look at a thousand items.
pub(super) fn hashes(id: &[u8], caller: &[u8], key: &[u8], item: u32) -> impl Iterator<Item = i64> + use<> {
    let batch = (item > 0).then(|| hash(b"batch", caller, key, 0));
    [of_id(id), hash(b"key", caller, key, item)].into_iter().chain(batch)
}

/// The same from a row of the file, even a damaged one, which must keep neither the others nor a start waiting.
pub(in super::super) fn hashes_in(row: &Row<'_>) -> rusqlite::Result<impl Iterator<Item = i64> + use<>> {
    let bytes = |column| row.get_ref(column).map(|value| value.as_bytes().unwrap_or_default());
    let item = u32::try_from(row.get::<_, i64>(4)?).unwrap_or(u32::MAX);
    Ok(hashes(bytes(1)?, bytes(2)?, bytes(3)?, item))
}

/// Ids are random, and made here.
pub(in super::super) fn of_id(id: &[u8]) -> i64 {
    id.as_chunks().0.iter().fold(0, |hash, half| hash ^ i64::from_be_bytes(*half))
}

/// Keys are made by others, who must not be able to make many that go by one name.
pub(in super::super) fn of_key(caller: &str, key: &str, item: u32) -> i64 {
    hash(b"key", caller.as_bytes(), key.as_bytes(), item)
}

/// The name of all items of a batch but the first.
pub(in super::super) fn of_batch(caller: &str, key: &str) -> i64 {
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
pub(in super::super) fn teach(connection: &Connection) -> rusqlite::Result<()> {
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
