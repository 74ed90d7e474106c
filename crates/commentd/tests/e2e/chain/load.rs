//! Down the chain and up again, with five hundred comments under way.

use super::{LATE, Rig, channel};
use crate::support::{Board, at, wait_at_most};
use commentd_test_support::server::{Latch, ReservedPort, ScriptedServer, ServedConnection, reply};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const COMMENTS: usize = 500;
/// After this many comments something happens to the channel.
const MIDDLE: usize = 150;
const CONCURRENCY: usize = 20;
/// More than a breaker's longest cool-off.
const COOL_OFF_AND_MORE: Duration = Duration::from_secs(90);

type Posted = Arc<Mutex<Vec<String>>>;

fn comments() -> Vec<String> {
    (0..COMMENTS).map(|number| format!("native=ok; hook=ok; ui=ok; #{number}")).collect()
}

fn content(request: &str) -> String {
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    serde_json::from_str::<Value>(body).unwrap()["content"].as_str().unwrap().to_owned()
}

/// A channel that stores one comment a connection, and dies after the one in the middle: so only who is under way
/// just then can be in doubt.
fn dying(posted: Posted, over: Latch) -> impl Fn(&mut ServedConnection) + Send + Sync + 'static {
    move |talk| {
        let Some(request) = talk.request() else { return };
        let mut stored = posted.lock().unwrap();
        stored.push(content(&request));
        if stored.len() >= MIDDLE {
            over.open();
        }
        drop(stored);
        talk.say(&reply("200 OK", "Connection: close\r\n", r#"{"v":1,"ok":true,"error_code":0,"data":{}}"#));
    }
}

/// A channel that stores everything and from the middle on answers nothing.
fn hanging(posted: Posted) -> impl Fn(&mut ServedConnection) + Send + Sync + 'static {
    move |talk| {
        while let Some(request) = talk.request() {
            let mut stored = posted.lock().unwrap();
            stored.push(content(&request));
            let hangs = stored.len() >= MIDDLE;
            drop(stored);
            if hangs {
                talk.rest();
                return;
            }
            talk.say(&commentd_test_support::server::stored());
        }
    }
}

fn batch(rig: &Rig, comments: &[String]) -> Value {
    let batch = json!({"cmd": "batch_comment", "comments": comments, "concurrency": CONCURRENCY,
        "sns_id": "t", "deadline_ms": 600_000});
    let answer = rig.client().post("/api/comment/batch", &batch);
    assert_eq!(answer.status, 200, "{}", answer.json());
    answer.json()
}

/// What came of every comment, by provider and outcome; and that no record holds one twice, the pipe never saw two at
/// once, and each outcome is as the records say.
fn judged(rig: &Rig, comments: &[String], told: &Value) -> BTreeMap<String, usize> {
    let results = at(told, "data.results").as_array().unwrap();
    assert_eq!(results.len(), comments.len(), "every comment is answered");
    let hooked = rig.pipe.posted();
    let channel = rig.channel.lock().unwrap().clone();
    let mut counts = BTreeMap::new();
    for (text, result) in comments.iter().zip(results) {
        let word = |name: &str| result[name].as_str().unwrap().to_owned();
        let (provider, outcome) = (word("provider"), word("outcome"));
        let in_channel = channel.iter().filter(|posted| *posted == text).count();
        let in_pipe = hooked.iter().filter(|posted| *posted == text).count();
        let is = (provider.as_str(), outcome.as_str(), in_channel, in_pipe);
        let fits = match is {
            ("native_http", "delivered", 1, 0) | ("real_hook", "delivered", 0, 1) => true,
            // In doubt: whether it is there or not, nobody else was given it.
            ("native_http", "unknown", 0 | 1, 0) => true,
            _ => false,
        };
        assert!(fits, "{text}: {is:?}\n{result:#}");
        *counts.entry(format!("{provider} {outcome}")).or_insert(0) += 1;
    }
    assert!(rig.worker_posted().is_empty());
    assert_eq!(rig.pipe.seen.lock().unwrap().at_once, 0, "the pipe saw two comments at once");
    counts
}

fn breaker(rig: &Rig, provider: &str) -> String {
    let told = rig.client().get("/api/providers").json();
    let views = at(&told, "data.providers").as_array().unwrap();
    let view = views.iter().find(|view| view["provider"] == provider).unwrap();
    at(view, "breaker.state").as_str().unwrap().to_owned()
}

#[test]
fn when_the_channel_dies_the_rest_go_by_the_hook_and_when_it_returns_by_itself_again() {
    let posted = Posted::default();
    let port = ReservedPort::take();
    let (url, again, over) = (port.url(), port.again(), Latch::default());
    let server = ScriptedServer::until(over.clone(), port.listen(), dying(Arc::clone(&posted), over));
    let rig = Rig::over("generic", &url, posted, LATE);
    rig.is_well();
    let comments = comments();
    let told = batch(&rig, &comments);
    let counts = judged(&rig, &comments, &told);
    println!("the channel died in the middle of {COMMENTS}: {counts:?}");
    let count = |what: &str| counts.get(what).copied().unwrap_or(0);
    assert!(count("native_http delivered") >= MIDDLE - CONCURRENCY, "{counts:?}");
    assert!(count("native_http unknown") <= CONCURRENCY, "only who was under way is in doubt: {counts:?}");
    assert!(count("real_hook delivered") >= COMMENTS - MIDDLE - 2 * CONCURRENCY, "{counts:?}");
    assert_eq!(at(&told, "data.fallback_count"), count("real_hook delivered"));

    drop(server);
    let _server = ScriptedServer::on(again.listen(), channel(Arc::clone(&rig.channel)));
    wait_at_most(COOL_OFF_AND_MORE, "the breaker to let one comment try", || {
        breaker(&rig, "native_http") != "open"
    });
    let text = "native=ok; hook=ok; ui=ok; and back";
    let told = rig.client().comment(&json!({"content": text, "sns_id": "t"})).json();
    assert_eq!(at(&told, "data.provider"), "native_http", "{told:#}");
    assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
    assert_eq!(breaker(&rig, "native_http"), "closed");
    assert_eq!(rig.posted(text), 1);
}

#[test]
fn when_the_channel_hangs_what_is_in_doubt_stays_so_and_none_of_it_goes_to_the_hook() {
    let posted = Posted::default();
    let port = ReservedPort::take();
    let url = port.url();
    let _server = ScriptedServer::on(port.listen(), hanging(Arc::clone(&posted)));
    let args = ["--native-timeout-ms", "1500", "--real-pipe-timeout-ms", "30000"];
    let rig = Rig::over("generic", &url, posted, &args);
    rig.is_well();
    let comments = comments();
    let told = batch(&rig, &comments);
    let counts = judged(&rig, &comments, &told);
    println!("the channel hung in the middle of {COMMENTS}: {counts:?}");
    let count = |what: &str| counts.get(what).copied().unwrap_or(0);
    // Seven open the breaker; who waits for nothing then goes by the hook.
    assert!(count("native_http unknown") >= 7, "{counts:?}");
    assert!(count("real_hook delivered") > 0, "{counts:?}");
}

#[test]
fn when_a_channel_hangs_that_can_be_looked_up_what_is_in_doubt_is_found_there_and_keeps_its_breaker_closed() {
    let directory = tempfile::tempdir().unwrap();
    let plan = directory.path().join("faults.toml");
    let requests: Vec<String> = (MIDDLE..=COMMENTS).map(|number| number.to_string()).collect();
    let faults =
        format!("[[fault]]\nkind = \"slow_headers\"\nhold_ms = 300000\nrequests = [{}]", requests.join(", "));
    std::fs::write(&plan, faults).unwrap();
    let board = Board::start(&["--faults", plan.to_str().unwrap()]);
    let args = ["--native-timeout-ms", "1500", "--real-pipe-timeout-ms", "30000"];
    let rig = Rig::over("board", &board.url, Posted::default(), &args);
    rig.is_well();
    let comments = comments();
    let told = batch(&rig, &comments);
    let texts = Board::comments(&board.url, "t");
    rig.channel
        .lock()
        .unwrap()
        .extend(texts.iter().map(|comment| comment["text"].as_str().unwrap().to_owned()));
    let counts = judged(&rig, &comments, &told);
    println!("the board hung in the middle of {COMMENTS}: {counts:?}");
    // The board answers those before the middle; it holds the reply to each later one far longer than anybody waits. But
    // it has stored them, so that a lookup finds each: it works, and there is no reason to go by the hook.
    assert_eq!(counts, BTreeMap::from([("native_http delivered".to_owned(), COMMENTS)]));
    assert_eq!(breaker(&rig, "native_http"), "closed");
}
