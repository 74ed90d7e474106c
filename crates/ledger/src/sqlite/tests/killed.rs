//! `kill -9`: a process that records, and ends without a word.

use super::super::{OpenError, SqliteLedger, SqliteOptions};
use super::{folder, open};
use crate::conformance::{attempt, id, opening, settling, verdict};
use crate::{FindBy, Ledger, Stamp};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::record::interrupted;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const FILE: &str = "COMMENTD_TEST_KILLED_LEDGER";
/// The first of the deliveries that the child opens one after the other until it is killed.
pub(super) const FIRST_OF_MANY: u64 = 100;

/// A ledger whose process was killed, and the last of the deliveries that it had answered.
pub(super) fn killed() -> (TempDir, PathBuf, u64) {
    let (dir, path) = folder();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::tests::killed::child", "--ignored", "--nocapture"])
        .env(FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let answered = |line: String| Some(line.split_once("answered ")?.1.parse::<u64>().unwrap());
    let mut last = lines.by_ref().filter_map(answered).nth(50).expect("the child records");

    let options = SqliteOptions::default();
    let Err(OpenError::Held(holder)) = SqliteLedger::open(&path, Stamp::Live, &options) else {
        panic!("the child has the lock")
    };
    assert_eq!((holder.pid, holder.address.as_deref()), (Some(child.id()), Some("127.0.0.1:4711")));
    child.kill().unwrap();
    child.wait().unwrap();
    last = lines.filter_map(answered).last().unwrap_or(last);
    (dir, path, last)
}

#[tokio::test]
async fn what_a_killed_process_was_answered_is_there() {
    let (_dir, path, last) = killed();
    let ledger = open(&path);
    let unknown = ledger.recover(9).await.unwrap();
    for n in FIRST_OF_MANY..=last {
        let record = ledger.find(FindBy::Id(id(n))).await.unwrap();
        assert_eq!(record.expect("it was answered").outcome(), Outcome::Unknown, "delivery {n}");
    }
    let delivered = ledger.find(FindBy::Id(id(1))).await.unwrap().unwrap();
    assert_eq!(delivered.outcome(), Outcome::Delivered);
    assert_eq!(unknown[0], id(2), "oldest first");
    let second = ledger.find(FindBy::Id(id(2))).await.unwrap().unwrap();
    let verdicts: Vec<_> = second.attempts.iter().map(|attempt| attempt.verdict.clone()).collect();
    assert_eq!(verdicts, [Some(verdict(VerdictKind::NotSent)), Some(interrupted())]);
    assert!(unknown.len() as u64 > last - FIRST_OF_MANY);
}

#[tokio::test]
#[ignore = "run, and killed, by the test above"]
async fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let ledger = open(path.as_ref());
    ledger.announce("127.0.0.1:4711").unwrap();
    ledger.open(opening(1)).await.unwrap();
    ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    ledger.open(opening(2)).await.unwrap();
    ledger.settle(settling(2, 1, verdict(VerdictKind::NotSent))).await.unwrap();
    ledger.intend(id(2), attempt(2)).await.unwrap();
    for n in FIRST_OF_MANY.. {
        ledger.open(opening(n)).await.unwrap();
        println!("answered {n}");
    }
}
