//! A ledger that can't record, or not in time, must not make a known comment look unsent. A run with a full ledger
//! found batches in which `delivered` had become `not_sent`, because the intent was tried before the key was read.

use crate::support::{TestBoard, batch, command};
use commentd_test_support::ServingProcess;
use serde_json::{Value, json};

fn items(reply: &Value) -> Vec<(&str, i64)> {
    let results = reply["data"]["results"].as_array().unwrap_or_else(|| panic!("{reply}"));
    results
        .iter()
        .map(|item| (item["outcome"].as_str().unwrap(), item["error_code"].as_i64().unwrap()))
        .collect()
}

#[test]
fn what_is_known_is_replayed_though_nothing_can_be_recorded() {
    let (board, folder) = (TestBoard::honest(), tempfile::tempdir().unwrap());
    let mut command = command(&board.url, folder.path());
    let read_only = folder.path().join("read-only");
    command.env("COMMENTD_LEDGER_FAULT", format!("read-only-with:{}", read_only.display()));
    let sidecar = ServingProcess::start(command);
    let (_, first) = batch(&sidecar, "known", &["one"], 30_000);
    assert_eq!(items(&first), [("delivered", 0)], "{first}");
    std::fs::write(&read_only, "").unwrap();
    let (_, again) = batch(&sidecar, "known", &["one"], 30_000);
    assert_eq!(items(&again), [("delivered", 0)], "{again}");
    assert_eq!(again["data"]["results"][0]["comment_id"], first["data"]["results"][0]["comment_id"]);
    assert_eq!(again["data"]["results"][0]["replayed"], true);
    let (_, new) = batch(&sidecar, "new", &["two"], 30_000);
    assert_eq!(items(&new), [("not_sent", 61)], "{new}");
    let (_, other) = batch(&sidecar, "known", &["another"], 30_000);
    assert_eq!(items(&other), [("refused", 63)], "{other}");
}

#[test]
fn nobody_is_told_not_sent_before_the_key_was_read() {
    let (board, folder) = (TestBoard::honest(), tempfile::tempdir().unwrap());
    let sidecar = ServingProcess::start(command(&board.url, folder.path()));
    let (_, first) = batch(&sidecar, "known", &["one"], 30_000);
    assert_eq!(items(&first), [("delivered", 0)], "{first}");
    // Another program has the file's write lock, so the ledger's answer doesn't come before the deadline.
    let other = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (_, again) = batch(&sidecar, "known", &["one"], 200);
    assert_eq!(items(&again), [("unknown", 64)], "{again}");
    other.execute_batch("ROLLBACK").unwrap();
    let (_, at_last) = batch(&sidecar, "known", &["one"], 30_000);
    assert_eq!(items(&at_last), [("delivered", 0)], "{at_last}");
    assert_eq!(json!(at_last["data"]["results"][0]["replayed"]), true);
}
