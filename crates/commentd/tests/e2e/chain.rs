//! The whole chain: what each verdict of each link leads to, and that the three truth records (channel, pipe, worker)
//! never hold a comment twice.

mod pipe_server;

use crate::misbehaving::{Server, reply, stored};
use crate::support::process::Served;
use crate::support::{Client, Sidecar, at, wait_for};
use pipe_server::{PipeServer, ask_status};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Channel, pipe and worker, and a sidecar in front of them.
struct Rig {
    channel: Arc<Mutex<Vec<String>>>,
    pipe: PipeServer,
    sidecar: Served,
    _server: Server,
    directory: TempDir,
}

/// What a channel does, by the comment's text.
fn channel_does(request: &str, posted: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    let content = serde_json::from_str::<Value>(body).unwrap()["content"].as_str().unwrap().to_owned();
    let does = content.split("native=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    if let Some(code) = does.strip_prefix("code ") {
        let body = json!({"v": 1, "ok": false, "error_code": code.parse::<u64>().unwrap(), "error_message": "told to"});
        return Some(reply("200 OK", "", &body.to_string()));
    }
    posted.lock().unwrap().push(content);
    match does.as_str() {
        "hangs" => None,
        "babbles" => Some(reply("200 OK", "", "what?")),
        outcome @ ("held" | "misplaced") => {
            let body =
                json!({"v": 1, "ok": outcome == "held", "error_code": 0, "data": {"outcome": outcome}});
            Some(reply("200 OK", "", &body.to_string()))
        }
        _ => Some(stored()),
    }
}

impl Rig {
    fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let channel = Arc::<Mutex<Vec<String>>>::default();
        let posted = Arc::clone(&channel);
        let server = Server::start(move |talk| {
            while let Some(request) = talk.request() {
                match channel_does(&request, &posted) {
                    Some(reply) => talk.say(&reply),
                    None => {
                        talk.rest();
                        return;
                    }
                }
            }
        });
        let socket = directory.path().join("hook.sock");
        let pipe = PipeServer::start(&socket);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/chain/worker.py");
        let worker = format!("python3 '{script}' '{}'", directory.path().join("ui.txt").display());
        let mut all = vec!["--real-pipe-name", socket.to_str().unwrap(), "--real-ui-command", &worker];
        all.extend(["--native-timeout-ms", "400", "--real-wait-timeout-ms", "300"]);
        all.extend(["--real-pipe-timeout-ms", "600", "--ui-worker-timeout-ms", "4000"]);
        all.extend(args);
        let sidecar = Sidecar::for_channel("generic", &server.url(), directory.path(), &all);
        Self { channel, pipe, sidecar, _server: server, directory }
    }

    fn client(&self) -> Client {
        self.sidecar.client()
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("hook.sock")
    }

    fn worker_posted(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.directory.path().join("ui.txt")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often a text was posted, over all three truth records.
    fn posted(&self, text: &str) -> usize {
        let records = [self.channel.lock().unwrap().clone(), self.pipe.posted(), self.worker_posted()];
        records.iter().flatten().filter(|posted| *posted == text).count()
    }

    /// Waits until every provider may be tried: what one row did to a provider must not decide the next.
    fn is_well(&self) {
        wait_for("all providers to be able", || {
            let providers = self.client().get("/api/providers").json();
            let views = at(&providers, "data.providers").as_array().unwrap().clone();
            views.iter().all(|view| view["able"] == true && at(view, "breaker.state") == "closed")
        });
    }
}

/// What the links do, the way down, the outcome and how many comments there then are.
type Row = (&'static str, &'static str, &'static str, usize);

const ROWS: &[Row] = &[
    ("native=ok; hook=ok; ui=ok;", "native_http delivered", "delivered", 1),
    ("native=held; hook=ok; ui=ok;", "native_http held", "held", 1),
    ("native=misplaced; hook=ok; ui=ok;", "native_http misplaced", "misplaced", 1),
    ("native=code 52; hook=ok; ui=ok;", "native_http refused", "refused", 0),
    ("native=code 54; hook=ok; ui=ok;", "native_http denied, real_hook delivered", "delivered", 1),
    ("native=babbles; hook=ok; ui=ok;", "native_http unknown", "unknown", 1),
    ("native=hangs; hook=ok; ui=ok;", "native_http unknown", "unknown", 1),
    ("native=code 54; hook=answers late; ui=ok;", "native_http denied, real_hook delivered", "delivered", 1),
    ("native=code 54; hook=code 10; ui=ok;", "native_http denied, real_hook refused", "refused", 0),
    ("native=code 54; hook=code 57; ui=ok;", "native_http denied, real_hook misplaced", "misplaced", 0),
    (
        "native=code 54; hook=code 20; ui=ok;",
        "native_http denied, real_hook denied, real_ui delivered",
        "delivered",
        1,
    ),
    (
        "native=code 54; hook=isn't captured; ui=ok;",
        "native_http denied, real_hook denied, real_ui delivered",
        "delivered",
        1,
    ),
    ("native=code 54; hook=may still run; ui=ok;", "native_http denied, real_hook unknown", "unknown", 1),
    ("native=code 54; hook=hangs; ui=ok;", "native_http denied, real_hook unknown", "unknown", 1),
    ("native=code 54; hook=is cut; ui=ok;", "native_http denied, real_hook unknown", "unknown", 1),
    ("native=code 54; hook=posts and dies; ui=ok;", "native_http denied, real_hook unknown", "unknown", 1),
    ("native=code 54; hook=dies; ui=ok;", "native_http denied, real_hook unknown", "unknown", 0),
    (
        "native=code 54; hook=code 20; ui=code 10;",
        "native_http denied, real_hook denied, real_ui refused",
        "refused",
        0,
    ),
    (
        "native=code 54; hook=code 20; ui=code 20;",
        "native_http denied, real_hook denied, real_ui denied",
        "not_sent",
        0,
    ),
    (
        "native=code 54; hook=code 20; ui=dies after go;",
        "native_http denied, real_hook denied, real_ui unknown",
        "unknown",
        1,
    ),
    (
        "native=code 54; hook=code 20; ui=hangs after go;",
        "native_http denied, real_hook denied, real_ui unknown",
        "unknown",
        1,
    ),
];

#[test]
fn every_verdict_of_every_link_leads_to_what_the_table_says() {
    let rig = Rig::start(&[]);
    let mut wrong = Vec::new();
    println!(
        "n/a: held and duplicate on pipe and worker, duplicate on generic: their protocols have no word for them"
    );
    for (number, (does, way, outcome, posted)) in ROWS.iter().enumerate() {
        rig.is_well();
        let content = format!("{does} #{number}");
        let told = rig.client().comment(&json!({"content": content, "sns_id": "t", "deadline_ms": 30_000}));
        let told = told.json();
        let attempts = at(&told, "data.attempts").as_array().unwrap();
        let went: Vec<String> = attempts
            .iter()
            .map(|attempt| {
                let word = |name: &str| attempt[name].as_str().unwrap().to_owned();
                format!("{} {}", word("provider"), word("verdict"))
            })
            .collect();
        let is =
            (went.join(", "), at(&told, "data.outcome").as_str().unwrap().to_owned(), rig.posted(&content));
        println!("{does:<55} {:<70} → {} ({} posted)", is.0, is.1, is.2);
        if (is.0.as_str(), is.1.as_str(), is.2) != (way, outcome, *posted) {
            wrong.push(format!("{does}: expected {way} → {outcome} ({posted}), got {is:?}\n{told:#}"));
        }
        assert!(rig.posted(&content) <= 1, "{content} was posted twice");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ten_at_a_time_go_through_the_pipe_one_by_one_and_others_get_their_turn() {
    let rig = Rig::start(&["--default-deadline-ms", "30000"]);
    rig.is_well();
    let comments: Vec<String> =
        (0..30).map(|number| format!("native=code 54; hook=ok; ui=ok; #{number}")).collect();
    let batch = json!({"cmd": "batch_comment", "comments": comments, "concurrency": 10, "sns_id": "t"});
    let told = rig.client().post("/api/comment/batch", &batch).json();
    assert_eq!((at(&told, "data.succeeded"), at(&told, "data.fallback_count")), (&json!(30), &json!(30)));
    let raw = ["raw_batch_total", "raw_batch_succeeded", "raw_batch_failed"]
        .map(|name| at(&told, &format!("data.{name}")).as_u64().unwrap());
    assert_eq!(raw, [30, 0, 30], "what the primary alone came to");
    assert!(comments.iter().all(|comment| rig.posted(comment) == 1));
    assert_eq!(rig.pipe.seen.lock().unwrap().at_once, 0);
    // The pipe is left after a second without work; this waits until then.
    let start = std::time::Instant::now();
    assert_eq!(ask_status(&rig.socket())["ok"], true);
    println!("another client had its turn after {:?}", start.elapsed());
}
