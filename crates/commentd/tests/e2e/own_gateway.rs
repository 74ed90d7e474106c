//! A gateway that nobody has heard of, reached with nothing but the manifest in docs/channels.md.

use crate::support::{Program, ServingProcess, at, wait_for};
use commentd_test_support::server::{ScriptedServer, reply};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const DOCUMENT: &str = include_str!("../../../../docs/channels.md");
const THREAD: &str = "14287710653886042616";
const PAGE: usize = 20;

/// The manifest of the walk-through, as a reader would copy it.
fn manifest() -> &'static str {
    let blocks = DOCUMENT.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let mut parley = blocks.filter(|block| block.contains("name = \"parley\""));
    parley.next().unwrap()
}

/// What the gateway has been told and has given out.
#[derive(Default)]
struct GatewayState {
    messages: Vec<Value>,
    /// Sessions given out, and those of them that are good no more.
    sessions: usize,
    expired: usize,
    logins: Vec<Value>,
    timeouts: Vec<u64>,
}

/// Parley, as docs/channels.md describes it.
struct Parley {
    _server: ScriptedServer,
    url: String,
    kept: Arc<Mutex<GatewayState>>,
    /// So many of the next messages are stored, and their replies never come.
    cuts: Arc<AtomicUsize>,
}

impl Parley {
    fn start() -> Self {
        let (kept, cuts) = (Arc::<Mutex<GatewayState>>::default(), Arc::<AtomicUsize>::default());
        let (shared, left_to_cut) = (Arc::clone(&kept), Arc::clone(&cuts));
        let server = ScriptedServer::start(move |talk| {
            while let Some(request) = talk.request() {
                let (head, body) = request.split_once("\r\n\r\n").unwrap();
                let body = serde_json::from_str(body).unwrap_or(Value::Null);
                let answer = answer(head, &body, &mut shared.lock().unwrap(), &left_to_cut);
                let Some(answer) = answer else { return };
                talk.say(&reply("200 OK", "", &answer.to_string()));
            }
        });
        Self { url: server.url(), _server: server, kept, cuts }
    }

    fn texts(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap();
        kept.messages.iter().map(|message| message["parts"][0]["text"].as_str().unwrap().to_owned()).collect()
    }

    fn sidecar(&self, directory: &Path, more: &[&str]) -> ServingProcess {
        std::fs::write(directory.join("parley.toml"), manifest()).unwrap();
        let ledger = directory.join("ledger.db");
        let mut command = Program::command(["serve", "--port", "0", "--channel", "parley"]);
        command.args(["--channels-dir", directory.to_str().unwrap(), "--channel-url", &self.url]);
        command.args(["--set", "app=bot", "--ledger", ledger.to_str().unwrap()]).args(more);
        ServingProcess::start(with_secret(command))
    }
}

fn with_secret(mut command: std::process::Command) -> std::process::Command {
    command.env("COMMENTD_CHANNEL_APP_SECRET", "pssst");
    command
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

/// `None` cuts the connection.
fn answer(head: &str, body: &Value, kept: &mut GatewayState, cuts: &AtomicUsize) -> Option<Value> {
    let target = head.split(' ').nth(1).unwrap();
    if target == "/v2/login" {
        kept.logins.push(body.clone());
        if body["secret"] != "pssst" {
            return Some(json!({"code": "1001", "text": "who are you"}));
        }
        kept.sessions += 1;
        let session = format!("session-{}", kept.sessions);
        return Some(json!({"code": "1000", "data": {"session": session, "ttl": "3600"}}));
    }
    let session =
        header(head, "x-session").and_then(|session| session.strip_prefix("session-")?.parse().ok());
    if session.is_none_or(|session: usize| session <= kept.expired) {
        return Some(json!({"code": "2001", "text": "no session"}));
    }
    if let Some(rest) = target.strip_prefix(&format!("/v2/threads/{THREAD}/messages")) {
        let from = rest.strip_prefix("?cursor=").map_or(0, |cursor| cursor.parse::<usize>().unwrap());
        let page: Vec<&Value> = kept.messages.iter().skip(from).take(PAGE).collect();
        let next = if from + PAGE < kept.messages.len() { json!(from + PAGE) } else { Value::Null };
        return Some(json!({"code": "1000", "data": {"messages": page, "next": next}}));
    }
    let message = &body["message"];
    if message["thread"]["id"].as_u64() != THREAD.parse().ok() {
        return Some(json!({"code": "3001", "text": "no such thread"}));
    }
    kept.timeouts.push(header(head, "x-timeout-ms").unwrap().parse().unwrap());
    let mut stored = message.clone();
    stored["id"] = json!(format!("m-{}", kept.messages.len() + 1));
    kept.messages.push(stored.clone());
    if cuts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        return None;
    }
    Some(json!({"code": "1000", "data": {"id": stored["id"], "ref": stored["ref"]}}))
}

fn post(sidecar: &ServingProcess, content: &str, thread: &str) -> Value {
    let body = json!({"content": content, "sns_id": thread, "deadline_ms": 30_000});
    sidecar.client().comment(&body).json()
}

fn verdicts(reply: &Value) -> Vec<&str> {
    let attempts = at(reply, "data.attempts").as_array().unwrap();
    attempts.iter().map(|attempt| attempt["verdict"].as_str().unwrap()).collect()
}

#[test]
fn fifty_comments_are_accepted_and_read_back_page_by_page() {
    let parley = Parley::start();
    let directory = tempfile::tempdir().unwrap();
    let sidecar = parley.sidecar(directory.path(), &[]);
    let report = directory.path().join("report.json");
    let mut accept = Program::command(["accept", "--rounds", "5", "--count", "10", "--concurrency", "10"]);
    accept.args([
        "--verify",
        "--round-interval-ms",
        "0",
        "--http-base-url",
        &sidecar.url,
        "--sns-id",
        THREAD,
    ]);
    accept.args(["--channel", "parley", "--channels-dir", directory.path().to_str().unwrap()]);
    accept.args([
        "--channel-url",
        &parley.url,
        "--set",
        "app=bot",
        "--report-file",
        report.to_str().unwrap(),
    ]);
    let ended = with_secret(accept).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let mut texts = parley.texts();
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), parley.kept.lock().unwrap().messages.len()), (50, 50), "{texts:?}");
    let kept = parley.kept.lock().unwrap();
    assert!(kept.timeouts.iter().all(|left| (1..=600_000).contains(left)), "{:?}", kept.timeouts);
    let fresh: Vec<&Value> = kept.logins.iter().map(|login| &login["fresh"]).collect();
    assert_eq!(fresh, [false, false], "one for the sidecar, one for the reader");
    assert!(!sidecar.log().contains("pssst"));
}

#[test]
fn cut_connections_are_settled_by_lookups_and_nothing_is_sent_twice() {
    let parley = Parley::start();
    let directory = tempfile::tempdir().unwrap();
    let sidecar = parley.sidecar(directory.path(), &[]);
    parley.cuts.store(5, Ordering::SeqCst);
    for number in 0..10 {
        let reply = post(&sidecar, &format!("comment {number}"), THREAD);
        assert_eq!(at(&reply, "data.outcome"), "delivered", "{reply}");
    }
    let mut texts = parley.texts();
    texts.sort();
    let expected: Vec<String> = (0..10).map(|number| format!("comment {number}")).collect();
    assert_eq!(texts, expected);
}

#[test]
fn an_expired_session_is_renewed_once_and_the_comment_tried_once_more() {
    let parley = Parley::start();
    let directory = tempfile::tempdir().unwrap();
    let sidecar = parley.sidecar(directory.path(), &[]);
    assert_eq!(verdicts(&post(&sidecar, "before", THREAD)), ["delivered"]);
    parley.kept.lock().unwrap().expired = 1;
    let reply = post(&sidecar, "after", THREAD);
    assert_eq!(verdicts(&reply), ["denied", "delivered"], "{reply}");
    let kept = parley.kept.lock().unwrap();
    assert_eq!(kept.logins.len(), 2);
    assert_eq!(kept.logins[1]["fresh"], true);
    drop(kept);
    assert_eq!(parley.texts(), ["before", "after"]);
    let refused = post(&sidecar, "nowhere", "7");
    assert_eq!(at(&refused, "data.outcome"), "refused", "{refused}");
    assert_eq!(at(&refused, "data.provider_error_code"), "3001");
    wait_for("the log to be free of the secret", || !sidecar.log().contains("pssst"));
}

#[test]
fn a_cassette_has_neither_secret_nor_session_and_replays_without_the_gateway() {
    let parley = Parley::start();
    let directory = tempfile::tempdir().unwrap();
    let cassette = directory.path().join("parley.har");
    let taped = |exchange| {
        let tape = ["--exchange", exchange, "--cassette", cassette.to_str().unwrap()];
        parley.sidecar(directory.path(), &[&tape[..], &["--ledger", "memory"]].concat())
    };
    let sidecar = taped("record");
    parley.cuts.store(1, Ordering::SeqCst);
    let cut = post(&sidecar, "cut", THREAD);
    assert_eq!(at(&cut, "data.outcome"), "delivered", "{cut}");
    parley.kept.lock().unwrap().expired = 1;
    let renewed = post(&sidecar, "renewed", THREAD);
    assert_eq!(verdicts(&renewed), ["denied", "delivered"]);
    drop(sidecar);
    let text = std::fs::read_to_string(&cassette).unwrap();
    for secret in ["pssst", "session-1", "session-2"] {
        assert!(!text.contains(secret), "{secret} stands in {text}");
    }
    let stored = parley.texts().len();
    // Whoever would still ask it, would be told that no session is good.
    parley.kept.lock().unwrap().expired = usize::MAX;
    let sidecar = taped("replay");
    for (content, recorded) in [("cut", &cut), ("renewed", &renewed)] {
        let replayed = post(&sidecar, content, THREAD);
        assert_eq!(verdicts(&replayed), verdicts(recorded), "{replayed}");
        assert_eq!(at(&replayed, "data.comment_id"), at(recorded, "data.comment_id"));
    }
    assert_eq!(parley.texts().len(), stored);
}
