//! Small runs. A healthy build shows no violation; a build with a rule of the promise switched off shows some, or
//! the checker is blind.

use crate::support::PROGRAM;
use clap::Parser;
use commentd_chaos::options::ChaosOptions;
use commentd_chaos::run::{ChaosResult, run};
use std::path::Path;

fn options(state: &Path, more: &[&str]) -> ChaosOptions {
    let state = state.to_str().unwrap();
    let args = ["chaos", "--state", state, "--program", PROGRAM, "--settles-within-s", "1"];
    ChaosOptions::parse_from(args.iter().chain(more))
}

fn chaos(more: &[&str]) -> ChaosResult {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(run(&options(folder.path(), more), std::future::pending()));
    let outcome = outcome.unwrap_or_else(|failure| {
        let log = std::fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
        panic!("{failure}\n{log}")
    });
    eprintln!("{outcome}");
    outcome
}

#[test]
fn a_healthy_build_keeps_the_promise_at_every_failpoint() {
    let outcome = chaos(&["--cycles", "20", "--keys", "20"]);
    assert_eq!(outcome.summary.violations, 0, "{outcome}");
    assert_eq!(outcome.summary.keys, 400);
    assert_eq!(outcome.keys_left, 0, "{outcome}");
    for failpoint in ["before-intent", "after-intent", "mid-body", "after-effect", "after-record"] {
        assert!(outcome.endings.contains_key(failpoint), "no life ended at {failpoint}: {outcome}");
    }
}

#[test]
fn a_healthy_build_keeps_the_promise_with_a_failing_ledger() {
    let outcome = chaos(&["--cycles", "8", "--keys", "20", "--ledger-fault", "both"]);
    assert_eq!(outcome.summary.violations, 0, "{outcome}");
    assert_eq!(outcome.keys_left, 0, "{outcome}");
}

#[test]
fn a_run_that_was_stopped_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = options(folder.path(), &["--cycles", "10", "--keys", "20"]);
    let state = || -> serde_json::Value {
        let text = std::fs::read(folder.path().join("state.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    };
    let some_lives = async {
        while state()["lives"].as_u64().unwrap_or(0) < 3 {
            // A file has no event to wait for.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let stopped = runtime.block_on(run(&options, some_lives)).unwrap_err();
    assert!(stopped.0.contains("goes on from here"), "{stopped}");
    let outcome = runtime.block_on(run(&options, std::future::pending())).unwrap();
    assert_eq!((outcome.summary.violations, outcome.keys_left), (0, 0), "{outcome}");
    assert_eq!(outcome.lives, 11);
    // The keys that nobody had asked yet when it was stopped are in no log, and aren't asked any more.
    assert!((140..=200).contains(&outcome.summary.keys), "{outcome}");
    assert_eq!(state()["starts"], 2);
}

/// A run on a build without this rule. It needn't settle: what is broken shows before.
fn broken(rule: &str) -> ChaosResult {
    chaos(&["--cycles", "8", "--keys", "25", "--without", rule, "--settle-patience-s", "1"])
}

fn breaks(rule: &str, promises: &[u8]) {
    let outcome = broken(rule);
    assert!(
        outcome.violations.iter().any(|violation| promises.contains(&violation.promise)),
        "nothing was found without {rule}: {outcome}"
    );
}

#[test]
fn a_retry_after_unknown_is_found() {
    breaks("unknown_forbids_retry", &[1]);
}

#[test]
fn an_unknown_that_is_tried_again_is_found() {
    breaks("unknown_is_looked_up", &[1]);
}

#[test]
fn certain_things_that_are_tried_again_are_found() {
    breaks("certain_is_replayed", &[1]);
}

#[test]
fn what_was_interrupted_and_is_taken_for_unsent_is_found() {
    breaks("interrupted_is_unknown", &[1, 3]);
}
