//! Full disks, failing disks, and bugs of our own.

use super::super::{SqliteLedger, SqliteOptions};
use super::{count, folder, hold, open, reader, with_content};
use crate::conformance::{attempt, id, opening, settling, verdict};
use crate::{FindBy, Ledger, LedgerError, Opened, Settled, Stamp};
use commentd_contract::VerdictKind;

const LEFT_OVER: &str = "SELECT (SELECT count(*) FROM attempts WHERE delivery NOT IN (SELECT number FROM deliveries)) \
     + (SELECT count(*) FROM ends WHERE delivery NOT IN (SELECT number FROM deliveries))";

#[tokio::test]
async fn a_full_disk_fails_what_it_can_not_hold_and_may_recover() {
    let (_dir, path) = folder();
    let options = SqliteOptions::default();
    let ledger = SqliteLedger::open_tuned(&path, Stamp::Live, &options, |connection| {
        connection.pragma_update_and_check(None, "max_page_count", 60, |_| Ok(()))
    })
    .unwrap();
    let mut opened = 0;
    let failed = loop {
        match ledger.open(with_content(opened, "x".repeat(9000))).await {
            Ok(_) => opened += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&failed, LedgerError::Failed(reason) if reason.contains("full")), "{failed:?}");
    assert!(opened > 5, "{opened} were opened");
    assert_eq!(ledger.find(FindBy::Id(id(opened))).await, Ok(None));
    let file = reader(&path);
    assert_eq!(count(&file, "SELECT count(*) FROM deliveries"), i64::try_from(opened).unwrap());
    assert_eq!(count(&file, LEFT_OVER), 0);

    // Whoever shares a transaction with it fails, too, and leaves nothing behind.
    let (word, held) = hold(&ledger);
    let settled = ledger.settle(settling(0, 1, verdict(VerdictKind::Delivered)));
    let refused = ledger.settle(settling(999, 1, verdict(VerdictKind::Delivered)));
    let full = ledger.open(with_content(500, "x".repeat(60_000)));
    let after = ledger.forget(id(1));
    word.send(()).unwrap();
    let _ = held.await;
    for failed in [settled.await.map(|_| ()), refused.await.map(|_| ()), full.await.map(|_| ()), after.await]
    {
        assert!(matches!(&failed, Err(LedgerError::Failed(reason)) if reason.contains("full")), "{failed:?}");
    }
    assert!(ledger.find(FindBy::Id(id(0))).await.unwrap().unwrap().is_open());
    assert_eq!(count(&file, LEFT_OVER), 0);

    for n in 0..opened {
        let settled = ledger.settle(settling(n, 1, verdict(VerdictKind::Delivered))).await;
        assert_eq!(settled, Ok(Settled::Recorded), "there is room for a settling, delivery {n}");
        ledger.forget(id(n)).await.unwrap();
    }
    assert!(ledger.sweep(0, 1000).await.unwrap() > 5);
    assert_eq!(ledger.open(with_content(500, "x".repeat(9000))).await, Ok(Opened::New));
}

#[tokio::test]
async fn reading_goes_on_beside_what_a_full_disk_fails() {
    let (_dir, path) = folder();
    let options = SqliteOptions::default();
    let ledger = SqliteLedger::open_tuned(&path, Stamp::Live, &options, |connection| {
        connection.pragma_update_and_check(None, "max_page_count", 60, |_| Ok(()))
    })
    .unwrap();
    ledger.open(opening(1)).await.unwrap();
    // They wait together, so they are one group.
    let (word, held) = hold(&ledger);
    let full = ledger.open(with_content(500, "x".repeat(400_000)));
    let found = ledger.find(FindBy::Id(id(1)));
    let none = ledger.find(FindBy::Id(id(500)));
    word.send(()).unwrap();
    let _ = held.await;
    assert!(matches!(full.await, Err(LedgerError::Failed(_))));
    assert!(found.await.unwrap().is_some(), "a known delivery can be read though others can't be recorded");
    assert_eq!(none.await, Ok(None), "what was undone isn't seen");
}

#[tokio::test]
async fn a_panic_fails_its_group_and_nothing_else() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    ledger.open(opening(1)).await.unwrap();
    let (word, held) = hold(&ledger);
    drop(word);
    let panicked = held.await;
    assert!(
        matches!(&panicked, Err(LedgerError::Failed(reason)) if reason.contains("panicked")),
        "{panicked:?}"
    );
    ledger.settle(settling(1, 1, verdict(VerdictKind::NotSent))).await.unwrap();
    ledger.intend(id(1), attempt(2)).await.unwrap();
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_record_fails_alone_and_keeps_its_key() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    for n in 1..=4 {
        ledger.open(opening(n)).await.unwrap();
    }
    drop(ledger);
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(
        "UPDATE deliveries SET comment = '{' WHERE number = 1;
         UPDATE deliveries SET provider = 'pigeon' WHERE number = 2;
         UPDATE deliveries SET fingerprint = x'00', created_ms = -1 WHERE number = 3;",
    )
    .unwrap();
    drop(file);
    let ledger = open(&path);
    assert_eq!(ledger.recover(9).await, Ok((1..=4).map(id).collect::<Vec<_>>()));
    let recovered = ledger.find(FindBy::Id(id(4))).await.unwrap().unwrap();
    assert!(!recovered.is_open(), "what can't be read doesn't keep the others from recovery");
    for n in 1..=3 {
        let found = ledger.find(FindBy::Id(id(n))).await;
        assert!(matches!(found, Err(LedgerError::Failed(_))), "{found:?}");
        let opened = ledger.open(opening(n)).await;
        assert!(matches!(opened, Err(LedgerError::Failed(_))), "never sent again: {opened:?}");
    }
    assert_eq!(ledger.open(opening(5)).await, Ok(Opened::New));
}

#[tokio::test]
async fn damage_that_shows_later_stops_all_recording() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    for n in 0..200 {
        ledger.open(with_content(n, "x".repeat(9000))).await.unwrap();
    }
    drop(ledger);
    // Not what a start reads: where comments go on that are too long for their rows.
    let pages = "SELECT pageno FROM dbstat WHERE name = 'deliveries' AND pagetype = 'overflow'";
    let file = reader(&path);
    let mut statement = file.prepare(pages).unwrap();
    let pages: Vec<u32> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(statement);
    drop(file);
    let mut bytes = std::fs::read(&path).unwrap();
    for page in pages {
        let page = page as usize;
        bytes[(page - 1) * 4096..page * 4096].fill(0x5a);
    }
    std::fs::write(&path, bytes).unwrap();
    let ledger = open(&path);
    let mut failed = None;
    for n in 0..200 {
        if let Err(error) = ledger.find(FindBy::Id(id(n))).await {
            failed = Some(error);
            break;
        }
    }
    assert!(matches!(failed, Some(LedgerError::Failed(_))), "{failed:?}");
    for result in [ledger.check().await, ledger.open(opening(999)).await.map(|_| ())] {
        assert!(
            matches!(&result, Err(LedgerError::Failed(reason)) if reason.contains("restarted")),
            "{result:?}"
        );
    }
}

#[cfg(unix)]
mod failing_disk {
    use super::*;
    use std::process::Command;

    const FILE: &str = "COMMENTD_TEST_FAILING_LEDGER";

    /// A write that fails for another reason than a full disk: a limit on the size of files, whose signal is
    /// ignored, fails it with EFBIG.
    #[tokio::test]
    async fn after_an_io_error_nothing_is_recorded_until_a_restart() {
        let (_dir, path) = folder();
        let child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "sqlite::tests::failing::failing_disk::child", "--ignored", "--nocapture"])
            .env(FILE, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("all as expected"), "{child:?}");

        let ledger = open(&path);
        assert!(ledger.find(FindBy::Id(id(1))).await.unwrap().is_some());
        assert_eq!(ledger.find(FindBy::Id(id(2))).await, Ok(None));
        assert_eq!(ledger.open(opening(3)).await, Ok(Opened::New));
    }

    #[tokio::test]
    #[ignore = "run by the test above, with a limit on the size of files"]
    async fn child() {
        let Some(path) = std::env::var_os(FILE) else { return };
        let ledger = open(path.as_ref());
        ledger.open(opening(1)).await.unwrap();
        let failed = ledger.open(with_content(2, "x".repeat(8 << 20))).await;
        assert!(matches!(&failed, Err(LedgerError::Failed(reason)) if reason.contains("I/O")), "{failed:?}");
        let settling = settling(1, 1, verdict(VerdictKind::Delivered));
        let later = [
            ledger.open(opening(3)).await.map(|_| ()),
            ledger.settle(settling).await.map(|_| ()),
            ledger.check().await,
        ];
        for later in later {
            let is_final = matches!(&later, Err(LedgerError::Failed(reason)) if reason.contains("restarted"));
            assert!(is_final, "{later:?}");
        }
        assert!(ledger.find(FindBy::Id(id(1))).await.unwrap().is_some(), "reading goes on");
        assert!(ledger.close().await.is_err());
        println!("all as expected");
    }
}

/// A disk that is really full: a small file system in memory, in a namespace of the test's own.
#[cfg(target_os = "linux")]
mod full_disk {
    use super::*;
    use std::fs::File;
    use std::io::Write;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    const FOLDER: &str = "COMMENTD_TEST_FULL_DISK";
    const SCRIPT: &str = "mount -t tmpfs -o size=4m,mode=700 none \"$COMMENTD_TEST_FULL_DISK\"; \
         for child in crashes starts_again; do \
         \"$0\" --exact sqlite::tests::failing::full_disk::$child --ignored --nocapture; done";

    /// The ledger, and what fills the disk beside it.
    fn paths() -> Option<(PathBuf, PathBuf)> {
        let folder = PathBuf::from(std::env::var_os(FOLDER)?);
        Some((folder.join("ledger.db"), folder.join("filler")))
    }

    fn fill(filler: &Path) {
        let mut filler = File::options().create(true).append(true).open(filler).unwrap();
        while filler.write_all(&[7; 4096]).is_ok() {}
    }

    #[test]
    fn after_a_crash_on_a_full_disk_it_starts_and_tells_what_it_knows() {
        if !Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: this system gives no namespaces to mount a small disk in");
            return;
        }
        let (dir, _) = folder();
        let shell = Command::new("unshare")
            .args(["-Urm", "sh", "-c", SCRIPT])
            .arg(std::env::current_exe().unwrap())
            .env(FOLDER, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&shell.stdout);
        assert!(said.contains("crashes now") && said.contains("all as expected"), "{shell:?}");
    }

    #[tokio::test]
    #[ignore = "run by the test above, on a small disk"]
    async fn crashes() {
        let Some((path, filler)) = paths() else { return };
        let ledger = open(&path);
        ledger.open(opening(1)).await.unwrap();
        ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
        ledger.open(opening(2)).await.unwrap();
        fill(&filler);
        let failed = ledger.open(with_content(3, "x".repeat(60_000))).await;
        assert!(matches!(&failed, Err(LedgerError::Failed(reason)) if reason.contains("full")), "{failed:?}");
        println!("crashes now");
        std::process::abort();
    }

    #[tokio::test]
    #[ignore = "run by the test above, on a small disk"]
    async fn starts_again() {
        let Some((path, filler)) = paths() else { return };
        fill(&filler);
        let ledger = open(&path);
        // What the start has let go of, and what is left of the log's last page.
        fill(&filler);
        while ledger.check().await.is_ok() {}
        let Ok(Opened::Known(known)) = ledger.open(opening(1)).await else { panic!("the key was forgotten") };
        assert!(!known.is_open());
        for failed in [ledger.recover(9).await.map(|_| ()), ledger.open(opening(4)).await.map(|_| ())] {
            let is_full = matches!(&failed, Err(LedgerError::Failed(reason)) if reason.contains("full"));
            assert!(is_full, "{failed:?}");
        }
        std::fs::remove_file(filler).unwrap();
        assert_eq!(ledger.recover(9).await, Ok(vec![id(2)]));
        assert_eq!(ledger.open(opening(4)).await, Ok(Opened::New));
        println!("all as expected");
    }
}
