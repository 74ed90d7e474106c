//! Keys: one comment a key, whatever the callers, the channel or `kill -9` do in between.

use crate::support::rig::{assert_outcome, comment};
use crate::support::{Board, HttpClient, Program, RawResponse, Rig, Sidecar, at, wait_for};
use commentd_test_support::process::output_of_refusal;
use commentd_test_support::server::{Latch, ReservedPort, ScriptedServer, stored};
use serde_json::{Value, json};
use std::sync::Barrier;

/// In milliseconds: longer than any test.
const FOREVER_MS: u64 = 300_000;

/// A reply without what may differ between two callers of one key.
fn essence(mut reply: Value) -> Value {
    for name in ["latency_ms", "task_id"] {
        reply.as_object_mut().unwrap().remove(name).unwrap();
    }
    for name in ["raw_provider_latency_ms", "replayed"] {
        reply["data"].as_object_mut().unwrap().remove(name).unwrap();
    }
    reply
}

#[test]
fn fifty_callers_of_one_key_get_one_comment_and_one_answer() {
    let rig = Rig::start("latency_ms = 100", &[]);
    let start = Barrier::new(50);
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let call = |number: usize| {
            let mut comment = comment("fifty", "k");
            comment["task_id"] = json!(format!("task {number}"));
            start.wait();
            rig.post(&comment)
        };
        let callers: Vec<_> = (0..50).map(|number| scope.spawn(move || call(number))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    assert_eq!((rig.texts(), rig.received()), (vec!["fifty".to_owned()], 1));
    let first_hand = answers.iter().filter(|answer| at(answer, "data.replayed") == false).count();
    assert_eq!(first_hand, 1, "all but one are replays");
    let expected = essence(answers[0].clone());
    assert_eq!(at(&expected, "data.outcome"), "delivered", "{expected:#}");
    for answer in answers {
        assert_eq!(essence(answer), expected);
    }
}

#[test]
fn a_killed_sidecar_answers_the_same_after_its_restart() {
    let rig = Rig::start("", &[]);
    let delivered = rig.post(&comment("kept", "k1"));
    assert_outcome(&delivered, "delivered", false);
    let mut orphan = comment("an answer to nobody", "k2");
    orphan["reply_to"] = json!("999999");
    let refused = rig.post(&orphan);
    assert_outcome(&refused, "refused", false);
    assert_eq!(rig.received(), 2);

    let rig = rig.killed_and_restarted();
    let again = rig.post(&comment("kept", "k1"));
    assert_outcome(&again, "delivered", true);
    assert_eq!(essence(again), essence(delivered));
    let again = rig.post(&orphan);
    assert_outcome(&again, "refused", true);
    assert_eq!(essence(again), essence(refused));
    assert_eq!((rig.received(), rig.texts()), (2, vec!["kept".to_owned()]));
}

#[test]
fn another_text_under_a_key_is_refused_and_not_sent() {
    let rig = Rig::start("", &[]);
    assert_outcome(&rig.post(&comment("one", "k")), "delivered", false);
    let other = rig.sidecar.client().comment(&comment("another", "k"));
    assert_eq!((other.status, &other.json()["error_code"]), (422, &json!(63)));
    assert_eq!(other.json()["ok"], false);
    assert_outcome(&rig.post(&comment("one", "k")), "delivered", true);
    assert_eq!((rig.received(), rig.texts()), (1, vec!["one".to_owned()]));
}

#[test]
fn another_text_in_a_batch_is_refused_alone() {
    let rig = Rig::start("", &[]);
    let batch = |texts: [&str; 3]| {
        let body = json!({"comments": texts, "sns_id": "t", "idempotency_key": "k", "deadline_ms": 20_000});
        let answer = rig.sidecar.client().post("/api/comment/batch", &body);
        assert_eq!(answer.status, 200);
        answer.json()
    };
    let first = batch(["a", "b", "c"]);
    assert_eq!((&first["ok"], at(&first, "data.succeeded")), (&json!(true), &json!(3)), "{first:#}");
    let second = batch(["a", "x", "c"]);
    assert_eq!((&second["ok"], at(&second, "data.succeeded")), (&json!(false), &json!(2)), "{second:#}");
    for (index, (success, code, replayed)) in
        [(true, 0, true), (false, 63, false), (true, 0, true)].iter().enumerate()
    {
        let item = at(&second, &format!("data.results.{index}"));
        assert_eq!((&item["success"], &item["error_code"]), (&json!(success), &json!(code)), "{item:#}");
        assert_eq!(item["replayed"], *replayed, "{item:#}");
        if *success {
            assert_eq!(item["comment_id"], *at(&first, &format!("data.results.{index}.comment_id")));
        }
    }
    let mut texts = rig.texts();
    texts.sort();
    assert_eq!((texts, rig.received()), (vec!["a".to_owned(), "b".into(), "c".into()], 3));
}

#[test]
fn a_second_sidecar_on_the_ledger_ends_and_names_the_first() {
    let rig = Rig::start("", &[]);
    let ledger = rig.ledger();
    let args = ["serve", "--port", "0", "--channel", "board", "--channel-url", &rig.board.url];
    let mut command = Program::command(args);
    command.arg("--ledger").arg(&ledger);
    let output = output_of_refusal(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(&format!("process {}", rig.sidecar.id())), "{said}");
    assert!(said.contains(&rig.sidecar.url), "{said}");
    assert_outcome(&rig.post(&comment("still served", "k")), "delivered", false);
}

#[test]
fn a_key_is_the_same_bare_quoted_and_in_the_body() {
    let rig = Rig::start("", &[]);
    let without = json!({"content": "one", "sns_id": "t", "deadline_ms": 20_000}).to_string();
    let with_header = |value: &str| -> RawResponse {
        rig.sidecar.client().request(
            "POST",
            "/api/comment",
            &[("Idempotency-Key", value)],
            without.as_bytes(),
        )
    };
    assert_outcome(&with_header("key-1").json(), "delivered", false);
    assert_outcome(&with_header("\"key-1\"").json(), "delivered", true);
    assert_outcome(&rig.post(&comment("one", "key-1")), "delivered", true);
    assert_eq!((rig.received(), rig.texts()), (1, vec!["one".to_owned()]));
    assert_outcome(&with_header("key-2").json(), "delivered", false);
    assert_eq!(rig.received(), 2);
}

#[test]
fn callers_with_different_names_do_not_share_keys() {
    let auth = ["--auth-user", "ann", "--auth-password", "pw", "--auth-bearer", "bob=token"];
    let rig = Rig::start("", &auth);
    let post = |authorization: &str, content: &str| {
        let headers = [("Authorization", authorization), ("Content-Type", "application/json")];
        let body = comment(content, "k").to_string();
        rig.sidecar.client().request("POST", "/api/comment", &headers, body.as_bytes())
    };
    let (ann, bob) = ("Basic YW5uOnB3", "Bearer token");
    assert_outcome(&post(ann, "from Ann").json(), "delivered", false);
    assert_outcome(&post(bob, "from Bob").json(), "delivered", false);
    assert_outcome(&post(ann, "from Ann").json(), "delivered", true);
    assert_outcome(&post(bob, "from Bob").json(), "delivered", true);
    assert_eq!(post(bob, "from Ann").status, 422);
    assert_eq!(post("Bearer wrong", "from nobody").status, 401);
    assert_eq!((rig.received(), rig.texts().len()), (2, 2));
}

#[test]
fn a_comment_whose_reply_was_cut_off_is_looked_up_and_delivered_in_time() {
    let rig = Rig::start("[[fault]]\nkind = \"cut_after\"\nrequests = [1]", &[]);
    let answer = rig.post(&comment("cut", "k"));
    assert_outcome(&answer, "delivered", false);
    assert_eq!(at(&answer, "data.retry_count"), 0, "found, not sent again: {answer:#}");
    let comments = Board::comments(&rig.board.url, "t");
    assert_eq!((comments.len(), rig.received()), (1, 1));
    assert_eq!(at(&answer, "data.comment_id"), &comments[0]["id"]);
    assert_outcome(&rig.post(&comment("cut", "k")), "delivered", true);
    assert_eq!(rig.received(), 1);
}

#[test]
fn a_sidecar_killed_while_the_board_held_its_reply_finds_the_comment() {
    let faults = "[[fault]]\nkind = \"slow_headers\"\nratio = 1.0\nhold_ms = 600000";
    let rig = Rig::start(faults, &[]);
    let (client, posted) = (rig.sidecar.client(), comment("held back", "k"));
    let caller = std::thread::spawn(move || client.raw(&request_of(&client, &posted)));
    wait_for("the board to store it", || rig.stored() == 1);
    let rig = rig.killed_and_restarted();
    assert!(caller.join().unwrap().is_err(), "nobody answered the first caller");
    assert_outcome(&rig.post(&comment("held back", "k")), "delivered", true);
    assert_eq!((rig.received(), rig.texts()), (1, vec!["held back".to_owned()]));
}

#[test]
fn a_sidecar_killed_while_the_board_hung_does_not_send_again() {
    let rig = Rig::start("[[fault]]\nkind = \"hang\"\nrequests = [1]", &["--set", "settles_within_s=300"]);
    let (client, posted) = (rig.sidecar.client(), comment("lost", "k"));
    let caller = std::thread::spawn(move || client.raw(&request_of(&client, &posted)));
    wait_for("the comment to arrive", || rig.received() == 1);
    let rig = rig.killed_and_restarted();
    assert!(caller.join().unwrap().is_err(), "nobody answered the first caller");
    // In none of these calls is there time to prove that it isn't there.
    let mut hurried = comment("lost", "k");
    hurried["deadline_ms"] = json!(300);
    for _ in 0..3 {
        assert_outcome(&rig.post(&hurried), "unknown", true);
    }
    assert_eq!((rig.received(), rig.stored()), (1, 0));
}

fn request_of(client: &HttpClient, comment: &Value) -> Vec<u8> {
    let (host, body) = (&client.address, comment.to_string());
    let length = body.len();
    format!("POST /api/comment HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[test]
fn a_comment_that_was_proved_absent_is_sent_by_the_next_request_and_not_before() {
    let faults = "[[fault]]\nkind = \"cut_before\"\nrequests = [2]";
    let rig = Rig::start(faults, &["--set", "settles_within_s=1"]);
    rig.let_first_through();
    let mut hurried = comment("absent", "k");
    hurried["deadline_ms"] = json!(1000);
    let first = rig.post(&hurried);
    assert_outcome(&first, "unknown", false);
    wait_for("the lookups to prove it absent", || {
        rig.sidecar.log().contains("turned out not to be there after its caller was answered")
    });
    assert_eq!((rig.received(), rig.stored()), (2, 1), "nobody has asked for it again");
    let second = rig.post(&comment("absent", "k"));
    assert_outcome(&second, "delivered", false);
    let verdicts = [at(&second, "data.attempts.0.verdict"), at(&second, "data.attempts.1.verdict")];
    assert_eq!(verdicts, ["not_sent", "delivered"], "{second:#}");
    assert_eq!(at(&second, "data.delivery_id"), at(&first, "data.delivery_id"));
    assert_outcome(&rig.post(&comment("absent", "k")), "delivered", true);
    assert_eq!((rig.received(), rig.texts()), (3, vec!["first".to_owned(), "absent".to_owned()]));
}

#[test]
fn a_caller_with_less_time_is_told_that_the_key_is_in_flight() {
    let latch = Latch::default();
    let opened = latch.clone();
    let server = ScriptedServer::start(move |talk| {
        talk.request();
        opened.wait();
        talk.say(&stored());
        talk.rest();
    });
    let directory = tempfile::tempdir().unwrap();
    let timeout = FOREVER_MS.to_string();
    let args = ["--native-timeout-ms", timeout.as_str()];
    let sidecar = Sidecar::for_channel("generic", &server.url(), directory.path(), &args);
    let client = sidecar.client();
    let patient = std::thread::spawn(move || client.comment(&comment("slow", "k")).json());
    wait_for("the comment to arrive", || server.seen().requests_with("slow") == 1);

    let mut hurried = comment("slow", "k");
    hurried["deadline_ms"] = json!(200);
    let told = sidecar.client().comment(&hurried);
    assert_eq!((told.status, &told.json()["error_code"]), (409, &json!(64)), "{}", told.json());
    assert!(told.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    latch.open();
    assert_outcome(&patient.join().unwrap(), "delivered", false);
    assert_outcome(&sidecar.client().comment(&hurried).json(), "delivered", true);
    assert_eq!(server.seen().requests.len(), 1);
}

#[test]
fn what_was_not_sent_is_sent_under_the_same_key_once_the_channel_is_there() {
    let port = ReservedPort::take();
    let directory = tempfile::tempdir().unwrap();
    let sidecar = Sidecar::for_channel("generic", &port.url(), directory.path(), &[]);
    let early = sidecar.client().comment(&comment("patience", "k")).json();
    assert_outcome(&early, "not_sent", false);
    let server = ScriptedServer::on(port.listen(), |talk| talk.answer_all(&stored()));
    let late = sidecar.client().comment(&comment("patience", "k")).json();
    assert_outcome(&late, "delivered", false);
    assert_eq!(at(&late, "data.delivery_id"), at(&early, "data.delivery_id"));
    assert_outcome(&sidecar.client().comment(&comment("patience", "k")).json(), "delivered", true);
    assert_eq!(server.seen().requests_with("patience"), 1);
}

/// What there was no time for was told as in flight, and with `--unknown-as success` as a success.
#[test]
fn what_a_batch_has_no_time_for_is_neither_in_flight_nor_a_success() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger.db");
    let args = ["--mode", "mock", "--latency-ms", "300", "--jitter-ms", "0", "--unknown-as", "success"];
    let mut args: Vec<&str> = args.to_vec();
    args.extend(["--ledger", ledger.to_str().unwrap()]);
    let sidecar = Sidecar::start(&args);
    let texts: Vec<String> = (0..6).map(|number| format!("text {number}")).collect();
    let batch = json!({
        "v": 1, "cmd": "batch_comment", "sns_id": "1", "comments": texts, "idempotency_key": "fresh",
    });
    let reply = sidecar.client().post("/api/comment/batch", &batch).json();
    assert_eq!(at(&reply, "ok"), false, "{reply:#}");
    let results = at(&reply, "data.results").as_array().unwrap();
    // A second has no time for the last two, however fast this machine is.
    for item in &results[4..] {
        assert_eq!(
            (at(item, "outcome"), at(item, "error_code")),
            (&json!("not_sent"), &json!(62)),
            "{item:#}"
        );
        assert_eq!(at(item, "success"), false);
    }
    for item in results {
        assert_ne!(at(item, "error_code"), 64, "nobody else has this key: {item:#}");
    }
}

#[test]
fn a_batch_of_another_length_is_told_what_stands_under_its_key() {
    let rig = Rig::start("", &[]);
    let batch = |comments: &[&str]| {
        let batch = json!({
            "v": 1, "cmd": "batch_comment", "sns_id": "t", "comments": comments, "idempotency_key": "k",
        });
        rig.client().post("/api/comment/batch", &batch).json()
    };
    let first = batch(&["one", "two"]);
    assert_eq!(at(&first, "ok"), true, "{first:#}");
    for grown_or_shrunk in [&["one", "two", "three"][..], &["one"]] {
        let reply = batch(grown_or_shrunk);
        let known = at(&first, "data.results").as_array().unwrap();
        for (item, known) in at(&reply, "data.results").as_array().unwrap().iter().zip(known) {
            assert_eq!(
                (at(item, "outcome"), at(item, "error_code")),
                (&json!("refused"), &json!(63)),
                "{item:#}"
            );
            assert_eq!(at(item, "success"), false);
            let owner = at(item, "key_belongs_to");
            for field in ["outcome", "delivery_id", "comment_id"] {
                assert_eq!(at(owner, field), at(known, field), "{item:#}");
            }
            let message = at(item, "error_message").as_str().unwrap();
            assert!(message.contains("is delivered as comment"), "{message}");
        }
    }
    assert_eq!(rig.texts().len(), 3, "what is new was sent, and nothing else");
    let single =
        rig.client().comment(&json!({"v": 1, "sns_id": "t", "content": "other", "idempotency_key": "k"}));
    assert_eq!(single.status, 422);
    let message = single.json()["error_message"].as_str().unwrap().to_owned();
    assert!(message.contains("is delivered as comment"), "{message}");
}
