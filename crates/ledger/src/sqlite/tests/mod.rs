//! What only the file does: outliving its process, failing like a disk, refusing what isn't its own.

mod failing;
mod keys;
mod killed;
mod lost;
mod older;
mod open;
mod place;
mod refusing;
mod rule_switches;
mod transactions;

use super::queue::Operation;
use super::{SqliteLedger, SqliteOptions};
use crate::conformance::{self, id, opening, settling, verdict};
use crate::{FindBy, Ledger, Opened, Opening, RecordFilter, Stamp};
use commentd_contract::{Outcome, VerdictKind};
use rusqlite::{Connection, OpenFlags};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use tempfile::TempDir;

fn folder() -> (TempDir, PathBuf) {
    rule_switches::switch_off();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.db");
    (dir, path)
}

fn open(path: &Path) -> SqliteLedger {
    SqliteLedger::open(path, Stamp::Live, &SqliteOptions::default()).unwrap()
}

/// The file as another program sees it.
fn reader(path: &Path) -> Connection {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn count(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Holds the writer until something is sent, or panics it when the sender is dropped. What is asked for in the
/// meantime waits together.
fn hold(ledger: &SqliteLedger) -> (mpsc::Sender<()>, crate::LedgerFuture<'_, ()>) {
    let (word, held) = mpsc::channel();
    let (began, begun) = mpsc::channel();
    let pending = ledger.ask(|reply| Operation::Hold(began, held, reply));
    begun.recv().unwrap();
    (word, pending)
}

fn with_content(n: u64, content: String) -> Opening {
    let mut opening = opening(n);
    Arc::make_mut(&mut opening.comment).content = content;
    opening
}

#[tokio::test]
async fn it_conforms() {
    let mut folders = Vec::new();
    conformance::run(|| {
        let (dir, path) = folder();
        folders.push(dir);
        open(&path)
    })
    .await;
}

#[tokio::test]
async fn what_was_recorded_is_there_after_reopening() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    ledger.open(opening(1)).await.unwrap();
    ledger.settle(settling(1, 1, verdict(VerdictKind::Held))).await.unwrap();
    ledger.open(opening(2)).await.unwrap();
    let all = RecordFilter { limit: 10, ..RecordFilter::default() };
    let before = ledger.list(all.clone()).await.unwrap();
    drop(ledger);
    let ledger = open(&path);
    assert_eq!(ledger.list(all.clone()).await.unwrap(), before);
    ledger.close().await.unwrap();
    drop(ledger);
    assert_eq!(open(&path).list(all).await.unwrap(), before);
}

#[tokio::test]
async fn what_many_short_lived_processes_recorded_is_found() {
    let (_dir, path) = folder();
    let lives = 30;
    for life in 0..lives {
        let ledger = open(&path);
        for n in 15 * life..15 * (life + 1) {
            ledger.open(opening(n)).await.unwrap();
            if n % 15 != 7 {
                ledger.settle(settling(n, 1, verdict(VerdictKind::Delivered))).await.unwrap();
            }
        }
        ledger.close().await.unwrap();
    }
    let ledger = open(&path);
    for n in 0..15 * lives {
        assert!(ledger.find(FindBy::Id(id(n))).await.unwrap().is_some(), "delivery {n}");
        assert!(ledger.find(FindBy::Key(opening(n).key)).await.unwrap().is_some(), "delivery {n}");
    }
    let still_open = RecordFilter { outcome: Some(Outcome::Unknown), limit: 1000, ..RecordFilter::default() };
    assert_eq!(ledger.list(still_open).await.unwrap().len() as u64, lives);
}

#[tokio::test]
async fn an_answer_comes_after_the_commit() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    let file = reader(&path);
    let open_ones = "SELECT count(*) FROM ends WHERE settled_ms IS NULL";
    for n in 1..=20 {
        ledger.open(opening(n)).await.unwrap();
        assert_eq!(count(&file, open_ones), 1);
        ledger.settle(settling(n, 1, verdict(VerdictKind::Delivered))).await.unwrap();
        let settled = "SELECT count(*) FROM ends WHERE outcome = 'delivered' AND settled_ms IS NOT NULL";
        assert_eq!(count(&file, settled), i64::try_from(n).unwrap());
    }
    assert_eq!(ledger.commits(), 40);
}

#[tokio::test]
async fn what_waits_is_committed_together() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    let (word, held) = hold(&ledger);
    let pending: Vec<_> = (0..1000).map(|n| ledger.open(opening(n))).collect();
    word.send(()).unwrap();
    held.await.unwrap();
    for opened in pending {
        assert_eq!(opened.await, Ok(Opened::New));
    }
    assert_eq!(ledger.commits(), 2, "1000 by at most 512");

    let known = ledger.commits();
    assert!(matches!(ledger.open(opening(1)).await, Ok(Opened::Known(_))));
    ledger.find(FindBy::Id(id(1))).await.unwrap();
    assert_eq!(ledger.commits(), known, "where nothing is recorded, nothing waits for the disk");
}

#[tokio::test]
async fn a_check_writes() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    for n in 1..=5 {
        ledger.check().await.unwrap();
        assert_eq!(ledger.commits(), n);
    }
    let checks = "SELECT count(*) FROM meta WHERE name = 'checks' AND value = '5'";
    assert_eq!(count(&reader(&path), checks), 1);
}

#[tokio::test]
async fn too_many_waiting_are_refused_at_once() {
    let (_dir, path) = folder();
    let options = SqliteOptions { queue_limit: 10, ..SqliteOptions::default() };
    let ledger = SqliteLedger::open(&path, Stamp::Live, &options).unwrap();
    let (word, held) = hold(&ledger);
    let pending: Vec<_> = (0..30).map(|n| ledger.open(opening(n))).collect();
    word.send(()).unwrap();
    held.await.unwrap();
    let mut busy = 0;
    for (n, opened) in pending.into_iter().enumerate() {
        match opened.await {
            Ok(opened) => assert_eq!(opened, Opened::New),
            Err(error) => {
                assert_eq!(error, crate::LedgerError::Busy);
                assert_eq!(ledger.find(FindBy::Id(id(n as u64))).await, Ok(None));
                busy += 1;
            }
        }
    }
    assert_eq!(busy, 20, "30 asked where 10 have room");
}

#[tokio::test]
async fn the_log_is_emptied_as_it_grows() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    for n in 0..40 {
        let batch = (0..100).map(|i| with_content(n * 100 + i, "x".repeat(3000)));
        let pending: Vec<_> = batch.map(|opening| ledger.open(opening)).collect();
        for opened in pending {
            assert_eq!(opened.await, Ok(Opened::New));
        }
    }
    let size = |suffix: &str| {
        std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |metadata| metadata.len())
    };
    assert!(size("") > 8 << 20, "{} bytes in the database", size(""));
    assert!(size("-wal") < 12 << 20, "{} bytes in the log", size("-wal"));
}

#[tokio::test]
async fn who_reads_the_file_holds_nobody_up() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    ledger.open(opening(0)).await.unwrap();
    let file = reader(&path);
    file.execute_batch("BEGIN").unwrap();
    assert_eq!(count(&file, "SELECT count(*) FROM deliveries"), 1);
    for n in 1..=300 {
        ledger.open(with_content(n, "x".repeat(20_000))).await.unwrap();
    }
    ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    ledger.forget(id(1)).await.unwrap();
    assert_eq!(count(&file, "SELECT count(*) FROM deliveries"), 1, "its snapshot stands");
    file.execute_batch("COMMIT").unwrap();
    assert_eq!(count(&file, "SELECT count(*) FROM deliveries"), 301);
}

#[tokio::test]
async fn what_is_forgotten_is_erased_from_the_disk() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    let secret = "a text that nobody should find again";
    let on_disk = || {
        ["", "-wal"].iter().any(|suffix| {
            let bytes = std::fs::read(format!("{}{suffix}", path.display())).unwrap_or_default();
            bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
        })
    };
    for (n, content) in [(1, secret.to_owned()), (2, secret.repeat(1000))] {
        ledger.open(with_content(n, content)).await.unwrap();
        ledger.settle(settling(n, 1, verdict(VerdictKind::Delivered))).await.unwrap();
        assert!(on_disk());
        ledger.forget(id(n)).await.unwrap();
        // The log is emptied after the answer, and before the next one.
        ledger.check().await.unwrap();
        assert!(!on_disk(), "delivery {n}");
        assert_eq!(ledger.find(FindBy::Id(id(n))).await.unwrap().unwrap().outcome(), Outcome::Delivered);
    }
}

/// Of comments of any size, in any order, wherever pages were split or joined.
#[tokio::test]
async fn nothing_is_left_of_many_that_are_forgotten() {
    let mut random = fastrand::Rng::with_seed(5);
    for size in [20, 300, 1500, 5000, 20_000] {
        let (_dir, path) = folder();
        let ledger = open(&path);
        let mark = |n: u64| format!("secret-{n:06}-");
        let mut numbers: Vec<u64> = (0..120).collect();
        for n in &numbers {
            let content = mark(*n).repeat(size / 14 + 1);
            ledger.open(with_content(*n, content)).await.unwrap();
        }
        random.shuffle(&mut numbers);
        for n in &numbers {
            ledger.settle(settling(*n, 1, verdict(VerdictKind::Delivered))).await.unwrap();
        }
        random.shuffle(&mut numbers);
        for n in &numbers[20..] {
            ledger.forget(id(*n)).await.unwrap();
        }
        ledger.check().await.unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(std::fs::read(format!("{}-wal", path.display())).unwrap_or_default());
        let text = String::from_utf8_lossy(&bytes);
        for (index, n) in numbers.iter().enumerate() {
            assert_eq!(text.contains(&mark(*n)), index < 20, "delivery {n} of {size} bytes");
        }
    }
}

/// An executor that drops a task as soon as it is woken, and with it what the task owned.
#[derive(Default)]
struct DropsOnWake {
    task: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    dropped: Mutex<Option<std::thread::Result<()>>>,
}

impl Wake for DropsOnWake {
    fn wake(self: Arc<Self>) {
        let task = self.task.lock().unwrap().take();
        *self.dropped.lock().unwrap() = Some(catch_unwind(AssertUnwindSafe(|| drop(task))));
    }
}

#[test]
fn a_ledger_that_is_dropped_by_its_own_answer_ends() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    let (word, pending) = hold(&ledger);
    drop(pending);
    let executor = Arc::new(DropsOnWake::default());
    let waker = Waker::from(Arc::clone(&executor));
    let mut future: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _ = ledger.check().await;
    });
    assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    *executor.task.lock().unwrap() = Some(future);
    word.send(()).unwrap();
    // The lock is free once the writer has ended.
    while SqliteLedger::open(&path, Stamp::Live, &SqliteOptions::default()).is_err() {
        std::thread::yield_now();
    }
    assert!(matches!(*executor.dropped.lock().unwrap(), Some(Ok(()))), "a thread can't wait for itself");
}

/// The writer must be able to move to its thread, and the ledger to be shared.
const _: () = {
    const fn is_shared<T: Send + Sync + 'static>() {}
    is_shared::<SqliteLedger>();
};

/// A request of some KiB made a ledger of some GiB: each item repeated what all share.
#[tokio::test]
async fn what_the_items_of_a_batch_share_is_written_once() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    let mut first = opening(0);
    Arc::make_mut(&mut Arc::make_mut(&mut first.comment).addressing).author = "x".repeat(16 << 10);
    let shared = Arc::clone(&first.comment.addressing);
    let mut asked = Vec::new();
    for n in 0..1000 {
        let mut item = opening(n);
        Arc::make_mut(&mut item.comment).addressing = Arc::clone(&shared);
        asked.push((ledger.open(item), ledger.settle(settling(n, 1, verdict(VerdictKind::Delivered)))));
    }
    for (opened, settled) in asked {
        assert_eq!(opened.await, Ok(Opened::New));
        settled.await.unwrap();
    }
    let apart = "SELECT count(*) FROM addressings";
    assert_eq!(count(&reader(&path), apart), 1);
    drop(ledger);
    let size = std::fs::metadata(&path).unwrap().len();
    println!("{size} bytes");
    let ledger = open(&path);
    assert!(size < 2 << 20, "{size} bytes for 1000 comments that share 16 KiB");
    while ledger.sweep(0, 100).await.unwrap() > 0 {}
    assert_eq!(count(&reader(&path), apart), 0, "it goes with the last of them");
}
