//! The promise where it is hardest: a sidecar that dies between two callers of one key, the same words twice in a
//! batch, channels that answer late or deduplicate.

use crate::support::rig::{assert_outcome, comment};
use crate::support::{HttpClient, Rig, at, wait_for};
use serde_json::{Value, json};

/// What the sidecar has recorded under a key, in the order of the batch.
fn deliveries(client: &HttpClient, key: &str) -> Vec<Value> {
    let answer = client.get(&format!("/api/deliveries?key={key}"));
    assert_eq!(answer.status, 200, "{}", answer.json());
    at(&answer.json(), "data.deliveries").as_array().unwrap().clone()
}

/// Polls a key until nothing of it is unknown, as a caller would.
fn outcomes_once_certain(client: &HttpClient, key: &str) -> Vec<String> {
    let mut outcomes = Vec::new();
    wait_for("every item of the key to be certain", || {
        let outcome = |delivery: &Value| delivery["outcome"].as_str().unwrap().to_owned();
        outcomes = deliveries(client, key).iter().map(outcome).collect();
        !outcomes.is_empty() && !outcomes.contains(&"unknown".to_owned())
    });
    outcomes
}

/// Lets a first comment through, asks for this one, kills the sidecar once the board has it, and asks the next sidecar
/// under the same key.
fn kill_between_two_callers(fault: &str, settles_within_s: &str) -> (Rig, Value) {
    let settles = format!("settles_within_s={settles_within_s}");
    let rig = Rig::start(fault, &["--set", &settles]);
    rig.let_first_through();
    let first = rig.client();
    let asking = std::thread::spawn(move || {
        // It may get no answer at all: the sidecar is killed.
        let body = comment("once", "k").to_string();
        let head = format!("POST /api/comment HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", first.address);
        let _ = first.raw(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    });
    wait_for("the board to have it", || rig.received() == 2);
    let rig = rig.killed_and_restarted();
    asking.join().unwrap();
    let second = rig.post(&comment("once", "k"));
    (rig, second)
}

#[test]
fn two_callers_of_one_key_and_a_kill_between_them_one_comment_that_was_stored() {
    // Stored, and then not answered for longer than the sidecar lives.
    let fault = "[[fault]]\nkind = \"slow_headers\"\nhold_ms = 300000\nrequests = [2]";
    let (rig, second) = kill_between_two_callers(fault, "30");
    assert_outcome(&second, "delivered", true);
    assert_eq!((rig.texts(), rig.received()), (vec!["first".to_owned(), "once".to_owned()], 2));
    assert_eq!(deliveries(&rig.client(), "k").len(), 1);
}

#[test]
fn two_callers_of_one_key_and_a_kill_between_them_one_comment_that_was_not_stored() {
    let fault = "[[fault]]\nkind = \"hang\"\nrequests = [2]";
    let (rig, second) = kill_between_two_callers(fault, "0.3");
    // Its first attempt was proved absent, so it was sent again, under the same delivery.
    let last = if at(&second, "data.outcome") == "unknown" {
        assert_eq!(outcomes_once_certain(&rig.client(), "k"), ["not_sent"]);
        rig.post(&comment("once", "k"))
    } else {
        second
    };
    assert_eq!(at(&last, "data.outcome"), "delivered", "{last:#}");
    assert_eq!(rig.texts(), ["first", "once"]);
    assert_eq!(rig.received(), 3);
}

#[test]
fn two_callers_of_one_key_and_a_kill_between_them_one_comment_that_is_stored_after_the_kill() {
    // The board stores it 200 ms after the sidecar's connection has gone, which is within what it says.
    let fault = "[[fault]]\nkind = \"store_late\"\nhold_ms = 300000\nlate_ms = 200\nrequests = [2]";
    let (rig, second) = kill_between_two_callers(fault, "3");
    if at(&second, "data.outcome") == "unknown" {
        assert_eq!(outcomes_once_certain(&rig.client(), "k"), ["delivered"]);
    }
    assert_outcome(&rig.post(&comment("once", "k")), "delivered", true);
    assert_eq!((rig.texts(), rig.received()), (vec!["first".to_owned(), "once".to_owned()], 2));
}

/// The same words twice, one after the other.
fn plus_one_twice(deadline_ms: u64) -> Value {
    json!({"comments": ["+1", "+1"], "concurrency": 1, "sns_id": "t", "idempotency_key": "k",
        "deadline_ms": deadline_ms})
}

fn post_batch(rig: &Rig, batch: &Value) -> Vec<Value> {
    let answer = rig.client().post("/api/comment/batch", batch);
    assert_eq!(answer.status, 200, "{}", answer.json());
    at(&answer.json(), "data.results").as_array().unwrap().clone()
}

fn outcomes(results: &[Value]) -> Vec<&str> {
    results.iter().map(|result| result["outcome"].as_str().unwrap()).collect()
}

const SECOND_IS_CUT: &str = "[[fault]]\nkind = \"cut_before\"\nrequests = [2]";

#[test]
fn the_same_words_twice_with_a_marker_the_second_is_not_taken_for_the_first() {
    let rig = Rig::start(SECOND_IS_CUT, &["--set", "settles_within_s=3"]);
    let results = post_batch(&rig, &plus_one_twice(2500));
    assert_eq!(outcomes(&results), ["delivered", "unknown"], "{results:#?}");
    assert_eq!(results[1]["comment_id"], "");
    assert_eq!(outcomes_once_certain(&rig.client(), "k"), ["delivered", "not_sent"]);
    assert_eq!((rig.texts(), rig.received()), (vec!["+1".to_owned()], 2));
    // Asked for again, the first is what it was, and the second is sent.
    let again = post_batch(&rig, &plus_one_twice(20_000));
    assert_eq!(outcomes(&again), ["delivered", "delivered"], "{again:#?}");
    assert_eq!(again[0]["comment_id"], results[0]["comment_id"]);
    assert_ne!(again[1]["comment_id"], results[0]["comment_id"]);
    assert_eq!(rig.texts(), ["+1", "+1"]);
}

#[test]
fn the_same_words_twice_without_a_marker_the_second_is_not_taken_for_the_first() {
    // The board's own manifest, but nothing carries the delivery's id.
    let directory = tempfile::tempdir().unwrap();
    let marked = include_str!("../../../../channels/board.toml");
    let unmarked = marked
        .replace("name = \"board\"", "name = \"unmarked\"")
        .replace("marker = \"delivery_id\"", "")
        .replace("marker = \"marker\"\n", "marker = \"omit\"\n")
        .replace(
            "echo = \"at('marker') == marker and at('text') == content if at('id') is not none else none\"",
            "echo = \"none\"",
        );
    assert!(unmarked.contains("echo = \"none\""));
    std::fs::write(directory.path().join("unmarked.toml"), unmarked).unwrap();
    let channels = directory.path().to_str().unwrap();
    let rig = Rig::over(
        "unmarked",
        SECOND_IS_CUT,
        &[],
        &["--channels-dir", channels, "--set", "settles_within_s=0.1"],
    );
    let results = post_batch(&rig, &plus_one_twice(5000));
    assert_eq!(outcomes(&results), ["delivered", "unknown"], "{results:#?}");
    // A text neither finds it nor proves that it isn't there; a person is shown what there is.
    let id = results[1]["delivery_id"].as_str().unwrap();
    let shown = rig.client().get(&format!("/api/deliveries/{id}?candidates=true")).json();
    let candidates = at(&shown, "data.candidates.comments").as_array().unwrap();
    assert_eq!(candidates.len(), 1, "{shown:#}");
    assert_eq!(candidates[0]["comment_id"], results[0]["comment_id"]);
    let again = post_batch(&rig, &plus_one_twice(5000));
    assert_eq!(outcomes(&again), ["delivered", "unknown"], "{again:#?}");
    assert_eq!((rig.texts(), rig.received()), (vec!["+1".to_owned()], 2));
}

#[test]
fn the_same_words_twice_to_a_channel_that_deduplicates_by_key_are_two_comments() {
    // By the v1 shape, which knows no lookup: the keys that go out must differ.
    let rig = Rig::over("generic", "", &["--deduplicate"], &[]);
    assert_eq!(outcomes(&post_batch(&rig, &plus_one_twice(20_000))), ["delivered", "delivered"]);
    assert_eq!(rig.texts(), ["+1", "+1"]);

    // With the second cut off, before and after it is stored: it is repeated under the key that it had.
    for kind in ["cut_before", "cut_after"] {
        let fault = format!("[[fault]]\nkind = \"{kind}\"\nrequests = [2]");
        let window = ["--set", "deduplicates_within_s=600"];
        let rig = Rig::over("board", &fault, &["--deduplicate"], &window);
        let results = post_batch(&rig, &plus_one_twice(20_000));
        assert_eq!(outcomes(&results), ["delivered", "delivered"], "{kind}: {results:#?}");
        assert_ne!(results[0]["comment_id"], results[1]["comment_id"], "{kind}");
        assert_eq!((rig.texts(), rig.received()), (vec!["+1".to_owned(); 2], 3), "{kind}");
    }
}

#[test]
fn the_same_words_twice_to_a_v1_upstream_that_deduplicates_with_the_second_cut_off() {
    let rig = Rig::over("generic", SECOND_IS_CUT, &["--deduplicate"], &[]);
    let results = post_batch(&rig, &plus_one_twice(5000));
    // Whether it deduplicates, the manifest doesn't say, so nothing is repeated by guess.
    assert_eq!(outcomes(&results), ["delivered", "unknown"], "{results:#?}");
    assert_eq!((rig.texts(), rig.received()), (vec!["+1".to_owned()], 2));
}

#[test]
fn a_lookup_settles_what_was_unknown_and_the_caller_learns_it_by_its_key() {
    // Stored half a second after the sidecar has given up.
    let fault = "[[fault]]\nkind = \"store_late\"\nhold_ms = 300000\nlate_ms = 500\nrequests = [1]";
    let rig = Rig::start(fault, &["--native-timeout-ms", "1000"]);
    let mut hurried = comment("late", "k");
    hurried["deadline_ms"] = json!(1200);
    let first = rig.post(&hurried);
    assert_outcome(&first, "unknown", false);
    assert_eq!(outcomes_once_certain(&rig.client(), "k"), ["delivered"]);
    let delivery = &deliveries(&rig.client(), "k")[0];
    assert_eq!(delivery["id"], *at(&first, "data.delivery_id"));
    assert_eq!(at(delivery, "attempts.0.verdict.verdict"), "unknown", "{delivery:#}");
    assert_eq!(at(delivery, "attempts.0.resolution.by"), "lookup");
    assert_eq!(at(delivery, "attempts.0.resolution.verdict"), "delivered");
    let again = rig.post(&comment("late", "k"));
    assert_outcome(&again, "delivered", true);
    assert_eq!(at(&again, "data.comment_id"), &delivery["comment_id"]);
    assert_eq!((rig.texts(), rig.received()), (vec!["late".to_owned()], 1));
}

/// The limit of the promise: a channel that takes longer than its manifest says.
#[test]
fn a_channel_that_stores_after_its_stated_time_is_the_documented_limit() {
    let fault = "[[fault]]\nkind = \"store_late\"\nhold_ms = 300000\nlate_ms = 5000\nrequests = [2]";
    let rig = Rig::start(fault, &["--native-timeout-ms", "1000", "--set", "settles_within_s=0.2"]);
    rig.let_first_through();
    let mut hurried = comment("too late", "k");
    hurried["deadline_ms"] = json!(1050);
    assert_outcome(&rig.post(&hurried), "unknown", false);
    assert_eq!(outcomes_once_certain(&rig.client(), "k"), ["not_sent"], "proved absent by what it had said");
    assert_outcome(&rig.post(&comment("too late", "k")), "delivered", false);
    wait_for("the late one to be there, too", || rig.texts().len() == 3);
}
