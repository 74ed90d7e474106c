//! What stands in the file: pragmas, identity, tables, and how an older file is brought up to date.

use super::open_error::OpenError;
use super::{keys, markers};
use crate::Stamp;
use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Tells our files from other programs' databases: "cmtd".
const APPLICATION_ID: i32 = 0x636d_7464;

/// Step `n` (from 0) brings a file from version `n` to `n + 1`; a new file takes all of them. A step that was
/// released never changes: what comes later is a further step.
const STEPS: &[&str] =
    &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, markers::TABLE, VERSION_8];

/// `deliveries.number` counts openings, so that neighbours in time are neighbours on disk. `outcome` is what the
/// attempts come to; with `settled_ms` NULL an attempt is open, and the outcome therefore unknown. The index over
/// outcomes is how a start finds what is unknown or open without reading the rest. Comments have a table of
/// their own, so that a settling doesn't write 64 KiB of them anew.
const VERSION_1: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    item INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    trace_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    settled_ms INTEGER,
    outcome TEXT NOT NULL,
    UNIQUE (caller, key, item)
) STRICT;
CREATE INDEX deliveries_by_outcome ON deliveries (outcome);
CREATE INDEX deliveries_by_caller ON deliveries (caller);
CREATE INDEX deliveries_by_settling ON deliveries (settled_ms)
    WHERE settled_ms IS NOT NULL AND outcome <> 'unknown';

CREATE TABLE comments (delivery INTEGER PRIMARY KEY, comment TEXT NOT NULL) STRICT;

CREATE TABLE attempts (
    delivery INTEGER NOT NULL,
    number INTEGER NOT NULL,
    provider TEXT NOT NULL,
    channel TEXT NOT NULL,
    base_url TEXT NOT NULL,
    account TEXT NOT NULL,
    manifest_version INTEGER NOT NULL,
    marker TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    verdict TEXT,
    resolution TEXT,
    PRIMARY KEY (delivery, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
    channel TEXT NOT NULL,
    base_url TEXT NOT NULL,
    comment_id TEXT NOT NULL,
    delivery INTEGER NOT NULL,
    PRIMARY KEY (channel, base_url, comment_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_delivery ON claims (delivery);
";

/// The ledger's own id, by which a client tells whether it speaks to the ledger that knows its keys.
const VERSION_2: &str = "INSERT INTO meta VALUES ('id', lower(hex(randomblob(16))));";

/// The first attempt, which is mostly the only one, stands with its delivery, whose `created_ms` is when it began: one
/// row written at its opening, and one at its end. What a delivery has claimed follows from its verdicts. What filled
/// `names` is left out, since version 8 drops it.
const VERSION_3: &str = "
DROP INDEX deliveries_by_outcome;
DROP INDEX deliveries_by_caller;
DROP INDEX deliveries_by_settling;
DROP INDEX claims_by_delivery;
ALTER TABLE deliveries RENAME TO old_deliveries;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    item INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    trace_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    settled_ms INTEGER,
    outcome TEXT NOT NULL,
    provider TEXT NOT NULL,
    channel TEXT NOT NULL,
    base_url TEXT NOT NULL,
    account TEXT NOT NULL,
    manifest_version INTEGER NOT NULL,
    marker TEXT NOT NULL,
    verdict TEXT,
    resolution TEXT
) STRICT;
INSERT INTO deliveries
    SELECT old.number, id, caller, key, item, fingerprint, trace_id, created_ms, settled_ms, outcome,
        coalesce(provider, ''), coalesce(channel, ''), coalesce(base_url, ''), coalesce(account, ''),
        coalesce(manifest_version, 0), coalesce(marker, ''), verdict, resolution
    FROM old_deliveries AS old LEFT JOIN attempts ON attempts.delivery = old.number AND attempts.number = 1
    ORDER BY old.number;
DROP TABLE old_deliveries;
DELETE FROM attempts WHERE number = 1;
CREATE INDEX deliveries_by_outcome ON deliveries (outcome);
CREATE INDEX deliveries_by_caller ON deliveries (caller);
CREATE INDEX deliveries_by_settling ON deliveries (settled_ms)
    WHERE settled_ms IS NOT NULL AND outcome <> 'unknown';

CREATE TABLE names (
    hash INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    PRIMARY KEY (hash, delivery)
) STRICT, WITHOUT ROWID;
INSERT INTO meta SELECT 'named', CAST(coalesce(max(number), 0) AS TEXT) FROM deliveries;
";

/// What a delivery's first attempt came to is a row of its own, with the outcome, so that nothing that stands is
/// written anew: a delivery adds to the end of `deliveries` when it opens, and to the end of `ends` when it settles.
/// Since a settling leaves the row of `deliveries` alone, the comment stands there.
const VERSION_4: &str = "
DROP INDEX deliveries_by_outcome;
DROP INDEX deliveries_by_caller;
DROP INDEX deliveries_by_settling;
ALTER TABLE deliveries RENAME TO old_deliveries;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL,
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    item INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    trace_id TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    provider TEXT NOT NULL,
    channel TEXT NOT NULL,
    base_url TEXT NOT NULL,
    account TEXT NOT NULL,
    manifest_version INTEGER NOT NULL,
    marker TEXT NOT NULL,
    comment TEXT
) STRICT;
INSERT INTO deliveries
    SELECT number, id, caller, key, item, fingerprint, trace_id, created_ms, provider, channel, base_url, account,
        manifest_version, marker, comment
    FROM old_deliveries AS old LEFT JOIN comments ON comments.delivery = old.number
    ORDER BY number;
CREATE INDEX deliveries_by_caller ON deliveries (caller);

CREATE TABLE ends (
    delivery INTEGER PRIMARY KEY,
    settled_ms INTEGER,
    outcome TEXT NOT NULL,
    verdict TEXT,
    resolution TEXT
) STRICT;
INSERT INTO ends SELECT number, settled_ms, outcome, verdict, resolution FROM old_deliveries ORDER BY number;
CREATE INDEX ends_by_outcome ON ends (outcome);
CREATE INDEX ends_by_settling ON ends (settled_ms)
    WHERE settled_ms IS NOT NULL AND outcome <> 'unknown';

DROP TABLE old_deliveries;
DROP TABLE comments;
";

/// An index of its own for what a delivery is found by, which version 8 drops.
const VERSION_5: &str = "
CREATE TABLE name_pages (number INTEGER PRIMARY KEY, names BLOB NOT NULL) STRICT;
CREATE TABLE name_runs (
    last INTEGER PRIMARY KEY,
    after INTEGER NOT NULL,
    first_page INTEGER NOT NULL,
    first_hashes BLOB NOT NULL,
    filter BLOB NOT NULL
) STRICT;
";

/// `in_use` stands in the file itself, and not only in its log, from a start until the ledger is closed, so that a log
/// that is gone is missed. `aged_ms` is how long a process has run on the ledger in all, and `aged_at_ms` the wall time
/// when that was written. A delivery is kept by the age at which it was settled, which no wall clock changes; those of
/// an older file count as settled now. What the items of a batch share stands once in `addressings`, for as long as one
/// of them refers to it; `shared.rs` tells which.
const VERSION_6: &str = "
INSERT INTO meta VALUES ('in_use', '0'), ('aged_ms', '0'), ('aged_at_ms', '0');
ALTER TABLE ends ADD COLUMN settled_age INTEGER NOT NULL DEFAULT 0;
DROP INDEX ends_by_settling;
CREATE INDEX ends_by_age ON ends (settled_age) WHERE settled_ms IS NOT NULL AND outcome <> 'unknown';

CREATE TABLE addressings (shared INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
ALTER TABLE deliveries ADD COLUMN addressing INTEGER;
CREATE INDEX deliveries_by_addressing ON deliveries (addressing) WHERE addressing IS NOT NULL;
";

/// `keys` has one row for each delivery, and its primary key is what refuses a second delivery under a key. `hash` is of
/// the caller and the key (`keys.rs`); the items of a batch share it, and so stand side by side. It takes the place of
/// the names, in all forms that they had; `ids.rs` tells how a delivery is found by its id, in blocks of 2048. Every
/// delivery has its row in `ends`, an open one, too.
const VERSION_8: &str = "
CREATE TABLE keys (
    hash BLOB NOT NULL,
    item INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    PRIMARY KEY (hash, item)
) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO keys SELECT key_hash(caller, key), item, number FROM deliveries ORDER BY 1, 2;
CREATE UNIQUE INDEX deliveries_by_id ON deliveries (number >> 11, id);
INSERT INTO ends (delivery, outcome)
    SELECT number, 'unknown' FROM deliveries LEFT JOIN ends ON delivery = number WHERE delivery IS NULL;
DROP TABLE names;
DROP TABLE name_pages;
DROP TABLE name_runs;
DELETE FROM meta WHERE name = 'named';
";

/// How long another program's lock on the database (a backup, say) is waited for.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Room for every statement that the writer uses.
const CACHED_STATEMENTS: usize = 40;

/// Opens the file, which is there and locked, as a ledger with this stamp; an empty file becomes one.
pub(super) fn open(path: &Path, stamp: Stamp) -> Result<Connection, OpenError> {
    open_with(path, stamp, STEPS)
}

fn open_with(path: &Path, stamp: Stamp, steps: &[&str]) -> Result<Connection, OpenError> {
    let store = |source| OpenError::store(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(store)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(store)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Otherwise SQLite looks at the values that are bound, and so compiles some statements anew for each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(store)?;
    let version = identify(&connection, path, stamp, steps)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(store)?;
    if mode != "wal" {
        return Err(OpenError::NoWriteAheadLog { path: path.to_owned() });
    }
    connection.execute_batch(PRAGMAS).map_err(store)?;
    if (1..newest(steps)).contains(&version) {
        let (path, newest) = (path.display(), newest(steps));
        tracing::info!(
            "bringing the ledger {path} from version {version} to {newest}; a large one takes a while"
        );
    }
    upgrade(&connection, version, stamp, steps).map_err(store)?;
    // Whoever closes the ledger removes its log; nothing else does.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(store)?;
    Ok(connection)
}

/// Whether a process has the ledger, or had and didn't close it: as the file says without its log. What can't be read
/// says nothing.
pub(super) fn is_in_use(path: &Path) -> bool {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let word = Connection::open_with_flags(uri, flags)
        .and_then(|file| file.query_row(IN_USE, [], |row| row.get::<_, String>(0)));
    word.is_ok_and(|word| word == "1")
}

/// Says in the file that a process has it, which is there before anything is recorded.
pub(super) fn mark_in_use(connection: &Connection) -> rusqlite::Result<()> {
    let word: String = connection.query_row(IN_USE, [], |row| row.get(0))?;
    if word != "1" {
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'in_use'", [])?;
        // A reader may keep some of it in the log, where it is missed with the log.
        connection.wal_checkpoint_v2(Some("main"), CheckpointMode::PASSIVE)?;
    }
    Ok(())
}

/// Says that no process has it any more, for its log to be removed.
pub(super) fn mark_closed(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("UPDATE meta SET value = '0' WHERE name = 'in_use'", [])?;
    Ok(())
}

/// Lets SQLite remove the log when it closes the file.
pub(super) fn remove_log_on_close(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(|_| ())
}

const IN_USE: &str = "SELECT value FROM meta WHERE name = 'in_use'";

/// A file as an older release would have left it.
#[cfg(test)]
pub(super) fn open_version(path: &Path, stamp: Stamp, version: usize) -> Result<Connection, OpenError> {
    open_with(path, stamp, &STEPS[..version])
}

/// The steps that a file of this version lacks.
#[cfg(test)]
pub(super) fn steps_after(version: usize) -> impl Iterator<Item = &'static str> {
    STEPS[version..].iter().copied()
}

/// The id that the ledger was given at birth, or when it was brought up to version 2.
pub(super) fn id(connection: &Connection, path: &Path) -> Result<String, OpenError> {
    connection
        .query_row("SELECT value FROM meta WHERE name = 'id'", [], |row| row.get(0))
        .map_err(|source| OpenError::store(path, source))
}

/// `secure_delete`: what is forgotten or swept is overwritten. No foreign keys: there is one writer, and it
/// removes what belongs together in one transaction. The cache is small, because whenever SQLite reorders pages the
/// commit walks all of it, and what is written is always at the same ends of few trees; the system caches the rest.
const PRAGMAS: &str = "
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
PRAGMA journal_size_limit = 67108864;
PRAGMA foreign_keys = OFF;
PRAGMA secure_delete = ON;
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -2048;
";

/// The version of the file, 0 for an empty one; an error if it isn't for us. Changes nothing.
fn identify(connection: &Connection, path: &Path, stamp: Stamp, steps: &[&str]) -> Result<u32, OpenError> {
    let store = |source| OpenError::store(path, source);
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(store);
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    if empty && application == 0 && version == 0 {
        return Ok(0);
    }
    if application != i64::from(APPLICATION_ID) || version < 1 {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    let (found, known) = (u32::try_from(version).unwrap_or(u32::MAX), newest(steps));
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    let word: String = connection
        .query_row("SELECT value FROM meta WHERE name = 'stamp'", [], |row| row.get(0))
        .map_err(store)?;
    let born = [Stamp::Live, Stamp::Rehearsal].into_iter().find(|stamp| word_of(*stamp) == word);
    match born {
        Some(found) if found == stamp => Ok(u32::try_from(version).unwrap_or(u32::MAX)),
        Some(found) => Err(OpenError::WrongStamp { path: path.to_owned(), found, asked: stamp }),
        None => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn newest(steps: &[&str]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX)
}

/// Takes the steps that this file lacks, all or none of them.
fn upgrade(connection: &Connection, version: u32, stamp: Stamp, steps: &[&str]) -> rusqlite::Result<()> {
    let missing = steps.get(version as usize..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(());
    }
    keys::define_hash(connection)?;
    // Dropped without a commit, as on any error below, it rolls back.
    let transaction = connection.unchecked_transaction()?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    if version == 0 {
        transaction.execute("INSERT INTO meta VALUES ('stamp', ?1), ('checks', '0')", [word_of(stamp)])?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.pragma_update(None, "user_version", newest(steps))?;
    transaction.commit()
}

fn word_of(stamp: Stamp) -> &'static str {
    match stamp {
        Stamp::Live => "live",
        Stamp::Rehearsal => "rehearsal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_of(connection: &Connection) -> i64 {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_file_takes_the_steps_that_it_lacks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        super::super::file::create(&path).unwrap();
        let first = open_with(&path, Stamp::Live, &[VERSION_1]).unwrap();
        assert_eq!(version_of(&first), 1);
        first.execute("INSERT INTO claims VALUES ('c', 'u', '7', 1)", []).unwrap();
        drop(first);

        let steps =
            [VERSION_1, "ALTER TABLE claims ADD COLUMN seen_ms INTEGER", "CREATE TABLE more (a TEXT) STRICT"];
        let upgraded = open_with(&path, Stamp::Live, &steps).unwrap();
        assert_eq!(version_of(&upgraded), 3);
        let kept: i64 = upgraded
            .query_row("SELECT count(*) FROM claims WHERE seen_ms IS NULL", [], |r| r.get(0))
            .unwrap();
        assert_eq!(kept, 1);
        drop(upgraded);

        let older = open_with(&path, Stamp::Live, &[VERSION_1]);
        assert!(matches!(older, Err(OpenError::Newer { found: 3, known: 1, .. })));
    }

    #[test]
    fn a_ledger_has_an_id_of_its_own_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let id_of = |name: &str, steps: &[&str]| {
            let path = dir.path().join(name);
            super::super::file::create(&path).unwrap();
            // First as an older release would have left it, then as this one opens it.
            drop(open_with(&path, Stamp::Live, steps).unwrap());
            id(&open(&path, Stamp::Live).unwrap(), &path).unwrap()
        };
        let (upgraded, new) = (id_of("older.db", &[VERSION_1]), id_of("new.db", STEPS));
        for id in [&upgraded, &new] {
            assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        }
        assert_ne!(upgraded, new);
        assert_eq!(id_of("older.db", STEPS), upgraded);
    }

    #[test]
    fn a_step_that_fails_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        super::super::file::create(&path).unwrap();
        drop(open_with(&path, Stamp::Live, &[VERSION_1]).unwrap());
        let steps = [VERSION_1, "CREATE TABLE more (a TEXT) STRICT", "CREATE NONSENSE"];
        assert!(open_with(&path, Stamp::Live, &steps).is_err());
        let after = open_with(&path, Stamp::Live, &[VERSION_1]).unwrap();
        assert_eq!(version_of(&after), 1);
        let tables: i64 = after
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'more'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(tables, 0);
    }
}
