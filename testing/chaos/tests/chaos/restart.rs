//! Two clients use one key through two connections, and between them the sidecar dies at a failpoint and is started again
//! on the same ledger: one comment, and the second client learns which.

use crate::support::{TestBoard, batch, command, try_batch};
use commentd_test_support::ServingProcess;
use std::time::{Duration, Instant};

/// The longest that the second client asks again for what isn't certain yet.
const PATIENCE: Duration = Duration::from_secs(60);

fn dies_at(failpoint: &str) {
    let (board, folder) = (TestBoard::honest(), tempfile::tempdir().unwrap());
    let command = |failpoint: Option<&str>| {
        let mut command = command(&board.url, folder.path());
        command.args(["--set", "settles_within_s=1"]);
        command.envs(failpoint.map(|failpoint| ("COMMENTD_FAILPOINT", failpoint)));
        command
    };
    let first = ServingProcess::start(command(Some(failpoint)));
    let answer = try_batch(&first, "one-key", &["one"], 10_000);
    assert!(answer.is_err(), "it was to die at {failpoint}: {answer:?}");
    drop(first);
    let second = ServingProcess::start(command(None));
    // That a comment isn't there is believed only at a place where a marker of ours was seen.
    let (_, before) = batch(&second, "another-key", &["before"], 10_000);
    assert_eq!(before["data"]["results"][0]["outcome"], "delivered", "{before}");
    let start = Instant::now();
    let item = loop {
        let (status, reply) = batch(&second, "one-key", &["one"], 5_000);
        let item = reply["data"]["results"][0].clone();
        // What is unknown, or turned out not to have been sent, is asked for again with the same key.
        if item["outcome"] == "delivered" {
            break item;
        }
        assert!(status == 200 && start.elapsed() < PATIENCE, "not delivered after {failpoint}: {reply}");
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let comments: Vec<_> = board.comments("t").into_iter().filter(|comment| comment.text == "one").collect();
    assert_eq!(comments.len(), 1, "after {failpoint}: {comments:?}");
    assert_eq!(item["comment_id"], comments[0].id.as_str());
}

#[test]
fn before_the_intent_there_is_one_comment() {
    dies_at("before-intent");
}

#[test]
fn after_the_intent_there_is_one_comment() {
    dies_at("after-intent");
}

#[test]
fn in_the_middle_of_the_body_there_is_one_comment() {
    dies_at("mid-body");
}

#[test]
fn after_the_effect_there_is_one_comment() {
    dies_at("after-effect");
}

#[test]
fn after_the_record_there_is_one_comment() {
    dies_at("after-record");
}
