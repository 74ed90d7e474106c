//! The gate: what was handed over is unknown until somebody says otherwise, what wasn't is not sent, and nothing is
//! sent twice or later. Against servers that misbehave.

use crate::support::{HttpClient, ServingProcess, Sidecar, at, wait_for};
use commentd_test_support::server::{ConnectionEnd, Latch, ReservedPort, ScriptedServer, reply, stored};
use serde_json::{Value, json};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// In milliseconds: longer than any test, so that an answer that comes earlier came by the deadline.
const FOREVER_MS: u64 = 300_000;

/// A sidecar in front of a `generic` upstream whose attempts take as long as they like.
struct Rig {
    sidecar: ServingProcess,
    directory: TempDir,
}

impl Rig {
    fn before(url: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { sidecar: serve("generic", url, directory.path(), &[]), directory }
    }

    fn post(&self, comment: &Value) -> Value {
        post(&self.sidecar.client(), comment)
    }
}

/// Where nobody answers a handshake, the start gives its probe up, and the watch's goes on for as long as attempts may.
const PROBES: usize = 2;
const PROBES_ENDED: usize = 1;

/// A sidecar before a server that answers no handshake, once it has asked for the server.
fn before_a_deaf_server() -> (ScriptedServer, Rig) {
    let server = ScriptedServer::deaf();
    let rig = Rig::before(&server.tls_url());
    wait_for("the probes", || {
        let seen = server.seen();
        (seen.connections, seen.ends.len()) == (PROBES, PROBES_ENDED)
    });
    (server, rig)
}

fn serve(channel: &str, url: &str, directory: &Path, more: &[&str]) -> ServingProcess {
    let timeout = FOREVER_MS.to_string();
    let args = [&["--native-timeout-ms", timeout.as_str(), "--log-level", "debug"], more].concat();
    Sidecar::for_channel(channel, url, directory, &args)
}

fn post(client: &HttpClient, comment: &Value) -> Value {
    let answer = client.comment(comment);
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

fn comment(content: &str, key: &str, deadline_ms: u64) -> Value {
    json!({"content": content, "sns_id": "t", "idempotency_key": key, "deadline_ms": deadline_ms})
}

#[track_caller]
fn assert_outcome(reply: &Value, outcome: &str, code: u64) {
    assert_eq!(
        (at(reply, "data.outcome"), &reply["error_code"]),
        (&json!(outcome), &json!(code)),
        "{reply:#}"
    );
    assert_eq!(reply["ok"], outcome == "delivered", "{reply:#}");
}

/// Posts it until the answer says that it wasn't sent, and checks that no attempt of it was. Where a record takes
/// 20 ms longer than the deadline, the answer may be *unknown* first (SPEC 5); what is recorded is the same.
fn told_as_not_sent(rig: &Rig, comment: &Value) -> Value {
    let mut told = Value::Null;
    wait_for("an answer whose record was there in time", || {
        told = rig.post(comment);
        !told["error_message"].as_str().unwrap().contains("while the result was being recorded")
    });
    assert_outcome(&told, "not_sent", 62);
    assert_eq!(at(&told, "data.replayed"), false, "it is tried afresh, not replayed: {told:#}");
    for attempt in at(&told, "data.attempts").as_array().unwrap() {
        assert_eq!(attempt["verdict"], "not_sent", "{told:#}");
    }
    told
}

/// How many attempts a reply tells of.
fn attempts(reply: &Value) -> usize {
    at(reply, "data.attempts").as_array().unwrap().len()
}

/// Posts and leaves the connection to the test, unread.
fn post_and_hold(client: &HttpClient, comment: &Value) -> TcpStream {
    let body = comment.to_string();
    let mut stream = TcpStream::connect(&client.address).unwrap();
    let (host, length) = (&client.address, body.len());
    write!(stream, "POST /api/comment HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}")
        .unwrap();
    stream
}

/// Whether these bytes are a TLS client's greeting and nothing that could carry content (RFC 8446, 5.1: record
/// type 22, with alerts and changes of cipher beside it; 23 is application data).
fn is_only_handshake(mut bytes: &[u8]) -> bool {
    while let [kind, _, _, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if !(20..=22).contains(kind) || rest.len() < length {
            return false;
        }
        bytes = &rest[length..];
    }
    bytes.is_empty()
}

#[test]
fn a_tls_handshake_that_nobody_answers_is_cut_at_the_deadline_and_not_sent() {
    let (server, rig) = before_a_deaf_server();
    let began = Instant::now();
    let first = told_as_not_sent(&rig, &comment("hello", "k", 1000));
    assert!(first["latency_ms"].as_u64().unwrap() >= 1000, "answered before the deadline: {first:#}");
    assert!(began.elapsed().as_millis() < u128::from(FOREVER_MS) / 10, "{:?}", began.elapsed());
    wait_for("the connection's end", || server.seen().ends.len() == PROBES_ENDED + attempts(&first));
    let again = told_as_not_sent(&rig, &comment("hello", "k", 1000));
    assert!(attempts(&again) > attempts(&first), "{again:#}");
    assert_eq!(at(&again, "data.delivery_id"), at(&first, "data.delivery_id"));
    let seen = server.seen();
    assert_eq!(seen.connections, PROBES + attempts(&again), "one for each attempt");
    assert!(!seen.bytes.is_empty() && is_only_handshake(&seen.bytes), "{:?}", seen.bytes);
}

#[test]
fn a_proxy_that_never_answers_is_left_at_the_deadline_and_its_password_is_told_to_nobody() {
    let proxy = ScriptedServer::deaf();
    let directory = tempfile::tempdir().unwrap();
    let address = proxy.url().replace("http://", "http://ann:s3cret@");
    let args = ["--log-level", "trace", "--proxy", &address];
    let sidecar = serve("generic", "http://channel.test", directory.path(), &args);
    let rig = Rig { sidecar, directory };
    let first = told_as_not_sent(&rig, &comment("hello", "k", 1000));
    assert!(first["latency_ms"].as_u64().unwrap() >= 1000, "answered before the deadline: {first:#}");
    wait_for("the connection's end", || proxy.seen().ends.len() >= attempts(&first));
    let asked = "CONNECT channel.test:80 HTTP/1.1\r\nHost: channel.test:80\r\n\
                 Proxy-Authorization: Basic YW5uOnMzY3JldA==\r\n\r\n";
    let seen = proxy.seen();
    assert_eq!(String::from_utf8(seen.bytes).unwrap(), asked.repeat(seen.connections));
    let client = rig.sidecar.client();
    let told: Vec<String> = ["/health", "/ready", "/api/providers"]
        .map(|path| client.get(path).json().to_string())
        .into_iter()
        .chain([first.to_string(), rig.sidecar.log()])
        .collect();
    for text in told {
        assert!(!text.contains("s3cret") && !text.contains("YW5u"), "{text}");
    }
}

#[test]
fn a_comment_that_nobody_answers_is_unknown_by_the_deadline() {
    let server = ScriptedServer::silent();
    let rig = Rig::before(&server.url());
    let began = Instant::now();
    let answer = rig.post(&comment("hello", "k", 1000));
    assert_outcome(&answer, "unknown", 56);
    assert!(began.elapsed().as_millis() < u128::from(FOREVER_MS) / 10, "{:?}", began.elapsed());
    let seen = server.seen();
    assert_eq!((seen.connections, seen.requests_with("hello")), (1, 1));
}

#[test]
fn headers_whose_body_never_comes_are_answered_by_the_deadline_and_prove_nothing() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n";
    let server = ScriptedServer::start(|talk| {
        talk.request();
        talk.say(head);
        talk.rest();
    });
    let rig = Rig::before(&server.url());
    let began = Instant::now();
    assert_outcome(&rig.post(&comment("hello", "k", 1000)), "unknown", 56);
    assert!(began.elapsed().as_millis() < u128::from(FOREVER_MS) / 10, "{:?}", began.elapsed());
    assert_eq!(server.seen().requests_with("hello"), 1);
}

/// A library that asks whether the body was begun to be read has nothing to go by here.
#[test]
fn a_comment_without_a_body_is_no_less_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("bodiless.toml"), BODILESS).unwrap();
    let channels = ["--channels-dir", directory.path().to_str().unwrap()];
    let server = ScriptedServer::start(|talk| {
        let request = talk.request().unwrap_or_default();
        if request.contains("text=stay") {
            talk.rest();
        }
    });
    let sidecar = serve("bodiless", &server.url(), directory.path(), &channels);
    for (content, code) in [("stay", 56), ("leave", 51)] {
        assert_outcome(&post(&sidecar.client(), &comment(content, content, 1500)), "unknown", code);
        let seen = server.seen();
        assert_eq!(seen.requests_with(&format!("POST /say?text={content} HTTP/1.1")), 1, "{seen:?}");
    }
    assert_eq!(server.seen().connections, 1 + 2, "the start's, one for each comment, and none again");
}

const BODILESS: &str = r#"
manifest = 1
name = "bodiless"
version = 1
summary = "everything in the query"
target = "any text"
reply = "nothing"

[send]
method = "POST"
path = "/say"
query = { text = "content" }

[[verdict]]
is = "delivered"
when = "status == 200"
"#;

#[test]
fn a_kept_connection_that_closes_when_the_second_comment_comes_leaves_that_one_unknown() {
    let server = ScriptedServer::start(|talk| {
        talk.request();
        talk.say(&stored());
        talk.first_bytes();
    });
    let rig = Rig::before(&server.url());
    // One after the other in one request: those share a thread, and with it the kept connection.
    let both = json!({"comments": ["first", "second"], "sns_id": "t", "idempotency_key": "k", "deadline_ms": 20_000});
    let reply = rig.sidecar.client().post("/api/comment/batch", &both).json();
    let told = |reply: &Value, item: usize| {
        let item = &at(reply, "data.results")[item];
        (item["outcome"].clone(), item["error_code"].clone(), item["replayed"].clone())
    };
    assert_eq!(told(&reply, 0), (json!("delivered"), json!(0), json!(false)), "{reply:#}");
    assert_eq!(told(&reply, 1), (json!("unknown"), json!(51), json!(false)), "{reply:#}");
    let again = rig.sidecar.client().post("/api/comment/batch", &both).json();
    assert_eq!(told(&again, 1), (json!("unknown"), json!(51), json!(true)), "{again:#}");
    let seen = server.seen();
    assert_eq!(seen.connections, 1, "the second went over the kept connection, and nowhere else");
    assert!(seen.bytes.ends_with(b"POST"), "its first bytes did arrive");
}

#[test]
fn a_kept_connection_that_closed_while_idle_loses_and_doubles_nothing() {
    let server = ScriptedServer::start(|talk| {
        talk.request();
        talk.say(&stored());
    });
    let rig = Rig::before(&server.url());
    for round in 1..=5 {
        let content = format!("comment-{round}");
        assert_outcome(&rig.post(&comment(&content, &content, 20_000)), "delivered", 0);
        wait_for("the server to close", || server.seen().closed == round);
        assert_eq!(server.seen().requests_with(&content), 1);
    }
    assert_eq!(server.seen().requests.len(), 5);
}

#[test]
fn a_redirect_is_not_followed_and_proves_nothing() {
    let elsewhere = ScriptedServer::answering(stored());
    let body = r#"{"v":1,"ok":false,"error_code":0}"#;
    for status in
        ["301 Moved Permanently", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("Location: {}/api/comment\r\n", elsewhere.url());
        let server = ScriptedServer::answering(reply(status, &location, body));
        let rig = Rig::before(&server.url());
        assert_outcome(&rig.post(&comment("hello", "k", 20_000)), "unknown", 55);
        assert_eq!(server.seen().requests_with("hello"), 1);
        // Whatever it still wanted to do has been done when it has ended.
        assert!(rig.sidecar.terminate().success());
    }
    assert_eq!(elsewhere.seen().connections, 0);
}

#[test]
fn a_caller_that_hangs_up_loses_nothing_of_what_was_sent() {
    let latch = Latch::default();
    let opened = latch.clone();
    let server = ScriptedServer::start(move |talk| {
        talk.request();
        opened.wait();
        talk.say(&stored());
        talk.rest();
    });
    let rig = Rig::before(&server.url());
    let caller = post_and_hold(&rig.sidecar.client(), &comment("hello", "k", FOREVER_MS));
    wait_for("the comment to arrive", || server.seen().requests_with("hello") == 1);
    drop(caller);
    wait_for("the sidecar to notice", || rig.sidecar.log().contains("a connection ended early"));
    latch.open();
    let answer = rig.post(&comment("hello", "k", 20_000));
    assert_outcome(&answer, "delivered", 0);
    assert_eq!(at(&answer, "data.replayed"), true, "{answer:#}");
    let seen = server.seen();
    assert_eq!((seen.connections, seen.requests.len()), (1, 1));
}

#[test]
fn a_caller_that_hangs_up_takes_back_what_was_not_sent_yet() {
    let (server, rig) = before_a_deaf_server();
    let caller = post_and_hold(&rig.sidecar.client(), &comment("hello", "k", FOREVER_MS));
    wait_for("the handshake to begin", || server.seen().connections > PROBES);
    assert_eq!(server.seen().ends.len(), PROBES_ENDED, "it waits for the server as long as the caller does");
    drop(caller);
    wait_for("the connection's end", || server.seen().ends.len() == PROBES_ENDED + 1);
    let again = told_as_not_sent(&rig, &comment("hello", "k", 1000));
    assert!(attempts(&again) >= 2, "the first caller's attempt is on record: {again:#}");
    let seen = server.seen();
    assert_eq!(seen.connections, PROBES + attempts(&again), "one for each attempt");
    assert!(is_only_handshake(&seen.bytes), "{:?}", seen.bytes);
}

#[test]
fn what_a_killed_sidecar_had_not_sent_dies_with_it() {
    let port = ReservedPort::take_narrow();
    let url = port.url();
    let latch = Latch::default();
    let opened = latch.clone();
    let server = ScriptedServer::on(port.listen(), move |talk| {
        talk.arrival();
        opened.wait();
        talk.rest();
    });
    let Rig { sidecar, directory } = Rig::before(&url);
    let content = "0123456789abcdef".repeat(60 * 1024 / 16);
    let _caller = post_and_hold(&sidecar.client(), &comment(&content, "k", FOREVER_MS));
    wait_for("the comment's first bytes", || server.seen().arrived == 1);
    sidecar.kill();
    latch.open();
    wait_for("the connection's end", || server.seen().ends.len() == 1);
    let seen = server.seen();
    assert_eq!(seen.ends, [ConnectionEnd::Reset], "the rest was sent after all: {} bytes", seen.bytes.len());
    assert!((1..content.len()).contains(&seen.bytes.len()), "{} bytes came", seen.bytes.len());

    let sidecar = serve("generic", &url, directory.path(), &[]);
    assert_outcome(&post(&sidecar.client(), &comment(&content, "k", 20_000)), "unknown", 56);
    assert_eq!(server.seen().connections, 1, "it was sent again without proof");
}

#[test]
fn a_reply_over_one_mebibyte_proves_nothing() {
    for (more, outcome, code) in [(0, "delivered", 0), (1, "unknown", 51)] {
        let (head, tail) = (r#"{"v":1,"ok":true,"error_code":0,"data":{},"pad":""#, r#""}"#);
        let pad = "x".repeat((1 << 20) + more - head.len() - tail.len());
        let server = ScriptedServer::answering(reply("200 OK", "", &format!("{head}{pad}{tail}")));
        let rig = Rig::before(&server.url());
        let answer = rig.post(&comment("hello", "k", 20_000));
        assert_outcome(&answer, outcome, code);
        let says_why = answer["error_message"].as_str().unwrap().contains("longer than 1048576 bytes");
        assert_eq!(says_why, more > 0, "{answer:#}");
        assert_eq!(server.seen().requests.len(), 1);
    }
}

#[test]
fn a_failure_that_no_rule_names_proves_nothing() {
    let answers = [
        reply("500 Internal Server Error", "", r#"{"error":"oops"}"#),
        reply("502 Bad Gateway", "", "<html>bad gateway</html>"),
        reply("503 Service Unavailable", "Retry-After: 1\r\n", ""),
        reply("404 Not Found", "", "not found"),
        reply("200 OK", "", "fine"),
    ];
    for answer in answers {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        let server = ScriptedServer::answering(answer);
        let rig = Rig::before(&server.url());
        for _ in 0..2 {
            let told = rig.post(&comment("hello", "k", 20_000));
            assert_eq!(
                (at(&told, "data.outcome"), &told["error_code"]),
                (&json!("unknown"), &json!(55)),
                "{shown}"
            );
        }
        assert_eq!(server.seen().requests.len(), 1, "sent again after {shown}");
    }
}

#[test]
fn a_refused_connection_is_tried_again_and_then_not_sent() {
    let port = ReservedPort::take();
    let rig = Rig::before(&port.url());
    let answer = rig.post(&comment("hello", "k", 20_000));
    assert_outcome(&answer, "not_sent", 51);
    assert!(at(&answer, "data.retry_count").as_u64().unwrap() > 0, "{answer:#}");
    for attempt in at(&answer, "data.attempts").as_array().unwrap() {
        assert_eq!(attempt["verdict"], "not_sent", "{answer:#}");
    }
}
