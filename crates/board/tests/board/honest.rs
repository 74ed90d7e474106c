//! The three shapes, the page and the counters of a board without faults.

use crate::support::{BoardUnderTest, post};
use commentd_board::{Board, BoardOptions};
use commentd_test_support::{RawResponse, in_time};
use serde_json::{Value, json};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_native_comment_is_stored_and_listed() {
    let board = BoardUnderTest::honest().await;
    let full = json!({"target":"t","text":"one","author":"A","marker":"m1"});
    let first = board.post("/api/comments", &full).await;
    assert_eq!(first.status, 201);
    assert_eq!(
        first.json(),
        json!({"id":"1","target":"t","text":"one","author":"A","parent":"","marker":"m1","state":"shown"})
    );
    let reply = board.post("/api/comments", &json!({"target":"t","text":"two","parent":"1"})).await;
    assert_eq!((reply.status, reply.json()["parent"].as_str()), (201, Some("1")));

    let all = board.get("/api/comments?target=t").await.json();
    assert_eq!((&all["total"], &all["complete"]), (&json!(2), &json!(true)));
    assert_eq!(all["comments"][0]["text"], "one");
    assert!(all["comments"][1]["stored_at_ms"].as_u64().unwrap() > 1_600_000_000_000);
    let marked = board.get("/api/comments?target=t&marker=m1").await.json();
    assert_eq!((&marked["total"], &marked["comments"][0]["id"]), (&json!(1), &json!("1")));
    let beside = board.get("/api/comments?target=t&marker=other&unmarked=true").await.json();
    assert_eq!((&beside["total"], &beside["comments"][0]["id"]), (&json!(1), &json!("2")));
    let page = board.get("/api/comments?target=t&limit=1").await.json();
    assert_eq!((&page["total"], &page["complete"]), (&json!(2), &json!(false)));
    assert_eq!(page["comments"].as_array().unwrap().len(), 1);
    let counters = board.get("/api/requests").await.json();
    assert_eq!(counters, json!({"received":2,"stored":2,"in_flight":0}));
}

#[tokio::test]
async fn a_bad_native_comment_is_refused_and_not_stored() {
    let board = BoardUnderTest::honest().await;
    board.post("/api/comments", &json!({"target":"other","text":"x"})).await;
    let long = "x".repeat(65_537);
    let huge = "x".repeat(1 << 20);
    for (body, status, error) in [
        (json!({"target":"t","text":"x","parent":"77"}), 404, "parent_not_found"),
        (json!({"target":"t","text":"x","parent":"1"}), 404, "parent_not_found"),
        (json!({"target":"t","text":""}), 400, "empty_text"),
        (json!({"target":"","text":"x"}), 400, "empty_target"),
        (json!({"target":"t","text":long}), 413, "too_large"),
        (json!({"target":"t","text":huge}), 413, "too_large"),
        (json!({"target":"t","text":"x","marker":"m".repeat(2049)}), 400, "too_long"),
        (json!({"target":"t","text":7}), 400, "bad_request"),
        (json!({"target":"t","text":"x","makrer":"m"}), 400, "bad_request"),
        (json!([]), 400, "bad_request"),
    ] {
        let seen = board.post("/api/comments", &body).await;
        assert_eq!((seen.status, seen.json()["error"].as_str()), (status, Some(error)), "{seen:?}");
        assert!(!seen.json()["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(board.texts("t").await, Vec::<String>::new());
    assert_eq!(
        board.post("/api/comments", &json!({"target":"t","text":"x".repeat(65_536)})).await.status,
        201
    );
}

#[tokio::test]
async fn bad_queries_and_paths_say_what_is_wrong() {
    let board = BoardUnderTest::honest().await;
    for (path, status, word) in [
        ("/api/comments", 400, "target"),
        ("/api/comments?target=t&limit=0", 400, "limit"),
        ("/api/comments?target=t&limit=10001", 400, "limit"),
        ("/nowhere", 404, "path"),
    ] {
        let seen = board.get(path).await;
        assert_eq!(seen.status, status);
        assert!(seen.json()["message"].as_str().unwrap().contains(word), "{seen:?}");
    }
    assert_eq!(board.get("/api/sendtxtmsg").await.status, 405);
}

#[tokio::test]
async fn keys_are_heeded_only_if_asked_to() {
    let body = json!({"target":"t","text":"x"});
    let keyed = post("/api/comments", &[("Idempotency-Key", "\"k1\"")], &body);

    let plain = BoardUnderTest::honest().await;
    assert_eq!((plain.send(&keyed).await.status, plain.send(&keyed).await.status), (201, 201));
    let v1 = json!({"sns_id":"t","content":"v1","idempotency_key":"k3"});
    for _ in 0..2 {
        assert_eq!(plain.post("/api/comment", &v1).await.json()["data"]["replayed"], false);
    }
    assert_eq!(plain.texts("t").await, ["x", "x", "v1", "v1"]);

    let options = BoardOptions { deduplicate: true, ..BoardOptions::default() };
    let board = BoardUnderTest::start(options).await;
    let (first, again) = (board.send(&keyed).await, board.send(&keyed).await);
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.json(), again.json());
    let bad = board.send(&post("/api/comments", &[("Idempotency-Key", "a b")], &body)).await;
    assert_eq!(bad.json()["error"], "bad_key");
    assert_eq!(board.texts("t").await.len(), 1);

    let wxbot = json!({"wxid":"t","content":"y"});
    for _ in 0..2 {
        let seen = board.send(&post("/api/sendtxtmsg", &[("Idempotency-Key", "k2")], &wxbot)).await;
        assert_eq!(seen.json()["msg"], "success");
    }
    let batch = json!({"sns_id":"t","comments":["b1","b2"],"idempotency_key":"k3"});
    let replays: Vec<Value> = [
        board.post("/api/comment/batch", &batch).await.json(),
        board.post("/api/comment/batch", &batch).await.json(),
    ]
    .map(|reply| reply["data"]["results"][1]["replayed"].clone())
    .into();
    assert_eq!(replays, [false, true]);
    assert_eq!(board.texts("t").await, ["x", "y", "b1", "b2"]);
}

#[tokio::test]
async fn the_generic_shape_is_the_v1_contract() {
    let board = BoardUnderTest::honest().await;
    let request = json!({"v":1,"cmd":"comment","task_id":"T","sns_id":"s","author":"A","content_hash":"",
        "reply_to":"","content":"hi","idempotency_key":"k"});
    let seen = board.post("/api/comment", &request).await;
    let reply = seen.json();
    assert_eq!((seen.status, &reply["ok"], &reply["error_code"]), (200, &json!(true), &json!(0)));
    assert_eq!((&reply["task_id"], &reply["data"]["comment_id"]), (&json!("T"), &json!("1")));
    assert_eq!(reply["data"]["outcome"], "delivered");
    let stored = board.board().comments("s").await.unwrap();
    assert_eq!((stored[0].author.as_str(), stored[0].marker.as_str()), ("A", "k"));

    let empty = board.post("/api/comment", &json!({"sns_id":"s","content":""})).await;
    assert_eq!((empty.status, &empty.json()["error_code"]), (200, &json!(10)));
    let orphan = board.post("/api/comment", &json!({"sns_id":"s","content":"x","reply_to":"9"})).await.json();
    assert_eq!((&orphan["ok"], &orphan["data"]["outcome"]), (&json!(false), &json!("refused")));
    let malformed = board.post("/api/comment", &json!({"content":7})).await;
    assert_eq!((malformed.status, &malformed.json()["error_code"]), (400, &json!(10)));
    assert_eq!(board.texts("s").await, ["hi"]);

    let health = board.get("/health").await.json();
    assert_eq!(
        (&health["v"], &health["ok"], &health["data"]["upstream_kind"]),
        (&json!(1), &json!(true), &json!("board"))
    );
}

#[tokio::test]
async fn a_generic_batch_answers_by_position_in_order() {
    let board = BoardUnderTest::honest().await;
    let request =
        json!({"cmd":"batch_comment","sns_id":"s","comments":["a","","b"],"concurrency":3,"provider":"mock"});
    let reply = board.post("/api/comment/batch", &request).await.json();
    let data = &reply["data"];
    assert_eq!(
        (&reply["ok"], &data["total"], &data["succeeded"], &data["failed"]),
        (&json!(false), &json!(3), &json!(2), &json!(1))
    );
    assert_eq!(data["provider"], "mock");
    let ids: Vec<&str> = (0..3).map(|index| data["results"][index]["comment_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["1", "", "2"]);
    assert_eq!(data["results"][1]["error_code"], 10);
    assert_eq!(board.texts("s").await, ["a", "b"]);
}

#[tokio::test]
async fn the_wxbot_shape_says_success_or_faild() {
    let board = BoardUnderTest::honest().await;
    let ok = board.post("/api/sendtxtmsg", &json!({"wxid":"w","content":"hi"})).await;
    assert_eq!((ok.status, ok.json()), (200, json!({"code":200,"msg":"success"})));
    for bad in
        [json!({"wxid":"w","content":""}), json!({"wxid":"","content":"x"}), json!({"wxid":"w"}), json!(3)]
    {
        let seen = board.post("/api/sendtxtmsg", &bad).await;
        assert_eq!((seen.status, seen.json()), (200, json!({"code":200,"msg":"faild"})));
    }
    assert_eq!(board.texts("w").await, ["hi"]);
}

#[tokio::test]
async fn the_page_shows_the_newest_two_hundred_and_escapes_them() {
    let board = BoardUnderTest::honest().await;
    let comments: Vec<String> = (0..250).map(|number| format!("comment-{number}-")).collect();
    board.post("/api/comment/batch", &json!({"sns_id":"many","comments":comments})).await;
    board.post("/api/comments", &json!({"target":"t","text":"</script><b>bold"})).await;
    let page = board.get("/").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    assert!(text.contains("&lt;/script&gt;&lt;b&gt;bold") && !text.contains("<b>"));
    assert_eq!(text.matches("</script>").count(), 1);
    assert!(text.contains("<strong>251</strong>"));
    assert_eq!(text.matches("<li>").count(), 200);
    assert!(text.contains("comment-51-") && !text.contains("comment-50-"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
}

#[tokio::test]
async fn a_comment_is_stored_though_its_client_left_at_once() {
    let board = BoardUnderTest::start(BoardOptions {
        faults: commentd_board::FaultPlan { latency_ms: 50, ..Default::default() },
        ..BoardOptions::default()
    })
    .await;
    let stream = board.open(&post("/api/comments", &[], &json!({"target":"t","text":"left"}))).await;
    board.until("the request's arrival", |counters| counters.received == 1).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    let counters = board.until("the storing", |counters| counters.in_flight == 0).await;
    assert_eq!((counters.stored, board.texts("t").await), (1, vec!["left".to_owned()]));
}

#[tokio::test]
async fn half_a_request_is_no_request() {
    let board = BoardUnderTest::honest().await;
    let request = post("/api/comments", &[], &json!({"target":"t","text":"half"}));
    let stream = board.open(&request[..request.len() - 1]).await;
    drop(stream);
    board.post("/api/comments", &json!({"target":"t","text":"whole"})).await;
    let stopped = board.stop().await;
    assert_eq!((stopped.counters().received, stopped.counters().stored), (1, 1));
}

#[tokio::test]
async fn a_stopped_board_lets_go_of_its_port_and_idle_connections_and_can_be_served_again() {
    let board = BoardUnderTest::honest().await;
    let address = board.address();
    let idle = TcpStream::connect(address).await.unwrap();
    board.post("/api/comments", &json!({"target":"t","text":"x"})).await;
    let opened = board.stop().await;
    assert_eq!(in_time("the idle connection's end", RawResponse::read(idle)).await.status, 0);
    assert!(TcpStream::connect(address).await.is_err());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    in_time("a second serving", opened.serve(listener, std::future::ready(()))).await.unwrap();
    assert_eq!(opened.comments("t").await.unwrap().len(), 1);
}

#[test]
fn a_plan_out_of_range_does_not_open() {
    let faults = commentd_board::FaultPlan { fail_ratio: 2.0, ..Default::default() };
    let error = Board::open(BoardOptions { faults, ..BoardOptions::default() }).unwrap_err();
    assert_eq!(error.to_string(), "fault plan: fail_ratio: must be 0 to 1, is 2");
}
