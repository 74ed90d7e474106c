//! Files that aren't opened, and what their refusal says.

use super::super::ledger::check_library;
use super::super::{OpenError, SqliteLedger, SqliteOptions};
use super::{folder, open};
use crate::conformance::opening;
use crate::{Ledger, LockError, Stamp};
use rusqlite::Connection;
use std::path::Path;

fn refusal(path: &Path, stamp: Stamp) -> OpenError {
    let error = SqliteLedger::open(path, stamp, &SqliteOptions::default()).expect_err("it is refused");
    let text = error.to_string();
    assert!(text.contains("--ledger"), "what to do: {text}");
    assert!(text.contains(path.file_name().unwrap().to_str().unwrap()), "which file: {text}");
    error
}

#[tokio::test]
async fn a_second_opener_learns_who_holds_it() {
    let (dir, path) = folder();
    let first = open(&path);
    let OpenError::Held(holder) = refusal(&path, Stamp::Live) else { panic!("it was opened twice") };
    assert_eq!((holder.pid, holder.address), (Some(std::process::id()), None));
    first.announce("127.0.0.1:4711").unwrap();
    let error = refusal(&path, Stamp::Live);
    let text = error.to_string();
    assert!(text.contains(&std::process::id().to_string()) && text.contains("127.0.0.1:4711"), "{text}");
    #[cfg(unix)]
    {
        let link = dir.path().join("link.db");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let options = SqliteOptions::default();
        let by_link = SqliteLedger::open(&link, Stamp::Live, &options);
        assert!(matches!(by_link, Err(OpenError::Held(_))), "one file, one lock: {by_link:?}");
    }
    first.close().await.unwrap();
    assert!(matches!(first.announce("127.0.0.1:4712"), Err(LockError::Released)));
    let second = open(&path);
    drop(first);
    assert!(matches!(refusal(&path, Stamp::Live), OpenError::Held(_)), "the lock is the second's now");
    drop((second, dir));
}

#[test]
fn a_newer_schema_is_left_alone() {
    let (_dir, path) = folder();
    drop(open(&path));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = refusal(&path, Stamp::Live);
    assert!(matches!(error, OpenError::Newer { found: 99, known: 8, .. }), "{error:?}");
    assert!(error.to_string().contains("99") && error.to_string().contains("newer commentd"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn the_other_stamp_is_refused() {
    for (born, other) in [(Stamp::Live, Stamp::Rehearsal), (Stamp::Rehearsal, Stamp::Live)] {
        let (_dir, path) = folder();
        let ledger = SqliteLedger::open(&path, born, &SqliteOptions::default()).unwrap();
        assert_eq!(ledger.describe().stamp, born);
        ledger.open(opening(1)).await.unwrap();
        drop(ledger);
        let error = refusal(&path, other);
        assert!(
            matches!(&error, OpenError::WrongStamp { found, asked, .. } if (*found, *asked) == (born, other))
        );
        assert!(error.to_string().contains("rehearsals") && error.to_string().contains("live"), "{error}");
        SqliteLedger::open(&path, born, &SqliteOptions::default()).unwrap();
    }
}

#[test]
fn another_programs_database_is_left_alone() {
    for sql in [
        "CREATE TABLE bookmarks (url TEXT)",
        "PRAGMA application_id = 1; PRAGMA user_version = 1; CREATE TABLE meta (name TEXT, value TEXT)",
        "PRAGMA user_version = 7",
    ] {
        let (_dir, path) = folder();
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(refusal(&path, Stamp::Live), OpenError::Foreign { .. }), "{sql}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{sql}");
    }
}

#[test]
fn what_is_no_database_is_left_alone() {
    for bytes in [b"hello".to_vec(), b"{\"not\":\"a database\"}\n".repeat(500), vec![0xff; 8192]] {
        let (_dir, path) = folder();
        std::fs::write(&path, &bytes).unwrap();
        let error = refusal(&path, Stamp::Live);
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_damaged_ledger_says_so() {
    let (_dir, path) = folder();
    drop(open(&path));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let error = refusal(&path, Stamp::Live);
    assert!(matches!(error, OpenError::NotADatabase { .. }), "{error:?}");
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn what_can_not_be_a_file_is_named() {
    let (dir, path) = folder();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(refusal(&path, Stamp::Live), OpenError::NotAFile { .. }));
    assert!(!dir.path().join("ledger.db.lock").exists(), "no litter");

    let missing = dir.path().join("missing").join("l.db");
    assert!(matches!(refusal(&missing, Stamp::Live), OpenError::NoFolder { .. }));
    assert!(!dir.path().join("missing").exists(), "it is created on request only");

    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below_a_file = file.join("l.db");
    assert!(matches!(refusal(&below_a_file, Stamp::Live), OpenError::Io { .. }));
}

#[test]
fn an_old_sqlite_is_refused() {
    assert!(check_library(rusqlite::version_number()).is_ok());
    assert!(check_library(3_051_003).is_ok());
    let error = check_library(3_051_002).unwrap_err();
    assert!(error.to_string().contains("3.51.2") && error.to_string().contains("3.51.3"), "{error}");
    assert!(check_library(3_050_004).is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _) = folder();
    let state = dir.path().join("a").join("state");
    let path = state.join("ledger.db");
    let options = SqliteOptions { create_parent: true, ..SqliteOptions::default() };
    let ledger = SqliteLedger::open(&path, Stamp::Live, &options).unwrap();
    ledger.open(opening(1)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = format!("{}{suffix}", path.display());
        assert_eq!(mode(Path::new(&file)), 0o600, "{file}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_name_is_a_name() {
    let (dir, _) = folder();
    for name in ["file:ledger?mode=memory", ":memory:", "%20 #", "ledger 好.db"] {
        let path = dir.path().join(name);
        let ledger = open(&path);
        ledger.open(opening(1)).await.unwrap();
        drop(ledger);
        assert_eq!(super::count(&super::reader(&path), "SELECT count(*) FROM deliveries"), 1, "{name}");
    }
}
