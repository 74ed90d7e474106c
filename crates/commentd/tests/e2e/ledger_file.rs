//! What happens to a ledger's file while a sidecar has it, and between two: nothing is sent twice for it, and it is said.

use crate::support::rig::{assert_outcome, comment};
use crate::support::{Program, Rig, wait_for};
use commentd_test_support::process::output_of_refusal;

fn text(rig: &Rig, path: &str) -> (u16, String) {
    let answer = rig.client().get(path);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[test]
fn nothing_is_sent_while_the_ledger_is_moved_and_ready_says_why() {
    let rig = Rig::start("", &[]);
    assert_outcome(&rig.post(&comment("before", "k1")), "delivered", false);
    let (ledger, elsewhere) = (rig.ledger(), rig.directory.path().join("elsewhere.db"));
    std::fs::rename(&ledger, &elsewhere).unwrap();

    let refused = rig.client().comment(&comment("meanwhile", "k2"));
    assert_eq!(refused.status, 503, "{}", refused.json());
    let (status, why) = text(&rig, "/ready");
    assert!(status == 503 && why.contains("moved or deleted") && why.contains("ledger.db"), "{status} {why}");
    assert_eq!(rig.received(), 1, "what can't be recorded isn't sent");

    std::fs::rename(&elsewhere, &ledger).unwrap();
    wait_for("the sidecar to be ready again", || text(&rig, "/ready").0 == 200);
    assert_outcome(&rig.post(&comment("meanwhile", "k2")), "delivered", false);
    assert_outcome(&rig.post(&comment("before", "k1")), "delivered", true);
    assert_eq!(rig.texts(), ["before", "meanwhile"]);
}

#[test]
fn a_ledger_that_lost_its_log_is_opened_only_when_that_is_accepted() {
    let rig = Rig::start("", &[]);
    assert_outcome(&rig.post(&comment("known", "k1")), "delivered", false);
    let ledger = rig.ledger();
    let Rig { board, sidecar, directory, .. } = rig;
    sidecar.kill();
    std::fs::remove_file(directory.path().join("ledger.db-wal")).unwrap();

    let args = ["serve", "--port", "0", "--channel", "board", "--channel-url", &board.url];
    let mut command = Program::command(args);
    command.arg("--ledger").arg(&ledger);
    let output = output_of_refusal(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("ledger.db-wal") && said.contains("--accept-lost-wal"), "{said}");

    let args = ["deliveries", "list", "--json", "--accept-lost-wal", "--ledger"];
    let listed = Program::command(args).arg(&ledger).output().unwrap();
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(listed.status.success(), "{said}");
}

/// A backup that never ends, or a forgotten sqlite3, keeps the log from being copied: it grew to 167 MB without a line.
#[test]
fn a_log_that_grows_behind_another_reader_is_told_of() {
    const BATCHES: usize = 80;
    let rig = Rig::start("", &[]);
    let reader = rusqlite::Connection::open(rig.ledger()).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
    let told = || rig.sidecar.log().contains("has grown to");
    let comments = vec!["x".repeat(15_000); 60];
    let batch = serde_json::json!({
        "v": 1, "cmd": "batch_comment", "sns_id": "a", "deadline_ms": 60_000, "concurrency": 20, "comments": comments,
    });
    for _ in 0..BATCHES {
        if told() {
            break;
        }
        let answer = rig.client().post("/api/comment/batch", &batch);
        assert_eq!(answer.status, 200, "{}", answer.json());
    }
    wait_for("the log to be told of", told);
    let log = rig.sidecar.log();
    assert!(log.contains("ledger.db-wal") && log.contains("another program has been reading"), "{log}");
}
