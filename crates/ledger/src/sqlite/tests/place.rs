//! The ledger is a file, whatever it is called and whatever stands beside it.
#![cfg(unix)]

use super::super::{OpenError, SqliteLedger, SqliteOptions};
use super::{folder, open};
use crate::conformance::{id, opening, settling, verdict};
use crate::{FindBy, Ledger, LedgerError, Opened, Settled, Stamp};
use commentd_contract::VerdictKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

fn refusal(path: &Path) -> String {
    SqliteLedger::open(path, Stamp::Live, &SqliteOptions::default()).expect_err("it is refused").to_string()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    crate::own_files::with_suffix(path, suffix)
}

#[test]
fn a_link_that_was_planted_beside_the_ledger_is_not_followed() {
    for suffix in [".lock", "-wal", "-shm", "-journal"] {
        let (dir, path) = folder();
        let (mine, planted) = (dir.path().join("mine"), beside(&path, suffix));
        std::fs::write(&mine, "what is mine").unwrap();
        for hard in [false, true] {
            if hard { std::fs::hard_link(&mine, &planted) } else { symlink(&mine, &planted) }.unwrap();
            let refused = refusal(&path);
            assert!(
                refused.contains(planted.to_str().unwrap()) && refused.contains("delete it"),
                "{refused}"
            );
            assert_eq!(std::fs::read_to_string(&mine).unwrap(), "what is mine", "{suffix}");
            std::fs::remove_file(&planted).unwrap();
        }
        // A link to nothing would create what it names.
        symlink(dir.path().join("nothing"), &planted).unwrap();
        refusal(&path);
        assert!(!dir.path().join("nothing").exists(), "{suffix}");
    }
}

#[test]
fn a_folder_in_which_others_can_plant_files_is_refused() {
    let (dir, path) = folder();
    let mode = |mode| std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o777);
    let refused = refusal(&path);
    assert!(refused.contains("chmod go-w") && refused.contains("777"), "{refused}");
    mode(0o1777);
    drop(open(&path));
    mode(0o770);
    drop(open(&path));
    let by_default = SqliteOptions { create_parent: true, ..SqliteOptions::default() };
    let refused = SqliteLedger::open(&path, Stamp::Live, &by_default).expect_err("it is refused").to_string();
    assert!(refused.contains("chmod go-w"), "{refused}");
    mode(0o700);
    SqliteLedger::open(&path, Stamp::Live, &by_default).unwrap();
}

#[tokio::test]
async fn a_second_name_lets_no_second_process_in() {
    let (dir, path) = folder();
    let ledger = open(&path);
    let second = dir.path().join("second.db");
    std::fs::hard_link(&path, &second).unwrap();
    let options = SqliteOptions::default();
    let by_link = SqliteLedger::open(&second, Stamp::Live, &options);
    assert!(
        matches!(by_link, Err(OpenError::Held(_) | OpenError::Lock(_))),
        "two processes write to one file: {by_link:?}"
    );
    assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New));
    drop(ledger);
    // Its log would stand beside the other name.
    for name in [&path, &second] {
        let refused = refusal(name);
        assert!(refused.contains("second name"), "{refused}");
    }
    std::fs::remove_file(&second).unwrap();
    assert!(open(&path).find(FindBy::Id(id(1))).await.unwrap().is_some());
}

#[tokio::test]
async fn a_deleted_lock_lets_no_second_process_in() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    ledger.announce("127.0.0.1:4711").unwrap();
    std::fs::remove_file(beside(&path, ".lock")).unwrap();
    if cfg!(target_os = "linux") {
        let options = SqliteOptions::default();
        let second = SqliteLedger::open(&path, Stamp::Live, &options);
        assert!(matches!(second, Err(OpenError::Held(_))), "two processes write to one file: {second:?}");
    }
    assert_eq!(ledger.open(opening(1)).await, Ok(Opened::New), "and the first goes on");
    let held = refusal(&path);
    assert!(held.contains("127.0.0.1:4711"), "the lock says again who has it: {held}");
}

/// What happens to the file of a running sidecar, and is undone.
struct LostPlace {
    what: &'static str,
    lose: fn(&Path, &Path),
    mend: fn(&Path, &Path),
}

const LOSSES: [LostPlace; 2] = [
    LostPlace {
        what: "moved",
        lose: |path, elsewhere| std::fs::rename(path, elsewhere).unwrap(),
        mend: |path, elsewhere| std::fs::rename(elsewhere, path).unwrap(),
    },
    LostPlace {
        what: "another file",
        lose: |path, elsewhere| {
            std::fs::rename(path, elsewhere).unwrap();
            std::fs::write(path, std::fs::read(elsewhere).unwrap()).unwrap();
        },
        mend: |path, elsewhere| std::fs::rename(elsewhere, path).unwrap(),
    },
];

#[tokio::test]
async fn a_ledger_that_lost_its_place_records_nothing_until_it_is_back() {
    for LostPlace { what, lose, mend } in LOSSES {
        let (dir, path) = folder();
        let ledger = open(&path);
        ledger.open(opening(1)).await.unwrap();
        let elsewhere = dir.path().join("elsewhere.db");
        lose(&path, &elsewhere);
        for failed in [ledger.open(opening(2)).await.map(|_| ()), ledger.check().await] {
            let says_so = matches!(&failed, Err(LedgerError::Failed(reason)) if reason.contains(what));
            assert!(says_so, "{what}: {failed:?}");
        }
        assert!(ledger.find(FindBy::Id(id(1))).await.unwrap().is_some(), "reading goes on");
        mend(&path, &elsewhere);
        assert_eq!(ledger.open(opening(2)).await, Ok(Opened::New), "{what}");
        let settled = ledger.settle(settling(1, 1, verdict(VerdictKind::Delivered))).await;
        assert_eq!(settled, Ok(Settled::Recorded));
    }
}

#[tokio::test]
async fn a_deleted_ledger_records_nothing() {
    let (_dir, path) = folder();
    let ledger = open(&path);
    ledger.open(opening(1)).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let failed = ledger.open(opening(2)).await;
    assert!(matches!(&failed, Err(LedgerError::Failed(reason)) if reason.contains("deleted")), "{failed:?}");
}
