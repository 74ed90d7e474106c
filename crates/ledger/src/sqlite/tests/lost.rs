//! What a crash has left of the write-ahead log, and what became of that before the next start.

use super::super::{OpenError, SqliteLedger, SqliteOptions};
use super::killed::{FIRST_OF_MANY, killed};
use super::{folder, open};
use crate::conformance::{id, opening};
use crate::own_files::with_suffix;
use crate::{FindBy, Ledger, Opened, Opening, Stamp};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// How many places of a log are damaged, one after the other.
const PLACES: usize = 100;

fn accepting() -> SqliteOptions {
    SqliteOptions { accept_lost_log: true, ..SqliteOptions::default() }
}

/// The ledger that a killed process left, in a folder of its own, without what is named.
fn copy(from: &Path, without: &[&str]) -> (TempDir, PathBuf) {
    let (dir, path) = folder();
    for suffix in ["", "-wal", ".lock"] {
        if !without.contains(&suffix) {
            std::fs::copy(with_suffix(from, suffix), with_suffix(&path, suffix)).unwrap();
        }
    }
    (dir, path)
}

/// Whether a start refuses this ledger for what is lost; otherwise all that was answered must be there.
async fn is_refused(path: &Path, last: u64) -> bool {
    let ledger = match SqliteLedger::open(path, Stamp::Live, &SqliteOptions::default()) {
        Ok(ledger) => ledger,
        Err(error @ OpenError::LostLog { .. }) => {
            let text = error.to_string();
            assert!(text.contains("ledger.db-wal") && text.contains("--accept-lost-wal"), "{text}");
            return true;
        }
        Err(error) => panic!("{error}"),
    };
    for n in FIRST_OF_MANY..=last {
        let found = ledger.find(FindBy::Id(id(n))).await.unwrap();
        assert!(found.is_some(), "delivery {n} is forgotten without a word");
    }
    false
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_a_log_forgets_nothing_without_a_word() {
    let (_dir, left, last) = killed();
    let log = std::fs::read(with_suffix(&left, "-wal")).unwrap();
    for without in [&[] as &[_], &[".lock"]] {
        let mut refused = 0;
        for place in 0..PLACES {
            let (_dir, path) = copy(&left, without);
            let mut damaged = log.clone();
            let at = place * log.len() / PLACES;
            damaged[at] ^= 1 << (place % 8);
            // Of the last commits nobody knows whether they were synced, if the lock's file is gone, too.
            if !without.is_empty() && at + 20 * 4120 > log.len() {
                continue;
            }
            std::fs::write(with_suffix(&path, "-wal"), &damaged).unwrap();
            refused += usize::from(is_refused(&path, last).await);
            if place % 20 == 0 && refused > 0 {
                assert!(is_refused(&path, last).await, "a refusal changes nothing");
                drop(SqliteLedger::open(&path, Stamp::Live, &accepting()).unwrap());
                SqliteLedger::open(&path, Stamp::Live, &SqliteOptions::default()).expect("it was accepted");
            }
        }
        assert!(refused > PLACES / 2, "{refused} of {PLACES} were refused");
    }
}

#[tokio::test]
async fn a_log_that_is_gone_after_a_crash_is_missed() {
    let (_dir, left, last) = killed();
    for without in [&["-wal"] as &[_], &["-wal", ".lock"]] {
        let (_dir, path) = copy(&left, without);
        assert!(is_refused(&path, last).await, "without {without:?}");
        assert!(is_refused(&path, last).await, "a refusal changes nothing");
        let ledger = SqliteLedger::open(&path, Stamp::Live, &accepting()).unwrap();
        assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New));
    }
    // As it was begun, and cut in the middle.
    for length in [0, 20, 200_000] {
        let (_dir, path) = copy(&left, &["-wal"]);
        let log = std::fs::read(with_suffix(&left, "-wal")).unwrap();
        std::fs::write(with_suffix(&path, "-wal"), &log[..length]).unwrap();
        assert!(is_refused(&path, last).await, "{length} bytes of {} are left", log.len());
    }
    // Another one, as from a backup.
    let (_dir, path) = copy(&left, &[]);
    let (_other, other, _) = killed();
    std::fs::copy(with_suffix(&other, "-wal"), with_suffix(&path, "-wal")).unwrap();
    assert!(is_refused(&path, last).await, "the log of another ledger");
    let (_dir, path) = copy(&left, &[]);
    assert!(!is_refused(&path, last).await, "what is whole is taken");
}

#[tokio::test]
async fn a_ledger_that_was_closed_needs_no_log() {
    let (_dir, path) = folder();
    for n in 1..4 {
        let ledger = open(&path);
        ledger.open(opening(n)).await.unwrap();
        ledger.forget(id(9)).await.unwrap_err();
        ledger.close().await.unwrap();
        drop(ledger);
        assert!(!with_suffix(&path, "-wal").exists(), "nothing is left beside it");
    }
    std::fs::remove_file(with_suffix(&path, ".lock")).unwrap();
    assert!(open(&path).find(FindBy::Id(id(3))).await.unwrap().is_some());
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_that_is_deleted_while_it_is_written_stops_all_recording() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    ledger.open(opening(1)).await.unwrap();
    std::fs::remove_file(with_suffix(&path, "-wal")).unwrap();
    let failed = ledger.open(opening(2)).await;
    assert!(failed.is_err_and(|error| error.to_string().contains("-wal was moved, replaced or deleted")));
}

/// A bit that flips outside the log has no checksum behind it: the key was free again, and its comment sent again.
#[tokio::test]
async fn a_key_that_was_damaged_in_the_file_is_not_free() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    let asked = opening(1);
    assert_eq!(ledger.open(asked.clone()).await, Ok(Opened::New));
    let damaged =
        Connection::open(&path).unwrap().execute("UPDATE deliveries SET key = key || '~'", []).unwrap();
    assert_eq!(damaged, 1);
    let found = ledger.find(FindBy::Key(asked.key.clone())).await.unwrap_err();
    assert!(found.to_string().contains("damaged"), "{found}");
    assert!(ledger.open(Opening { id: id(2), ..asked }).await.is_err(), "its key was claimed anew");
    ledger.open(opening(3)).await.expect("others go on");
}
