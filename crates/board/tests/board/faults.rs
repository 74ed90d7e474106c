//! Every fault: what the client sees, and what is stored.

use crate::support::{BoardUnderTest, post};
use commentd_board::{BoardOptions, DRAIN_LIMIT_MS, Fault, FaultPlan, FaultRule, MAX_PAUSE_MS};
use commentd_test_support::{RawResponse, in_time};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// Longer than any test waits.
const FOREVER_MS: u64 = MAX_PAUSE_MS;

fn always(fault: Fault) -> FaultRule {
    FaultRule::ratio(fault, 1.0)
}

/// The same comment in the three shapes (and as a batch).
fn shapes() -> [(&'static str, Value); 4] {
    [
        ("/api/comments", json!({"target":"t","text":"hello"})),
        ("/api/comment", json!({"sns_id":"t","content":"hello","task_id":"T"})),
        ("/api/comment/batch", json!({"sns_id":"t","comments":["hello"]})),
        ("/api/sendtxtmsg", json!({"wxid":"t","content":"hello"})),
    ]
}

/// Status and what is stored, for each shape, on a board that always misbehaves in this way.
async fn each_shape(fault: Fault) -> [(u16, usize); 4] {
    let mut results = [(0, 0); 4];
    for (result, (path, body)) in results.iter_mut().zip(shapes()) {
        let board = BoardUnderTest::with(always(fault.clone())).await;
        let seen = board.post(path, &body).await;
        let counters = board.until("the request's end", |counters| counters.in_flight == 0).await;
        let stored = board.texts("t").await.len();
        assert_eq!((counters.received, counters.stored), (1, stored as u64));
        *result = (seen.status, stored);
    }
    results
}

#[tokio::test]
async fn cut_before_gives_not_a_byte_and_stores_nothing() {
    assert_eq!(each_shape(Fault::CutBefore).await, [(0, 0); 4]);
}

#[tokio::test]
async fn cut_after_gives_not_a_byte_and_stores() {
    assert_eq!(each_shape(Fault::CutAfter).await, [(0, 1); 4]);
}

#[tokio::test]
async fn errors_differ_only_in_what_is_stored() {
    assert_eq!(each_shape(Fault::ErrorBefore).await, [(500, 0); 4]);
    assert_eq!(each_shape(Fault::ErrorAfter).await, [(500, 1); 4]);
}

#[tokio::test]
async fn throttle_gives_a_hint_and_stores_nothing() {
    let fault = Fault::Throttle { retry_after_s: 7 };
    assert_eq!(each_shape(fault.clone()).await, [(429, 0); 4]);
    let board = BoardUnderTest::with(always(fault)).await;
    let seen = board.post("/api/comment", &shapes()[1].1).await;
    assert!(seen.header("retry-after") == Some("7"), "{seen:?}");
    assert_eq!((&seen.json()["error_code"], &seen.json()["task_id"]), (&json!(61), &json!("T")));
}

#[tokio::test]
async fn garbage_is_a_success_that_nobody_can_read() {
    assert_eq!(each_shape(Fault::Garbage).await, [(200, 1); 4]);
    let board = BoardUnderTest::with(always(Fault::Garbage)).await;
    let seen = board.post("/api/comments", &shapes()[0].1).await;
    assert!(serde_json::from_slice::<Value>(&seen.body).is_err(), "{seen:?}");
}

#[tokio::test]
async fn a_filter_hides_what_was_stored() {
    assert_eq!(each_shape(Fault::Filtered).await, [(403, 1), (403, 1), (403, 1), (403, 1)]);
}

#[tokio::test]
async fn refuse_after_lies() {
    assert_eq!(each_shape(Fault::RefuseAfter).await, [(400, 1), (400, 1), (400, 1), (200, 1)]);
    let board = BoardUnderTest::with(always(Fault::RefuseAfter)).await;
    let [native, generic, _, wxbot] = shapes();
    assert_eq!(board.post(native.0, &native.1).await.json()["error"], "refused");
    assert_eq!(board.post(generic.0, &generic.1).await.json()["error_code"], 52);
    assert_eq!(board.post(wxbot.0, &wxbot.1).await.json()["msg"], "faild");
    assert_eq!(board.texts("t").await.len(), 3);
}

#[tokio::test]
async fn wrong_echo_names_another_comment() {
    let board = BoardUnderTest::with(FaultRule::text(Fault::WrongEcho, "hello")).await;
    let ours = json!({"target":"t","text":"hello","marker":"ours"});
    let invented = board.post("/api/comments", &ours).await;
    assert_eq!(invented.status, 201);
    assert_ne!(invented.json()["id"], "1");
    assert_ne!(invented.json()["text"], "hello");
    assert_ne!(invented.json()["marker"], "ours");

    let other = json!({"target":"t","text":"bystander","marker":"theirs"});
    assert_eq!(board.post("/api/comments", &other).await.json()["id"], "2");
    let echo = board.post("/api/comments", &ours).await.json();
    assert_eq!(
        (&echo["id"], &echo["text"], &echo["marker"]),
        (&json!("2"), &json!("bystander"), &json!("theirs"))
    );

    let generic =
        board.post("/api/comment", &json!({"sns_id":"t","content":"hello","task_id":"T"})).await.json();
    assert_eq!((&generic["ok"], &generic["data"]["comment_id"]), (&json!(true), &json!("3")));
    assert_ne!(generic["task_id"], "T");
    assert_eq!(board.texts("t").await, ["hello", "bystander", "hello", "hello"]);
}

#[tokio::test]
async fn slow_headers_store_first_and_hold_every_byte() {
    let board = BoardUnderTest::with(always(Fault::SlowHeaders { hold_ms: FOREVER_MS })).await;
    let stream = board.open(&post("/api/comments", &[], &shapes()[0].1)).await;
    board.until("the storing", |counters| counters.stored == 1 && counters.in_flight == 1).await;
    assert_eq!(stream.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(stream);
    board.until("the client's leaving to be noticed", |counters| counters.in_flight == 0).await;
    assert_eq!(board.texts("t").await, ["hello"]);

    let board = BoardUnderTest::with(always(Fault::SlowHeaders { hold_ms: 1 })).await;
    assert_eq!(board.post("/api/comments", &shapes()[0].1).await.status, 201);
}

#[tokio::test]
async fn slow_body_stops_halfway() {
    let board = BoardUnderTest::with(always(Fault::SlowBody { hold_ms: FOREVER_MS })).await;
    let mut stream = board.open(&post("/api/comments", &[], &shapes()[0].1)).await;
    let mut bytes = Vec::new();
    let half = loop {
        let read = in_time("the first half", stream.read_buf(&mut bytes)).await.unwrap();
        assert_ne!(read, 0, "the connection ended early: {bytes:?}");
        let so_far = RawResponse::parse(&bytes).unwrap_or_default();
        if bytes.windows(4).any(|window| window == b"\r\n\r\n")
            && so_far.body.len() >= so_far.content_length() / 2
        {
            break so_far;
        }
    };
    assert_eq!((half.status, half.body.len()), (201, half.content_length() / 2));
    assert_eq!(board.board().counters().in_flight, 1);
    drop(stream);
    board.until("the client's leaving to be noticed", |counters| counters.in_flight == 0).await;
    assert_eq!(board.texts("t").await, ["hello"]);

    let board = BoardUnderTest::with(always(Fault::SlowBody { hold_ms: 1 })).await;
    let whole = board.post("/api/comments", &shapes()[0].1).await;
    assert_eq!((whole.status, &whole.json()["id"]), (201, &json!("1")));
}

#[tokio::test]
async fn store_late_stores_after_the_client_gave_up() {
    let board = BoardUnderTest::with(always(Fault::StoreLate { hold_ms: FOREVER_MS, late_ms: 30 })).await;
    for (number, (path, body)) in (1..).zip(shapes()) {
        let stream = board.open(&post(path, &[], &body)).await;
        board.until("the request's arrival", |counters| counters.received == number).await;
        assert_eq!(board.board().counters().stored, number - 1);
        drop(stream);
        board.until("the late storing", |counters| counters.stored == number).await;
    }
    assert_eq!(board.texts("t").await, ["hello"; 4]);
}

#[tokio::test]
async fn store_late_cuts_a_client_that_waits_and_then_stores() {
    let board = BoardUnderTest::with(always(Fault::StoreLate { hold_ms: 10, late_ms: FOREVER_MS })).await;
    assert_eq!(board.post("/api/comments", &shapes()[0].1).await.status, 0);
    let counters = board.board().counters();
    assert_eq!((counters.stored, counters.in_flight), (0, 1), "the storing is still to come");

    let board = BoardUnderTest::with(always(Fault::StoreLate { hold_ms: 10, late_ms: 10 })).await;
    assert_eq!(board.post("/api/comments", &shapes()[0].1).await.status, 0);
    board.until("the late storing", |counters| counters.stored == 1 && counters.in_flight == 0).await;
}

#[tokio::test]
async fn hang_holds_until_the_client_leaves_and_stores_nothing() {
    let board = BoardUnderTest::with(always(Fault::Hang)).await;
    let stream = board.open(&post("/api/sendtxtmsg", &[], &shapes()[3].1)).await;
    board.until("the request's arrival", |counters| counters.in_flight == 1).await;
    assert_eq!(stream.try_read(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    drop(stream);
    board.until("the client's leaving to be noticed", |counters| counters.in_flight == 0).await;
    assert_eq!(board.stop().await.counters().stored, 0);
}

#[tokio::test]
async fn what_is_held_ends_with_the_board() {
    for fault in [
        Fault::Hang,
        Fault::SlowHeaders { hold_ms: FOREVER_MS },
        Fault::SlowBody { hold_ms: FOREVER_MS },
        Fault::StoreLate { hold_ms: FOREVER_MS, late_ms: 0 },
        Fault::StoreLate { hold_ms: 0, late_ms: FOREVER_MS },
    ] {
        let stores = matches!(fault, Fault::SlowHeaders { .. } | Fault::SlowBody { .. });
        let board = BoardUnderTest::with(always(fault.clone())).await;
        let stream = board.open(&post("/api/comments", &[], &shapes()[0].1)).await;
        board.until("the request's arrival", |c| c.in_flight == 1 && c.stored == u64::from(stores)).await;
        let limit = Duration::from_millis(DRAIN_LIMIT_MS - 1000);
        let stopped =
            tokio::time::timeout(limit, board.stop()).await.expect("ends what it holds, not by the limit");
        in_time("the connection's end", RawResponse::read(stream)).await;
        let counters = stopped.counters();
        assert_eq!((counters.stored, counters.in_flight), (u64::from(stores), 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_cut_takes_only_its_own_request() {
    let board = BoardUnderTest::with(FaultRule::requests(Fault::CutAfter, [2])).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(board.post("/api/comments", &shapes()[0].1).await.status);
    }
    assert_eq!(statuses, [201, 0, 201]);
}

#[tokio::test]
async fn the_same_seed_meets_the_same_faults_over_the_wire() {
    let faults = FaultPlan { fail_ratio: 0.3, ..FaultPlan::default() }
        .with(FaultRule::ratio(Fault::CutAfter, 0.3))
        .with(FaultRule::ratio(Fault::Garbage, 0.2));
    let run = async |seed| {
        let options = BoardOptions { faults: faults.clone(), seed, ..BoardOptions::default() };
        let board = BoardUnderTest::start(options).await;
        let mut statuses = Vec::new();
        for number in 0..40 {
            let body = json!({"target":"t","text":number.to_string()});
            statuses.push(board.post("/api/comments", &body).await.status);
        }
        (statuses, board.texts("t").await)
    };
    let (first, second, other) = (run(11).await, run(11).await, run(12).await);
    assert_eq!(first, second);
    assert_ne!(first, other);
    for status in [0, 200, 201, 500] {
        assert!(first.0.contains(&status), "{status} never happened: {:?}", first.0);
    }
}

#[tokio::test]
async fn the_journal_tells_every_fault_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let faults = FaultPlan::default()
        .with(FaultRule::requests(Fault::RefuseAfter, [2]))
        .with(FaultRule::text(Fault::StoreLate { hold_ms: 1, late_ms: 20 }, "late"));
    let options = BoardOptions { faults, journal: Some(journal.clone()), ..BoardOptions::default() };
    let board = BoardUnderTest::start(options).await;
    for text in ["honest", "refused", "so late", "honest again"] {
        board.post("/api/comments", &json!({"target":"t","text":text})).await;
    }
    board.post("/api/comment/batch", &json!({"sns_id":"t","comments":["early","late"]})).await;
    board.until("the late storing", |counters| counters.stored == 6 && counters.in_flight == 0).await;
    let lines = std::fs::read_to_string(journal).unwrap();
    let told: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({"number": 2, "fault": "refuse_after", "texts": ["refused"]}),
        json!({"number": 3, "fault": "store_late", "late_ms": 20, "texts": ["so late"]}),
        json!({"number": 5, "fault": "store_late", "late_ms": 20, "texts": ["early", "late"]}),
    ];
    assert_eq!(told, expected);
}
