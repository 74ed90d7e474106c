//! Requests and settings that are wrong: a clear error, nothing sent, nothing lost.

mod ingress;
mod secrets;
mod start_up;

use super::support::{Board, HttpClient, RawResponse, ServingProcess, Sidecar, at, wait_for};
use serde_json::{Value, json};
use tempfile::TempDir;

const SINGLE: &str = "/api/comment";
const BATCH: &str = "/api/comment/batch";
const MIB: usize = 1 << 20;

/// A sidecar in front of a board of its own, which counts what was sent.
struct Scene {
    sidecar: ServingProcess,
    board: ServingProcess,
    _ledger: TempDir,
}

impl Scene {
    fn start(args: &[&str]) -> Self {
        Self::in_front_of(Board::start(&[]), args)
    }

    fn in_front_of(board: ServingProcess, args: &[&str]) -> Self {
        let ledger = tempfile::tempdir().unwrap();
        let sidecar = Sidecar::for_channel("board", &board.url, ledger.path(), args);
        Self { sidecar, board, _ledger: ledger }
    }

    fn client(&self) -> HttpClient {
        self.sidecar.client()
    }

    /// Posts that reached the board.
    fn sent(&self) -> u64 {
        Board::counter(&self.board.url, "received")
    }

    /// Sends every row, tells all that went wrong at once, and that none of them was sent on.
    fn check(&self, rows: &[Row]) {
        let problems: Vec<String> = rows.iter().flat_map(|row| row.problems(&self.client())).collect();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
        assert_eq!(self.sent(), 0, "something was sent");
    }
}

/// A request and the answer that it must get.
struct Row {
    name: String,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    code: u64,
    says: String,
    has_header: Option<(&'static str, &'static str)>,
}

impl Row {
    fn post(name: impl Into<String>, path: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            method: "POST",
            path,
            headers: vec![("Content-Type", "application/json".into())],
            body: body.into(),
            status: 400,
            code: 10,
            says: String::new(),
            has_header: None,
        }
    }

    fn single(name: impl Into<String>, body: &Value) -> Self {
        Self::post(name, SINGLE, body.to_string())
    }

    fn batch(name: impl Into<String>, body: &Value) -> Self {
        Self::post(name, BATCH, body.to_string())
    }

    /// A well-formed comment that nothing would be sent for: what is left are the headers.
    fn empty(name: impl Into<String>) -> Self {
        Self::single(name, &json!({"content": ""})).answers(200, 10)
    }

    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Instead of a header of that name, if there is one.
    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    fn without_content_type(mut self) -> Self {
        self.headers.retain(|(name, _)| *name != "Content-Type");
        self
    }

    fn answers(mut self, status: u16, code: u64) -> Self {
        (self.status, self.code) = (status, code);
        self
    }

    fn says(mut self, part: impl Into<String>) -> Self {
        self.says = part.into();
        self
    }

    fn has_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.has_header = Some((name, value));
        self
    }

    fn problems(&self, client: &HttpClient) -> Vec<String> {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.request(self.method, self.path, &headers, &self.body);
        let mut problems = Vec::new();
        if answer.status != self.status {
            problems.push(format!("status {} instead of {}", answer.status, self.status));
        }
        problems.extend(shape_problems(&answer));
        if let Ok(json) = serde_json::from_slice::<Value>(&answer.body) {
            if json["error_code"] != self.code {
                problems.push(format!("error_code {} instead of {}", json["error_code"], self.code));
            }
            if !json["error_message"].as_str().unwrap_or_default().contains(&self.says) {
                problems.push(format!("message {} without {:?}", json["error_message"], self.says));
            }
        }
        if let Some((name, value)) = self.has_header
            && !answer.header(name).is_some_and(|found| found.contains(value))
        {
            problems.push(format!("header {name} is {:?} instead of {value}", answer.header(name)));
        }
        problems.into_iter().map(|problem| format!("{}: {problem}", self.name)).collect()
    }
}

/// What is wrong with a reply that says no, as far as every reply of the contract must have it.
fn shape_problems(answer: &RawResponse) -> Vec<String> {
    let Ok(json) = serde_json::from_slice::<Value>(&answer.body) else {
        return vec![format!("no JSON: {:?}", String::from_utf8_lossy(&answer.body))];
    };
    let message = json["error_message"].as_str().unwrap_or_default();
    [
        ("Content-Type", answer.header("content-type") == Some("application/json")),
        ("v", json["v"].as_u64() == Some(1)),
        ("ok", json["ok"].as_bool() == Some(false)),
        ("error_code", json["error_code"].is_u64()),
        ("error_message", !message.is_empty()),
        ("latency_ms", json["latency_ms"].is_u64()),
        ("task_id", json["task_id"].is_string()),
        ("data", json["data"].is_object()),
    ]
    .into_iter()
    .filter(|(_, holds)| !holds)
    .map(|(part, _)| format!("{part} hasn't the contract's shape in {json}"))
    .collect()
}

#[test]
fn broken_json_is_400() {
    let deep = "[".repeat(100_000);
    Scene::start(&[]).check(&[
        Row::post("empty body", SINGLE, "").says("body: "),
        Row::post("cut off", SINGLE, r#"{"content":"hi""#),
        Row::post("trailing text", SINGLE, r#"{"content":"hi"} and more"#).says("body: "),
        Row::post("an array", SINGLE, "[]").says("body: "),
        Row::post(
            "the fields in a row",
            SINGLE,
            r#"[1,"","","","","","","","","","",null,null,"hi",null,null]"#,
        )
        .says("body: "),
        Row::post("a text", SINGLE, "\"hi\"").says("body: "),
        Row::post("no JSON at all", SINGLE, "content=hi").says("body: "),
        Row::post("not UTF-8", SINGLE, b"{\"content\":\"\xff\xfe\"}".to_vec()).says("content"),
        Row::post("half a surrogate", SINGLE, r#"{"content":"\ud800"}"#).says("content"),
        Row::post("twice the same field", SINGLE, r#"{"content":"a","content":"b"}"#).says("content"),
        Row::post("nested without end", SINGLE, format!(r#"{{"content":"hi","vars":{deep}"#)),
        Row::post("cut off in a batch", BATCH, r#"{"comments":["a","#).says("comments"),
    ]);
}

#[test]
fn wrong_types_are_400_and_the_message_names_the_field() {
    let mut rows: Vec<Row> = [
        ("content", json!(7)),
        ("content", json!(["hi"])),
        ("sns_id", json!([])),
        ("author", json!({})),
        ("content_hash", json!(1)),
        ("reply_to", json!(1.5)),
        ("target", json!(true)),
        ("sns_id", json!(1e30)),
        ("wxid", json!(false)),
        ("task_id", json!(5)),
        ("cmd", json!(7)),
        ("v", json!("1")),
        ("provider", json!(true)),
        ("trace_id", json!([])),
        ("idempotency_key", json!(9)),
        ("deadline_ms", json!("1000")),
        ("deadline_ms", json!(1.5)),
        ("vars", json!([])),
    ]
    .into_iter()
    .map(|(field, value)| {
        let mut body = json!({"content": "hi"});
        body[field] = value.clone();
        Row::single(format!("{field} = {value}"), &body).says(format!("{field}: "))
    })
    .collect();
    rows.extend([
        Row::single("a switch in vars", &json!({"content": "hi", "vars": {"x": true}})).says("vars.x: "),
        Row::single("nothing in vars", &json!({"content": "hi", "vars": {"x": null}})).says("vars.x: "),
        Row::single("no content", &json!({"sns_id": "1"})).says("content: is missing"),
        Row::single("content is null", &json!({"content": null})).says("content: "),
        Row::single("another command", &json!({"content": "hi", "cmd": "batch_comment"})).says("cmd: "),
        Row::batch("comments is a text", &json!({"comments": "hi"})).says("comments: "),
        Row::batch("a number among comments", &json!({"comments": ["hi", 3]})).says("comments[1]: "),
        Row::batch("no comments", &json!({"content": "hi"})).says("comments: is missing"),
        Row::batch("concurrency is a text", &json!({"comments": ["a"], "concurrency": "5"}))
            .says("concurrency: "),
    ]);
    Scene::start(&[]).check(&rows);
}

#[test]
fn values_out_of_range_are_refused_and_those_at_the_edge_are_not() {
    let deadline = |ms: i64| json!({"content": "hi", "deadline_ms": ms});
    let edge = |field: &str, value: Value| json!({"content": "", field: value});
    let padded = |length: usize| {
        let frame = r#"{"content":"","pad":""}"#;
        frame.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(length - frame.len())))
    };
    Scene::start(&[]).check(&[
        Row::single("version 2", &json!({"v": 2, "content": "hi"})).says("v: "),
        Row::single("deadline 0", &deadline(0)).says("deadline_ms: "),
        Row::single("deadline 600001", &deadline(600_001)).says("deadline_ms: "),
        Row::single("deadline −1", &deadline(-1)).says("deadline_ms: "),
        Row::single("deadline 600000", &edge("deadline_ms", json!(600_000))).answers(200, 10),
        Row::single("deadline 1", &edge("deadline_ms", json!(1))).answers(200, 10),
        Row::single("key of 256", &json!({"content": "hi", "idempotency_key": "k".repeat(256)}))
            .says("idempotency_key: "),
        Row::single("key of 255", &edge("idempotency_key", json!("k".repeat(255)))).answers(200, 10),
        Row::single("key with a blank", &json!({"content": "hi", "idempotency_key": "a b"}))
            .says("idempotency_key: "),
        Row::single("key beyond ASCII", &json!({"content": "hi", "idempotency_key": "schlüssel"}))
            .says("idempotency_key: "),
        Row::batch("no comment in a batch", &json!({"comments": []})).says("comments: "),
        Row::batch("1001 comments", &json!({"comments": vec!["x"; 1001]})).answers(413, 10).says("1000"),
        Row::batch("1000 comments", &json!({"comments": vec![""; 1000]})).answers(200, 10),
        Row::single("a comment over 64 KiB", &json!({"content": "x".repeat((64 << 10) + 1)}))
            .answers(413, 10)
            .says("content: "),
        Row::batch(
            "one over 64 KiB among good ones",
            &json!({"comments": ["a", "x".repeat((64 << 10) + 1)]}),
        )
        .answers(413, 10)
        .says("comments[1]: "),
        Row::post("a body over 1 MiB", SINGLE, padded(MIB + 1)).answers(413, 10).says("1048576"),
        Row::post("a batch's body over 1 MiB", BATCH, padded(MIB + 1)).answers(413, 10).says("1048576"),
        Row::post("a body of 1 MiB", SINGLE, padded(MIB)).answers(200, 10),
    ]);
}

#[test]
fn an_empty_comment_is_answered_with_code_10_and_not_sent() {
    let scene = Scene::start(&[]);
    let answer = scene.client().comment(&json!({"task_id": "t-7", "content": ""}));
    assert_eq!(answer.status, 200);
    assert_eq!(shape_problems(&answer), Vec::<String>::new());
    let json = answer.json();
    assert_eq!((&json["error_code"], &json["task_id"]), (&json!(10), &json!("t-7")));
    assert_eq!(at(&json, "data.outcome"), "refused");
    assert_eq!(at(&json, "data.attempts"), &json!([]));
    assert_eq!(scene.sent(), 0);
}

#[test]
fn an_empty_comment_keeps_its_place_among_good_ones() {
    for concurrency in [1, 20] {
        let scene = Scene::start(&[]);
        let comments = ["first", "", "third", "", "fifth"];
        let body = json!({"sns_id": "t", "comments": comments, "concurrency": concurrency,
            "deadline_ms": 30_000});
        let answer = scene.client().post(BATCH, &body);
        let json = answer.json();
        assert_eq!((answer.status, &json["ok"]), (200, &json!(false)), "{json}");
        let results = at(&json, "data.results").as_array().unwrap();
        assert_eq!(results.len(), comments.len());
        let stored = Board::comments(&scene.board.url, "t");
        for (content, result) in comments.iter().zip(results) {
            if content.is_empty() {
                assert_eq!(
                    (&result["success"], &result["error_code"], &result["outcome"]),
                    (&json!(false), &json!(10), &json!("refused")),
                    "{result}"
                );
                continue;
            }
            assert_eq!((&result["success"], &result["outcome"]), (&json!(true), &json!("delivered")));
            let there = stored.iter().find(|comment| comment["id"] == result["comment_id"]);
            assert_eq!(there.unwrap()["text"], *content, "the result is another comment's");
        }
        assert_eq!(stored.len(), 3);
        for (field, count) in [
            ("total", 5),
            ("succeeded", 3),
            ("failed", 2),
            ("raw_batch_total", 3),
            ("raw_batch_succeeded", 3),
            ("raw_batch_failed", 0),
            ("fallback_count", 0),
        ] {
            assert_eq!(json["data"][field], count, "{field}");
        }
    }
}

#[test]
fn a_header_that_disagrees_with_its_field_is_400() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let keyed = |key: &str| json!({"content": "hi", "idempotency_key": key});
    Scene::start(&[]).check(&[
        Row::single("another key", &keyed("k1")).header("Idempotency-Key", "k2").says("idempotency_key"),
        Row::single("another quoted key", &keyed("k1"))
            .header("Idempotency-Key", "\"k2\"")
            .says("idempotency_key"),
        Row::single("a header of 256", &json!({"content": "hi"}))
            .header("Idempotency-Key", "k".repeat(256))
            .says("Idempotency-Key"),
        Row::single("another trace", &json!({"content": "hi", "trace_id": "mine"}))
            .header("traceparent", TRACE)
            .says("trace_id"),
        Row::single("the same key", &json!({"content": "", "idempotency_key": "k1"}))
            .header("Idempotency-Key", "\"k1\"")
            .answers(200, 10),
    ]);
}

#[test]
fn web_pages_may_not_post_and_names_must_be_ours() {
    let hi = |name: &str| Row::single(name, &json!({"content": "hi"})).answers(403, 60);
    let scene = Scene::start(&[]);
    let ours = scene.sidecar.url.clone();
    scene.check(&[
        hi("a page's origin").header("Origin", "http://evil.example").says("Origin"),
        hi("an opaque origin").header("Origin", "null").says("Origin"),
        hi("another local port").header("Origin", "http://127.0.0.1:1").says("Origin"),
        hi("a preflight").method("OPTIONS").header("Origin", "http://evil.example"),
        hi("a rebound name").header("Host", "evil.example").says("--allowed-host"),
        hi("a rebound name with a port").header("Host", "evil.example:19080").says("--allowed-host"),
        hi("a name that begins like ours").header("Host", "127.0.0.1.evil.example"),
        Row::batch("a rebound name for a batch", &json!({"comments": ["hi"]}))
            .header("Host", "evil.example")
            .answers(403, 60),
        Row::post("a rebound name that reads", "/health", "")
            .method("GET")
            .header("Host", "evil.example")
            .answers(403, 60),
        Row::empty("our own origin").header("Origin", ours),
        Row::empty("localhost").header("Host", "localhost:1"),
    ]);
    let preflight = scene.client().request("OPTIONS", SINGLE, &[("Origin", "http://evil.example")], b"");
    assert_eq!(preflight.header("access-control-allow-origin"), None);

    let allowed = Scene::start(&["--allowed-host", "evil.example"]);
    allowed.check(&[
        Row::empty("a name that was allowed").header("Host", "evil.example:19080"),
        hi("a name that wasn't").header("Host", "other.example"),
    ]);
}

#[test]
fn unknown_paths_methods_and_content_types_have_their_status() {
    let hi = |name: &str| Row::single(name, &json!({"content": "hi"}));
    let on = |path, name: &str| Row::post(name, path, r#"{"content":"hi"}"#);
    let scene = Scene::start(&[]);
    let ours = scene.sidecar.url.clone();
    scene.check(&[
        on("/api/comments", "no such path").answers(404, 10).says("/api/comments"),
        on("/", "the root").answers(404, 10),
        hi("GET a comment").method("GET").answers(405, 10).says("POST").has_header("Allow", "POST"),
        on(BATCH, "PUT a batch").method("PUT").answers(405, 10).has_header("Allow", "POST"),
        on("/health", "POST to health").answers(405, 10).has_header("Allow", "GET"),
        hi("plain text").header("Content-Type", "text/plain").answers(415, 10).says("text/plain"),
        hi("a form").header("Content-Type", "application/x-www-form-urlencoded").answers(415, 10),
        hi("no type from a page").without_content_type().header("Origin", ours).answers(415, 10),
        Row::empty("no type from a program").without_content_type(),
        Row::empty("with a charset").header("Content-Type", "application/json; charset=utf-8"),
    ]);
}

#[test]
fn a_request_for_another_provider_is_400_with_the_contracts_words() {
    let body = json!({"content": "hi", "provider": " Real_UI "});
    Scene::start(&["--require-key"]).check(&[
        Row::single("another provider", &body)
            .says("provider mismatch: request=real_ui, service=native_http"),
        Row::single("no provider of this world", &json!({"content": "hi", "provider": "pigeon"}))
            .says("provider mismatch: request=pigeon, service=native_http"),
        Row::batch("another provider for a batch", &json!({"comments": ["hi"], "provider": "mock"}))
            .says("provider mismatch: request=mock, service=native_http"),
        Row::single("no key where one is required", &json!({"content": "hi", "provider": "NATIVE_HTTP"}))
            .says("idempotency_key: "),
    ]);
}

#[test]
fn bad_credentials_are_401_and_health_is_open() {
    // bot:correct-horse
    const GOOD: &str = "Basic Ym90OmNvcnJlY3QtaG9yc2U=";
    let scene = Scene::start(&[
        "--auth-user",
        "bot",
        "--auth-password",
        "correct-horse",
        "--auth-bearer",
        "tool=t0k",
    ]);
    let hi = |name: &str| {
        let row = Row::single(name, &json!({"content": "hi"})).answers(401, 60);
        row.has_header("WWW-Authenticate", "Basic")
    };
    scene.check(&[
        hi("no credentials"),
        hi("another password").header("Authorization", "Basic Ym90Ondyb25n"),
        hi("another user").header("Authorization", "Basic ZXZlOmNvcnJlY3QtaG9yc2U="),
        hi("no base64").header("Authorization", "Basic %%%"),
        hi("another token").header("Authorization", "Bearer t0k2"),
        hi("the password as a token").header("Authorization", "Bearer correct-horse"),
        Row::batch("a batch", &json!({"comments": ["hi"]})).answers(401, 60),
        Row::post("a path that isn't there", "/nowhere", "").answers(401, 60),
        Row::empty("good credentials").header("Authorization", GOOD),
        Row::empty("a good token").header("Authorization", "Bearer t0k"),
    ]);
    let health = scene.client().get("/health");
    assert_eq!((health.status, &health.json()["ok"]), (200, &json!(true)));
}

#[test]
fn more_than_max_in_flight_is_503_with_a_hint_and_not_sent() {
    let hint = |row: Row| row.answers(503, 61).says("--max-in-flight").has_header("Retry-After", "1");
    let scene = Scene::start(&["--max-in-flight", "3"]);
    // It would never find room, however often it were tried again.
    scene.check(&[Row::batch("four of at most three", &json!({"comments": ["a", "b", "c", "d"]}))
        .answers(413, 10)
        .says("--max-in-flight")]);

    let plans = tempfile::tempdir().unwrap();
    let plan = plans.path().join("hang.toml");
    std::fs::write(&plan, "[[fault]]\nkind = \"hang\"\nratio = 1\n").unwrap();
    let board = Board::start(&["--faults", plan.to_str().unwrap()]);
    let scene = Scene::in_front_of(board, &["--max-in-flight", "1", "--native-timeout-ms", "60000"]);
    // Its caller is answered at the deadline, but what was handed over goes on occupying the one place.
    let held = scene.client();
    let held = std::thread::spawn(move || held.comment(&json!({"content": "held"})));
    wait_for("the first comment to reach the board", || scene.sent() == 1);
    let rows = [
        Row::single("a second comment", &json!({"task_id": "t-2", "content": "second"})),
        Row::batch("a batch of one", &json!({"task_id": "t-3", "comments": ["second"]})),
    ];
    let problems: Vec<String> =
        rows.into_iter().map(hint).flat_map(|row| row.problems(&scene.client())).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let refused = scene.client().comment(&json!({"task_id": "t-2", "content": "second"}));
    assert_eq!(refused.json()["task_id"], "t-2");
    assert_eq!(at(&held.join().unwrap().json(), "data.outcome"), "unknown");
    assert_eq!(scene.sent(), 1, "what was turned away was sent");
}
