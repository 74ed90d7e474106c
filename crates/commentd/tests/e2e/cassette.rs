//! What was recorded once is replayed without the channel, with the same verdicts.

use crate::real::isso::Isso;
use crate::support::{Board, Program, ServingProcess, Sidecar, at};
use serde_json::{Value, json};
use std::path::Path;

fn acceptance(sidecar: &str, page: &str, directory: &Path) -> Value {
    let report = directory.join("report.json");
    let ended = Program::run([
        "accept",
        "--rounds",
        "5",
        "--count",
        "10",
        "--concurrency",
        "10",
        "--round-interval-ms",
        "0",
        "--http-base-url",
        sidecar,
        "--sns-id",
        page,
        "--report-file",
        report.to_str().unwrap(),
    ]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let text = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    serde_json::from_str(&text).unwrap()
}

/// The verdicts of each round: what the report says that doesn't depend on time.
fn verdicts(report: &Value) -> Vec<Value> {
    let told = ["total", "succeeded", "failed", "strict_success", "method_counts", "fallback_count"];
    let round = |round: &Value| told.iter().map(|key| round[*key].clone()).collect();
    report["rounds"].as_array().unwrap().iter().map(round).collect()
}

fn taped(exchange: &str, cassette: &Path, channel: &[&str]) -> ServingProcess {
    let mut args =
        vec!["--exchange", exchange, "--cassette", cassette.to_str().unwrap(), "--ledger", "memory"];
    args.extend(channel);
    Sidecar::start(&args)
}

#[test]
fn an_acceptance_run_against_isso_replays_offline_with_the_same_verdicts() {
    let Some(isso) = Isso::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let cassette = directory.path().join("isso.har");
    let url = isso.url.clone();
    let channel = ["--channel", "isso", "--channel-url", &url, "--set", "website=https://example.org"];
    let sidecar = taped("record", &cassette, &channel);
    let recorded = acceptance(&sidecar.url, "/blog/taped", directory.path());
    let post = |sidecar: &ServingProcess, content: &str, reply_to: &str| {
        let body = json!({"content": content, "sns_id": "/blog/taped", "reply_to": reply_to});
        sidecar.client().comment(&body).json()
    };
    let orphan = post(&sidecar, "an answer to nobody", "999999");
    assert_eq!(at(&orphan, "data.outcome"), "misplaced", "{orphan}");
    let run = post(&sidecar, "acc-1f00ba44-r01-c01", "");
    assert_eq!(at(&run, "data.outcome"), "delivered", "{run}");
    // Killed, not stopped: what it recorded is there.
    sidecar.kill();
    assert_eq!(isso.texts("/blog/taped").len(), 52);
    drop(isso);

    let sidecar = taped("replay", &cassette, &channel);
    let replayed = acceptance(&sidecar.url, "/blog/taped", directory.path());
    assert_eq!(verdicts(&replayed), verdicts(&recorded));
    assert_eq!(at(&replayed, "summary.strict_success_rounds"), 5);
    assert_eq!(at(&post(&sidecar, "an answer to nobody", "999999"), "data.outcome"), "misplaced");
    // Another run's id in a text doesn't make it another comment, and the echo is ours.
    let other = post(&sidecar, "acc-00c0ffee-r01-c01", "");
    assert_eq!(at(&other, "data.outcome"), "delivered", "{other}");
    assert_eq!(at(&other, "data.comment_id"), at(&run, "data.comment_id"));
    let missing = post(&sidecar, "never recorded", "");
    assert_eq!(at(&missing, "data.attempts.0.verdict"), "denied", "{missing}");
    let told = missing["error_message"].as_str().unwrap();
    for part in ["isso.har", "POST /new?uri=%2Fblog%2Ftaped", "never recorded", "--exchange record"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(at(&sidecar.client().get("/health").json(), "data.exchange"), "replay");
}

#[test]
fn a_cut_connection_is_replayed_as_unknown_and_found_by_its_lookup() {
    let directory = tempfile::tempdir().unwrap();
    let plan = directory.path().join("faults.toml");
    std::fs::write(&plan, "[[fault]]\nkind = \"cut_after\"\nrequests = [1]").unwrap();
    let board = Board::start(&["--faults", plan.to_str().unwrap()]);
    let cassette = directory.path().join("board.har");
    let url = board.url.clone();
    let channel = ["--channel", "board", "--channel-url", &url];
    let body = json!({"content": "cut", "sns_id": "t"});
    let told = |sidecar: &ServingProcess| {
        let reply = sidecar.client().comment(&body).json();
        let verdicts = at(&reply, "data.attempts").as_array().unwrap().iter();
        let verdicts: Vec<Value> = verdicts.map(|attempt| attempt["verdict"].clone()).collect();
        (at(&reply, "data.outcome").clone(), verdicts)
    };
    let sidecar = taped("record", &cassette, &channel);
    let recorded = told(&sidecar);
    assert_eq!(recorded.0, "delivered", "{recorded:?}");
    drop(sidecar);
    drop(board);
    let sidecar = taped("replay", &cassette, &channel);
    assert_eq!(told(&sidecar), recorded);
}

#[test]
fn a_cassette_is_a_har_without_secrets_and_is_never_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let cassette = directory.path().join("generic.har");
    let board = Board::start(&[]);
    let url = board.url.replace("http://", "http://user:pa%20ss@");
    let mut command =
        Program::command(["serve", "--port", "0", "--exchange", "record", "--ledger", "memory"]);
    command.args(["--cassette", cassette.to_str().unwrap(), "--channel", "generic"]);
    command.env("COMMENTD_CHANNEL_URL", &url).env("COMMENTD_CHANNEL_AUTHORIZATION", "Bearer s3cr3t/+x");
    let sidecar = ServingProcess::start(command);
    sidecar.client().comment(&json!({"content": "Bearer s3cr3t/+x", "sns_id": "s3cr3t/+x"}));
    let text = std::fs::read_to_string(&cassette).unwrap();
    let har: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(at(&har, "log.version"), "1.2");
    assert_eq!(
        at(&har, "log.entries").as_array().unwrap().len(),
        2,
        "the start's probe and the comment: {text}"
    );
    for secret in ["s3cr3t", "pa ss", "pa%20ss", "dXNlcjpwYSBzcw"] {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
    let again = Program::run([
        "serve",
        "--exchange",
        "record",
        "--cassette",
        cassette.to_str().unwrap(),
        "--channel-url",
        &board.url,
        "--ledger",
        "memory",
    ]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(2));
    assert!(said.contains("--cassette") && said.contains("exists already"), "{said}");
}
