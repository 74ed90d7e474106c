//! The whole chain: what each verdict of each link leads to, and that the three truth records (channel, pipe, worker)
//! never hold a comment twice.

mod load;
mod pipe_server;
mod report;
mod seen_from_outside;

use crate::support::{HttpClient, PATIENCE, ServingProcess, Sidecar, at, wait_for};
use commentd_test_support::server::{ReservedPort, ScriptedServer, ServedConnection, reply, stored};
use pipe_server::{PipeServer, ask_status};
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Channel, pipe and worker, and a sidecar in front of them.
struct Rig {
    channel: Arc<Mutex<Vec<String>>>,
    pipe: PipeServer,
    sidecar: ServingProcess,
    start: Start,
    /// Whatever is the channel, where the test doesn't hold it.
    _server: Option<ScriptedServer>,
    directory: TempDir,
}

/// A channel's kind, its URL, and more arguments.
type Start = (String, String, Vec<String>);

fn serve((kind, url, args): &Start, directory: &TempDir) -> ServingProcess {
    let socket = directory.path().join("hook.sock");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/chain/worker.py");
    let worker = format!("python3 '{script}' '{}'", directory.path().join("ui.txt").display());
    let mut all = vec!["--real-pipe-name", socket.to_str().unwrap(), "--real-ui-command", &worker];
    all.extend(args.iter().map(String::as_str));
    Sidecar::for_channel(kind, url, directory.path(), &all)
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

/// What the channel does on one connection.
fn channel(posted: Arc<Mutex<Vec<String>>>) -> impl Fn(&mut ServedConnection) + Send + Sync + 'static {
    move |talk| {
        while let Some(request) = talk.request() {
            match channel_does(&request, &posted) {
                Some(reply) => talk.say(&reply),
                None => {
                    talk.rest();
                    return;
                }
            }
        }
    }
}

/// Timeouts that something which hangs is soon found out by, and with which nothing else is slow.
const SOON: &[&str] = &[
    "--native-timeout-ms",
    "400",
    "--real-wait-timeout-ms",
    "300",
    "--real-pipe-timeout-ms",
    "600",
    "--ui-worker-timeout-ms",
    "4000",
];

/// Timeouts that only what hangs for good is found out by.
const LATE: &[&str] = &[
    "--native-timeout-ms",
    "30000",
    "--real-pipe-timeout-ms",
    "30000",
    "--ui-worker-timeout-ms",
    "30000",
    "--default-deadline-ms",
    "120000",
];

impl Rig {
    /// With a channel that does what it is told to.
    fn start(args: &[&str]) -> Self {
        let posted = Arc::default();
        let port = ReservedPort::take();
        let url = port.url();
        let server = ScriptedServer::on(port.listen(), channel(Arc::clone(&posted)));
        Self { _server: Some(server), ..Self::over("generic", &url, posted, args) }
    }

    /// Before whatever is at this URL, a channel of this kind that keeps this record.
    fn over(kind: &str, url: &str, channel: Arc<Mutex<Vec<String>>>, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pipe = PipeServer::start(&directory.path().join("hook.sock"));
        let start = (kind.to_owned(), url.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect());
        let sidecar = serve(&start, &directory);
        Self { channel, pipe, sidecar, start, _server: None, directory }
    }

    /// The same after `kill -9` and a new start.
    fn killed_and_started_anew(self) -> Self {
        self.sidecar.kill();
        Self { sidecar: serve(&self.start, &self.directory), ..self }
    }

    fn client(&self) -> HttpClient {
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

/// What the links do, the way down, the outcome and how many comments there then are. A way with `…` goes on at the
/// same provider as it likes: whether a worker is back for the next attempt depends on the machine.
type Row = (&'static str, &'static str, &'static str, usize);

const ROWS: &[Row] = &[
    ("native=ok; hook=ok; ui=ok;", "native_http delivered", "delivered", 1),
    ("native=held; hook=ok; ui=ok;", "native_http held", "held", 1),
    ("native=misplaced; hook=ok; ui=ok;", "native_http misplaced", "misplaced", 1),
    ("native=code 52; hook=ok; ui=ok;", "native_http refused", "refused", 0),
    ("native=code 54; hook=ok; ui=ok;", "native_http denied, real_hook delivered", "delivered", 1),
    (
        "native=code 53; hook=ok; ui=ok;",
        "native_http throttled, native_http throttled, native_http throttled, real_hook delivered",
        "delivered",
        1,
    ),
    (
        "native=code 62; hook=ok; ui=ok;",
        "native_http not_sent, native_http not_sent, native_http not_sent, real_hook delivered",
        "delivered",
        1,
    ),
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
    (
        "native=code 54; hook=wasn't run; ui=ok;",
        "native_http denied, real_hook denied, real_ui delivered",
        "delivered",
        1,
    ),
    (
        "native=code 54; hook=code 53; ui=ok;",
        "native_http denied, real_hook throttled, real_hook throttled, real_hook throttled, real_ui delivered",
        "delivered",
        1,
    ),
    (
        "native=code 54; hook=code 62; ui=ok;",
        "native_http denied, real_hook not_sent, real_hook not_sent, real_hook not_sent, real_ui delivered",
        "delivered",
        1,
    ),
    (
        "native=code 54; hook=code 20; ui=code 53;",
        "native_http denied, real_hook denied, real_ui throttled, real_ui throttled",
        "not_sent",
        0,
    ),
    (
        "native=code 54; hook=code 20; ui=code 62;",
        "native_http denied, real_hook denied, real_ui not_sent, real_ui not_sent",
        "not_sent",
        0,
    ),
    (
        "native=code 54; hook=code 20; ui=code 57 after go;",
        "native_http denied, real_hook denied, real_ui misplaced",
        "misplaced",
        1,
    ),
    (
        "native=code 54; hook=code 20; ui=code 62 after go;",
        "native_http denied, real_hook denied, real_ui not_sent, real_ui not_sent",
        "not_sent",
        0,
    ),
    (
        "native=code 54; hook=code 20; ui=code 20 after go;",
        "native_http denied, real_hook denied, real_ui denied",
        "not_sent",
        0,
    ),
    (
        "native=code 54; hook=code 20; ui=dies;",
        "native_http denied, real_hook denied, real_ui not_sent …",
        "not_sent",
        0,
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

/// What can't be shown here, and why.
const NOT_APPLICABLE: &[(&str, &str, &str)] = &[
    ("native_http", "duplicate", "the generic channel has no word for it (shown with official_account)"),
    ("real_hook", "held", "the hook's wire has no word for it"),
    ("real_hook", "duplicate", "the hook's wire has no word for it"),
    ("real_ui", "held", "the worker's protocol has no word for it"),
    ("real_ui", "duplicate", "the worker's protocol has no word for it"),
];

#[test]
fn the_table_has_a_row_for_every_verdict_that_a_link_can_come_to() {
    let verdicts =
        ["delivered", "held", "misplaced", "duplicate", "refused", "denied", "throttled", "not_sent"];
    for link in ["native_http", "real_hook", "real_ui"] {
        for verdict in verdicts.into_iter().chain(["unknown"]) {
            let attempt = format!("{link} {verdict}");
            let is_shown = ROWS.iter().any(|(_, way, ..)| {
                way.trim_end_matches(" …").split(", ").any(|happened| happened == attempt)
            });
            let is_excused = NOT_APPLICABLE.iter().any(|excused| (excused.0, excused.1) == (link, verdict));
            assert!(is_shown != is_excused, "{attempt}: shown {is_shown}, n/a {is_excused}");
        }
    }
}

#[test]
fn every_verdict_of_every_link_leads_to_what_the_table_says() {
    let rig = Rig::start(SOON);
    let mut wrong = Vec::new();
    for (link, verdict, why) in NOT_APPLICABLE {
        println!("{link} × {verdict}: n/a, {why}");
    }
    for (number, (does, way, outcome, posted)) in ROWS.iter().enumerate() {
        rig.is_well();
        let content = format!("{does} #{number}");
        let told = rig.client().comment(&json!({"content": content, "sns_id": "t", "deadline_ms": 30_000}));
        let told = told.json();
        let is =
            (way_down(&told), at(&told, "data.outcome").as_str().unwrap().to_owned(), rig.posted(&content));
        println!("{does:<55} {:<70} → {} ({} posted)", is.0, is.1, is.2);
        let went_that_way = match way.strip_suffix(" …") {
            Some(start) => is.0.starts_with(start),
            None => is.0 == *way,
        };
        if !went_that_way || (is.1.as_str(), is.2) != (outcome, *posted) {
            wrong.push(format!("{does}: expected {way} → {outcome} ({posted}), got {is:?}\n{told:#}"));
        }
        assert!(rig.posted(&content) <= 1, "{content} was posted twice");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The way down: providers and verdicts of all attempts.
fn way_down(told: &Value) -> String {
    let attempts = at(told, "data.attempts").as_array().unwrap();
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap().to_owned();
    let went =
        attempts.iter().map(|attempt| format!("{} {}", word(attempt, "provider"), word(attempt, "verdict")));
    went.collect::<Vec<String>>().join(", ")
}

#[test]
fn a_hook_that_its_status_calls_not_able_is_passed_over_with_the_reason() {
    let rig = Rig::start(LATE);
    let mut number = 0;
    let mut posts = |lacks: Option<&'static str>, way: &str| {
        number += 1;
        let content = format!("native=code 54; hook=ok; ui=ok; #{number}");
        let told = rig.client().comment(&json!({"content": content, "sns_id": "t"})).json();
        println!("status without {lacks:?}: {} → {}", way_down(&told), at(&told, "data.outcome"));
        assert_eq!(
            (way_down(&told).as_str(), at(&told, "data.outcome")),
            (way, &json!("delivered")),
            "{told:#}"
        );
        assert_eq!(rig.posted(&content), 1);
        let reason = at(&told, "data.attempts.1.error_message").as_str().unwrap();
        assert!(lacks.is_none_or(|lacks| reason.contains(lacks)), "{told:#}");
        at(&told, "data.attempts.1.error_code").as_u64().unwrap()
    };
    let past_it = "native_http denied, real_hook denied, real_ui delivered";
    for (lacks, code) in [("hook_installed", 50), ("state_captured", 66)] {
        rig.is_well();
        rig.pipe.seen.lock().unwrap().lacks = Some(lacks);
        assert_eq!(posts(Some(lacks), past_it), code, "asked, it says so");
        assert_eq!(posts(Some(lacks), past_it), 66, "it isn't asked again for each comment");
        rig.pipe.seen.lock().unwrap().lacks = None;
    }
    rig.is_well();
    posts(None, "native_http denied, real_hook delivered");
}

#[test]
fn an_old_capture_is_seen_and_passed_over_by_the_pipes_thread() {
    let rig = Rig::start(LATE);
    for (number, (age_ms, mode)) in
        [(Some(20_000), "pipe_thread"), (Some(100), "capture_thread"), (None, "capture_thread")]
            .iter()
            .enumerate()
    {
        rig.pipe.seen.lock().unwrap().capture_age_ms = *age_ms;
        // What the hook says is asked for anew on a new connection, and the pipe is left after a second.
        assert_eq!(ask_status(&rig.socket())["ok"], true);
        let content = format!("native=code 54; hook=ok; ui=ok; #{number}");
        let told = rig.client().comment(&json!({"content": content, "sns_id": "t"})).json();
        assert_eq!(at(&told, "data.provider"), "real_hook", "{told:#}");
        assert_eq!(rig.pipe.seen.lock().unwrap().modes.last().unwrap(), mode);
        let providers = rig.client().get("/api/providers").json();
        let shown = at(&providers, "data.providers.1.capture_age_ms").as_u64();
        assert_eq!(shown.is_some(), age_ms.is_some(), "{providers:#}");
        assert!(shown.is_none_or(|shown| Some(shown) >= *age_ms), "{providers:#}");
    }
}

#[test]
fn a_new_process_ends_the_worker_that_a_killed_one_left() {
    let rig = Rig::start(LATE);
    rig.is_well();
    let path = rig.directory.path().join("held.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let does = format!("native=code 54; hook=code 20; ui=hangs with a child; at={};", path.display());
    let client = rig.client();
    let comment = json!({"content": does, "sns_id": "t", "deadline_ms": 100_000});
    let asking = std::thread::spawn(move || client.comment(&comment));
    let (mut held, _) = listener.accept().unwrap();
    held.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut mark = [0];
    held.read_exact(&mut mark).unwrap();
    // Its whole group hangs now, and doesn't see that nobody is there any more.
    let rig = rig.killed_and_started_anew();
    let mut read = Vec::new();
    held.read_to_end(&mut read).expect("the worker and its child outlived the next process");
    // Its connection broke, which its thread takes ill.
    let _ = asking.join();
    rig.is_well();
    let text = "native=code 54; hook=code 20; ui=ok; the next worker";
    let told = rig.client().comment(&json!({"content": text, "sns_id": "t"})).json();
    assert_eq!((at(&told, "data.provider"), rig.posted(text)), (&json!("real_ui"), 1), "{told:#}");
}

#[test]
fn a_worker_that_hangs_is_ended_with_its_whole_process_group() {
    let rig = Rig::start(SOON);
    rig.is_well();
    let path = rig.directory.path().join("held.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let does = format!("native=code 54; hook=code 20; ui=hangs with a child; at={};", path.display());
    std::thread::scope(|scope| {
        let client = rig.client();
        let comment = json!({"content": does, "sns_id": "t", "deadline_ms": 30_000});
        let told = scope.spawn(move || client.comment(&comment).json());
        let (mut held, _) = listener.accept().unwrap();
        held.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut read = Vec::new();
        held.read_to_end(&mut read).expect("the worker's child outlived it");
        assert_eq!(read, b"!");
        let told = told.join().unwrap();
        assert_eq!(at(&told, "data.outcome"), "not_sent", "it had no go: {told:#}");
        assert_eq!(at(&told, "data.attempts.2.verdict"), "not_sent", "{told:#}");
    });
    rig.is_well();
    let text = "native=code 54; hook=code 20; ui=ok; the next worker";
    let told = rig.client().comment(&json!({"content": text, "sns_id": "t", "deadline_ms": 30_000})).json();
    assert_eq!((at(&told, "data.provider"), rig.posted(text)), (&json!("real_ui"), 1), "{told:#}");
}

#[test]
fn ten_at_a_time_go_through_the_pipe_one_by_one_and_others_get_their_turn() {
    let rig = Rig::start(LATE);
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
