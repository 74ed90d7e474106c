//! A file of an older release holds the same after it was brought up to date.

use super::super::schema;
use super::{count, folder, open, reader};
use crate::conformance::{attempt, id, opening, settling, verdict};
use crate::own_files::with_suffix;
use crate::{
    AttemptEnd, FindBy, Ledger, LedgerError, MemoryLedger, Opened, Opening, RecordFilter, Settled, Settling,
    Stamp,
};
use commentd_contract::VerdictKind;
use commentd_delivery::Verdict;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, Resolution, ResolvedBy};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap()
}

/// Adds a row with these values in the table's own order.
fn insert(file: &Connection, table: &str, values: impl IntoIterator<Item = Value>) {
    let values: Vec<Value> = values.into_iter().collect();
    let places = vec!["?"; values.len()].join(", ");
    file.execute(&format!("INSERT INTO {table} VALUES ({places})"), params_from_iter(values)).unwrap();
}

/// The columns with which every version begins a delivery.
fn head(number: i64, record: &DeliveryRecord) -> [Value; 8] {
    [
        number.into(),
        record.id.as_bytes().to_vec().into(),
        record.key.caller.clone().into(),
        record.key.key.to_string().into(),
        record.key.item.into(),
        record.fingerprint.0.to_vec().into(),
        record.trace_id.to_string().into(),
        ms(record.created_ms).into(),
    ]
}

/// What a delivery comes to.
fn outcome(record: &DeliveryRecord) -> [Value; 2] {
    [record.settled_ms.map(ms).into(), record.outcome().as_str().to_owned().into()]
}

/// Where an attempt was sent, and its marker.
fn sent(attempt: &AttemptRecord) -> [Value; 6] {
    let to = &attempt.destination;
    [
        to.provider.as_str().to_owned().into(),
        to.channel.clone().into(),
        to.base_url.clone().into(),
        to.account.clone().into(),
        to.manifest_version.into(),
        attempt.marker.clone().into(),
    ]
}

/// How an attempt ended.
fn ended(attempt: &AttemptRecord) -> [Value; 2] {
    [attempt.verdict.as_ref().map(json).into(), attempt.resolution.as_ref().map(json).into()]
}

/// As version 2 wrote it.
fn write_2(file: &Connection, number: i64, record: &DeliveryRecord) {
    insert(file, "deliveries", head(number, record).into_iter().chain(outcome(record)));
    write_beside(file, number, record, &record.attempts);
}

/// As version 3 wrote it: the first attempt with its delivery.
fn write_3(file: &Connection, number: i64, record: &DeliveryRecord) {
    let (first, further) = record.attempts.split_first().unwrap();
    let known = head(number, record).into_iter().chain(outcome(record));
    insert(file, "deliveries", known.chain(sent(first)).chain(ended(first)));
    write_beside(file, number, record, further);
}

/// As version 4 wrote it: the comment, too, with its delivery, and what the first attempt came to apart.
fn write_4(file: &Connection, number: i64, record: &DeliveryRecord) {
    write_apart(file, number, record, None);
}

/// As version 6 wrote it: with the number of a shared addressing, and with the ledger's age at the settling.
fn write_6(file: &Connection, number: i64, record: &DeliveryRecord) {
    write_apart(file, number, record, Some([Value::Null, 0.into()]));
}

fn write_apart(file: &Connection, number: i64, record: &DeliveryRecord, since_6: Option<[Value; 2]>) {
    let (addressing, age) = since_6.map(<(Value, Value)>::from).unzip();
    let (first, further) = record.attempts.split_first().unwrap();
    let comment: Value = record.comment.as_ref().map(|comment| json(&**comment)).into();
    let delivery = head(number, record).into_iter().chain(sent(first)).chain([comment]);
    insert(file, "deliveries", delivery.chain(addressing));
    // Of an open one, only if another had opened long since.
    if first.verdict.is_some() || !further.is_empty() || number <= NAMED {
        let end = [number.into()].into_iter().chain(outcome(record)).chain(ended(first));
        insert(file, "ends", end.chain(age));
    }
    write_attempts(file, number, record, further);
}

/// What versions 2 and 3 have in tables of their own: comments, claims, and these attempts.
fn write_beside(file: &Connection, number: i64, record: &DeliveryRecord, attempts: &[AttemptRecord]) {
    if let Some(comment) = &record.comment {
        insert(file, "comments", [number.into(), json(&**comment).into()]);
    }
    write_attempts(file, number, record, attempts);
}

fn write_attempts(file: &Connection, number: i64, record: &DeliveryRecord, attempts: &[AttemptRecord]) {
    for attempt in attempts {
        let of = [number.into(), attempt.number.into()].into_iter();
        let began = [ms(attempt.started_ms).into()];
        insert(file, "attempts", of.chain(sent(attempt)).chain(began).chain(ended(attempt)));
    }
    for attempt in &record.attempts {
        let to = &attempt.destination;
        let resolved = attempt.resolution.as_ref().map(|resolution| &resolution.verdict);
        for verdict in [attempt.verdict.as_ref(), resolved].into_iter().flatten() {
            if verdict.comment_id_is_ours {
                let claim = [&to.channel, &to.base_url, &verdict.comment_id].map(|text| text.clone().into());
                insert(file, "claims", claim.into_iter().chain([number.into()]));
            }
        }
    }
}

/// The last delivery that has a row in `ends` even if it is open.
const NAMED: i64 = 20;

/// What versions 3 and 4 had for finding a delivery.
fn write_names(file: &Connection) {
    file.execute_batch(&format!(
        "INSERT INTO names SELECT 100 * number, number FROM deliveries WHERE number <= {NAMED};
         UPDATE meta SET value = '{NAMED}' WHERE name = 'named';",
    ))
    .unwrap();
}

/// What came to it with version 5.
fn write_runs(file: &Connection) {
    write_names(file);
    file.execute_batch(&format!(
        "INSERT INTO name_pages VALUES (1, zeroblob(4000));
         INSERT INTO name_runs VALUES ({NAMED}, 0, 1, zeroblob(8), zeroblob(32));"
    ))
    .unwrap();
}

fn ours(comment_id: &str) -> Verdict {
    let mut verdict = verdict(VerdictKind::Delivered);
    (verdict.comment_id, verdict.comment_id_is_ours) = (comment_id.into(), true);
    verdict
}

/// Deliveries of every kind: several attempts, resolved, claimed, forgotten, open, of a batch.
async fn recorded() -> MemoryLedger {
    let ledger = MemoryLedger::new(Stamp::Live);
    for n in 0..40 {
        let key = KeyRef { caller: "bot".into(), key: "batch".into(), item: n as u32 };
        let opening = if n < 30 { opening(n) } else { Opening { key, ..opening(n) } };
        ledger.open(opening).await.unwrap();
    }
    for (n, kind) in VerdictKind::ALL.into_iter().enumerate() {
        ledger.settle(settling(n as u64, 1, verdict(kind))).await.unwrap();
    }
    for n in 10..20 {
        ledger.settle(settling(n, 1, verdict(VerdictKind::NotSent))).await.unwrap();
        ledger.intend(id(n), attempt(2)).await.unwrap();
        let second = if n % 2 == 0 { ours(&format!("{n}")) } else { verdict(VerdictKind::Unknown) };
        ledger.settle(settling(n, 2, second)).await.unwrap();
    }
    for n in 20..25 {
        ledger.settle(settling(n, 1, verdict(VerdictKind::Unknown))).await.unwrap();
        let resolution = Resolution { by: ResolvedBy::Lookup, at_ms: 9, verdict: ours(&format!("{n}")) };
        let settling = Settling { id: id(n), attempt: 1, end: AttemptEnd::Resolution(resolution), at_ms: 9 };
        ledger.settle(settling).await.unwrap();
    }
    ledger.settle(settling(30, 1, ours("30"))).await.unwrap();
    ledger.forget(id(30)).await.unwrap();
    ledger.settle(settling(39, 1, verdict(VerdictKind::NotSent))).await.unwrap();
    ledger.intend(id(39), attempt(2)).await.unwrap();
    ledger
}

#[tokio::test]
async fn version_2_holds_what_it_held() {
    it_holds_what_it_held(2, write_2, |_| ()).await;
}

#[tokio::test]
async fn version_3_holds_what_it_held() {
    it_holds_what_it_held(3, write_3, write_names).await;
}

#[tokio::test]
async fn version_4_holds_what_it_held() {
    it_holds_what_it_held(4, write_4, write_names).await;
}

#[tokio::test]
async fn version_5_holds_what_it_held() {
    it_holds_what_it_held(5, write_4, write_runs).await;
}

#[tokio::test]
async fn versions_6_and_7_hold_what_they_held() {
    it_holds_what_it_held(6, write_6, write_runs).await;
    it_holds_what_it_held(7, write_6, write_runs).await;
}

async fn it_holds_what_it_held(
    version: usize,
    write: impl Fn(&Connection, i64, &DeliveryRecord),
    end: impl Fn(&Connection),
) {
    let (_dir, path) = folder();
    super::super::file::create(&path).unwrap();
    let file = schema::open_version(&path, Stamp::Live, version).unwrap();
    let all = RecordFilter { limit: 100, ..RecordFilter::default() };
    let before = recorded().await;
    let listed = before.list(all.clone()).await.unwrap();
    for (record, number) in listed.iter().rev().zip(1..) {
        write(&file, number, record);
    }
    end(&file);
    drop(file);
    after_each_statement(&path, version, |stopped| assert_is_brought_up_to_date(stopped, listed.len()));

    let after = open(&path);
    assert_eq!(after.list(all.clone()).await.unwrap(), listed);
    for record in &listed {
        assert_eq!(after.find(FindBy::Id(record.id)).await.unwrap().as_ref(), Some(record));
        assert_eq!(after.find(FindBy::Key(record.key.clone())).await.unwrap().as_ref(), Some(record));
        let like_it = RecordFilter { outcome: Some(record.outcome()), ..all.clone() };
        assert_eq!(after.list(like_it.clone()).await, before.list(like_it).await);
        let again = Opening { id: id(999), key: record.key.clone(), ..opening(0) };
        assert_eq!(after.open(again).await, Ok(Opened::Known(Box::new(record.clone()))));
    }
    let batch =
        RecordFilter { key: Some(("bot".into(), "batch".into())), limit: 100, ..RecordFilter::default() };
    assert_eq!(after.list(batch.clone()).await, before.list(batch).await);
    assert_eq!(count(&reader(&path), "SELECT count(*) FROM attempts"), 11, "further ones only");
    let without_end = "SELECT count(*) FROM deliveries WHERE number NOT IN (SELECT delivery FROM ends)";
    assert_eq!(count(&reader(&path), without_end), 0, "open ones have one, too");
    let names = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'name%'";
    assert_eq!(count(&reader(&path), names), 0, "what took the place of the keys is gone");

    for n in [12, 21, 30] {
        let taken = settling(35, 1, ours(&format!("{n}")));
        assert_eq!(after.settle(taken).await, Ok(Settled::ClaimLost));
    }
    assert!(matches!(after.settle(settling(12, 2, ours("x"))).await, Err(LedgerError::Conflict(_))));
    assert_eq!(after.recover(7).await, before.recover(7).await);
    assert_eq!(after.list(all.clone()).await, before.list(all).await);
    assert_eq!(after.sweep(0, 1000).await, before.sweep(0, 1000).await);
    assert_eq!(after.open(opening(0)).await, Ok(Opened::New));
    assert_eq!(
        after.settle(settling(0, 1, ours("12"))).await,
        Ok(Settled::Recorded),
        "a swept claim is free"
    );
    assert_eq!(count(&reader(&path), "SELECT count(*) FROM claims"), 1);
}

/// What a kill would leave after each statement of the steps that a file of this version lacks. They are one
/// transaction, so that each copy is as the file was.
fn after_each_statement(path: &Path, version: usize, check: impl Fn(&Path)) {
    let file = schema::open_version(path, Stamp::Live, version).unwrap();
    super::super::keys::define_hash(&file).unwrap();
    // So small that much of it is written before the commit.
    file.execute_batch("PRAGMA cache_size = 2; BEGIN IMMEDIATE").unwrap();
    for statement in schema::steps_after(version).flat_map(|step| step.split_inclusive(';')) {
        file.execute_batch(statement).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("ledger.db");
        for suffix in ["", "-wal"] {
            std::fs::copy(with_suffix(path, suffix), with_suffix(&copy, suffix)).unwrap();
        }
        check(&copy);
    }
    file.execute_batch("ROLLBACK").unwrap();
}

fn assert_is_brought_up_to_date(path: &Path, deliveries: usize) {
    drop(open(path));
    let file = reader(path);
    for held in
        ["deliveries", "ends", "keys JOIN deliveries ON number = delivery AND keys.item = deliveries.item"]
    {
        assert_eq!(count(&file, &format!("SELECT count(*) FROM {held}")), deliveries as i64, "{held}");
    }
    assert_eq!(count(&file, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

const FILE: &str = "COMMENTD_TEST_OLDER_LEDGER";
const MANY: usize = 20_000;

/// `kill -9` of a process that brings a file up to date, at any moment.
#[test]
fn an_upgrade_that_is_killed_changes_nothing() {
    let (_dir, older) = folder();
    super::super::file::create(&older).unwrap();
    let file = schema::open_version(&older, Stamp::Live, 7).unwrap();
    file.execute_batch(&format!(
        "INSERT INTO deliveries
             WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < {MANY})
             SELECT n, randomblob(16), 'bot', 'key-' || n, 0, zeroblob(32), 't', 0, 'native_http', 'c', 'u', '', 1, '',
                 NULL, NULL FROM n;
         INSERT INTO ends (delivery, outcome) SELECT number, 'unknown' FROM deliveries WHERE number % 9 > 0"
    ))
    .unwrap();
    drop(file);
    let mut left_behind = 0;
    for delay_ms in [0, 1, 2, 4, 8, 16, 32, 64, 96, 128, 192, 256] {
        let (_dir, path) = folder();
        for suffix in ["", "-wal"] {
            let _ = std::fs::copy(with_suffix(&older, suffix), with_suffix(&path, suffix));
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::tests::older::child", "--ignored", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("opening")));
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let version = "SELECT user_version FROM pragma_user_version";
        left_behind += i64::from(count(&reader(&path), version) == 7);
        assert_is_brought_up_to_date(&path, MANY);
    }
    assert!(left_behind > 0, "some were killed before they had done it");
}

#[test]
#[ignore = "run, and killed, by the test above"]
fn child() {
    let Some(path) = std::env::var_os(FILE) else { return };
    println!("opening");
    let ledger = open(path.as_ref());
    println!("opened");
    std::thread::park();
    drop(ledger);
}
