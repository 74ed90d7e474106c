//! What a request's head says about itself, and how much of a request is kept.

use super::{BATCH, Row, SINGLE, Scene};
use crate::support::{Board, at};
use serde_json::json;

#[test]
fn a_key_that_is_spelt_otherwise_is_400_and_the_right_name_said() {
    let hi = |name: &str| {
        let mut body = json!({"content": "hi"});
        body[name] = json!("k");
        Row::single(format!("the field {name}"), &body).says("idempotency_key")
    };
    let header = |name: &'static str| {
        Row::single(format!("the header {name}"), &json!({"content": "hi"})).header(name, "k")
    };
    Scene::start(&[]).check(&[
        hi("idempotency-key"),
        hi("idempotencyKey"),
        hi("Idempotency_Key"),
        Row::batch("a batch", &json!({"comments": ["hi"], "idempotencyKey": "k"})).says("idempotency_key"),
        header("Idempotency_Key").says("Idempotency-Key"),
        header("X-IdempotencyKey").says("Idempotency-Key"),
        Row::single("two headers", &json!({"content": "hi"}))
            .header("Idempotency-Key", "k1")
            .header("X-Idempotency-Key", "k2")
            .says("disagree"),
        Row::single("a header and a field", &json!({"content": "hi", "idempotency_key": "k1"}))
            .header("X-Idempotency-Key", "k2")
            .says("disagree"),
    ]);
}

#[test]
fn each_name_of_the_keys_header_holds_a_key() {
    let scene = Scene::start(&[]);
    let post = |name, value| {
        let body = json!({"content": "hi", "target": 7, "deadline_ms": 20_000}).to_string();
        let headers = [("Content-Type", "application/json"), (name, value)];
        scene.client().request("POST", SINGLE, &headers, body.as_bytes()).json()
    };
    assert_eq!(at(&post("X-Idempotency-Key", "k"), "data.outcome"), "delivered");
    assert_eq!(at(&post("Idempotency-Key", "\"k\""), "data.replayed"), true);
    assert_eq!(Board::comments(&scene.board.url, "7").len(), 1);
}

#[test]
fn a_head_that_can_be_read_in_two_ways_is_refused() {
    let scene = Scene::start(&[]);
    let host = scene.client().address;
    let raw = |head: &str| {
        let body = r#"{"content":"hi"}"#;
        let text = format!("POST {SINGLE} {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        scene.client().raw(text.as_bytes()).unwrap().status
    };
    for (head, status) in [
        ("HTTP/1.1\r\nConnection: close".to_owned(), 400),
        (format!("HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\nHost: {host}"), 400),
        (
            format!(
                "HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\nOrigin: http://{host}\r\nOrigin: http://{host}"
            ),
            400,
        ),
        (
            format!(
                "HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\nOrigin: http://{host}\r\nOrigin: http://evil"
            ),
            400,
        ),
        (format!("HTTP/1.1\r\nConnection: close\r\nHost: {host}\r\nContent-Encoding: gzip"), 415),
    ] {
        assert_eq!(raw(&head), status, "{head}");
    }
    assert_eq!(scene.sent(), 0);
}

#[test]
fn a_body_that_says_that_it_is_too_long_is_413_before_it_comes() {
    let scene = Scene::start(&[]);
    for length in ["1048577", "1000000000000"] {
        let host = scene.client().address;
        let head = format!("POST {BATCH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
        let answer = scene.client().raw(head.as_bytes()).unwrap();
        assert_eq!((answer.status, answer.json()["error_code"].as_u64()), (413, Some(10)), "{length}");
    }
}

/// Only contents were counted and bounded: a few hundred requests with a megabyte of target filled the memory.
#[test]
fn each_field_of_a_request_has_its_limit() {
    let long = |field: &str, value: serde_json::Value| {
        let mut body = json!({"content": "hi"});
        body[field] = value;
        Row::single(format!("a long {field}"), &body).answers(413, 10).says(field)
    };
    let text = "x".repeat(2049);
    let mut rows: Vec<Row> = ["sns_id", "target", "author", "content_hash", "reply_to", "wxid"]
        .into_iter()
        .map(|field| long(field, json!(text)))
        .collect();
    rows.push(long("vars", json!({"a": "x".repeat(16 << 10)})));
    rows.push(
        Row::batch("a long target of a batch", &json!({"comments": ["hi"], "sns_id": text}))
            .answers(413, 10)
            .says("sns_id"),
    );
    Scene::start(&[]).check(&rows);
}
