//! `commentd post`: each comment once, however often and however rudely the command is run.

use crate::support::{Board, Program, ServingProcess, Sidecar, wait_for};
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use tempfile::TempDir;

/// A board, and a directory for file, state and ledgers.
struct Scene {
    board: ServingProcess,
    directory: TempDir,
}

impl Scene {
    fn start(board: &[&str]) -> Self {
        Self { board: Board::start(board), directory: tempfile::tempdir().unwrap() }
    }

    /// With this fault plan of the board.
    fn with_faults(faults: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = directory.path().join("faults.toml");
        std::fs::write(&plan, faults).unwrap();
        Self { board: Board::start(&["--faults", plan.to_str().unwrap()]), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of comments for the target `t`.
    fn write(&self, texts: &[&str]) {
        let line = |text: &&str| format!("{}\n", json!({"content": text, "sns_id": "t"}));
        std::fs::write(self.path("c.jsonl"), texts.iter().map(line).collect::<String>()).unwrap();
    }

    /// `post` with the board as its channel and this ledger in the directory.
    fn command(&self, ledger: &str, args: &[&str]) -> std::process::Command {
        let ledger = self.path(ledger);
        let settings = [
            "post",
            "--channel",
            "board",
            "--channel-url",
            &self.board.url,
            "--ledger",
            ledger.to_str().unwrap(),
        ];
        let mut command = Program::command(settings.iter().chain(args));
        command.current_dir(self.directory.path());
        command
    }

    fn post(&self, args: &[&str]) -> Output {
        self.command("ledger.db", args).output().unwrap()
    }

    fn post_file(&self) -> Output {
        self.post(&["--file", "c.jsonl"])
    }

    /// The texts on the board, sorted.
    fn texts(&self) -> Vec<String> {
        let comments = Board::comments(&self.board.url, "t");
        let mut texts: Vec<_> = comments.iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    }

    fn stored(&self) -> u64 {
        Board::counter(&self.board.url, "stored")
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, says: &[&str]) {
    let all = format!("{}{}", stdout(output), stderr(output));
    assert_eq!(output.status.code(), Some(code), "{all}");
    for text in says {
        assert!(all.contains(text), "{text:?} isn't in {all}");
    }
}

#[test]
fn one_comment_shows_the_way_it_took() {
    let scene = Scene::start(&[]);
    let output = scene.post(&["hello", "--sns-id", "t", "--idempotency-key", "k1"]);
    assert_ends(&output, 0, &["delivered", "\"hello\"", "native_http delivered", "id "]);
    let again = scene.post(&["hello", "--sns-id", "t", "--idempotency-key", "k1"]);
    assert_ends(&again, 0, &["from the record"]);
    let other = scene.post(&["other", "--sns-id", "t", "--idempotency-key", "k1"]);
    assert_ends(&other, 1, &["refused", "HTTP 422"]);
    assert_eq!(scene.texts(), ["hello"]);
}

#[test]
fn a_second_run_after_kill_9_sends_what_is_missing() {
    let scene = Scene::start(&["--latency-ms", "30"]);
    let texts: Vec<String> = (0..60).map(|number| format!("comment {number:02}")).collect();
    scene.write(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    // A board that stores within a second, so that what it hasn't got by then is soon proved absent.
    let run = ["--file", "c.jsonl", "--concurrency", "4", "--set", "settles_within_s=1"];
    let mut command = scene.command("ledger.db", &run);
    let mut killed = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("some comments to be stored", || scene.stored() >= 10);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(scene.stored() < 60, "it was killed too late to tell anything");

    // What was under way at the kill is unknown: found on the board, or proved absent and sent.
    let output = scene.post(&run);
    assert_ends(&output, 0, &["60 comments: 60 delivered", "from the record"]);
    assert_eq!(scene.texts(), texts);
}

#[test]
fn the_same_text_twice_is_two_comments_and_a_changed_file_sends_only_what_is_new() {
    let scene = Scene::start(&[]);
    scene.write(&["same", "other", "same"]);
    assert_ends(&scene.post_file(), 0, &["3 comments: 3 delivered\n"]);
    assert_eq!(scene.texts(), ["other", "same", "same"]);
    scene.write(&["new", "same", "other", "same"]);
    assert_ends(&scene.post_file(), 0, &["4 comments: 4 delivered (3 from the record"]);
    assert_eq!(scene.texts(), ["new", "other", "same", "same"]);
}

#[test]
fn another_ledger_is_refused_and_nothing_is_sent() {
    let scene = Scene::start(&[]);
    scene.write(&["a"]);
    assert_ends(&scene.post_file(), 0, &[]);
    let other = scene.command("other.db", &["--file", "c.jsonl"]).output().unwrap();
    assert_ends(&other, 2, &["c.jsonl.state", "ledger.db", "other.db", "twice", "nothing was sent"]);
    let memory = scene.command("ledger.db", &["--file", "c.jsonl", "--ledger", "memory"]).output().unwrap();
    assert_ends(&memory, 2, &["memory"]);
    assert_eq!(scene.stored(), 1);
}

#[test]
fn past_the_retention_nothing_is_sent() {
    let scene = Scene::start(&[]);
    scene.write(&["a"]);
    assert_ends(&scene.post_file(), 0, &[]);
    let path = scene.path("c.jsonl.state");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for first_ms in state["keys"].as_object_mut().unwrap().values_mut() {
        *first_ms = json!(first_ms.as_u64().unwrap() - 168 * 3_600_000);
    }
    std::fs::write(&path, state.to_string()).unwrap();
    assert_ends(&scene.post_file(), 2, &["c.jsonl.state", "longer ago", "168 h", "nothing was sent"]);
    assert_eq!(scene.stored(), 1);
}

#[test]
fn a_file_with_a_bad_line_sends_nothing() {
    let scene = Scene::start(&[]);
    std::fs::write(scene.path("c.jsonl"), "{\"content\":\"a\"}\n{\"content\":7}\n{\"contents\":\"a\"}\n")
        .unwrap();
    assert_ends(&scene.post_file(), 2, &["line 2: ", "line 3: ", "`contents`", "nothing was sent"]);
    assert_eq!(scene.stored(), 0);
    assert!(!scene.path("c.jsonl.state").exists());
}

#[test]
fn what_is_unknown_ends_with_3_and_is_never_sent_again() {
    let scene = Scene::with_faults("[[fault]]\nkind = \"cut_after\"\nrequests = [1]\n");
    scene.write(&["a", "b"]);
    // A channel that can't be looked at, so that nothing makes it certain.
    let post = || scene.post(&["--file", "c.jsonl", "--channel", "generic", "--settle-ms", "0", "--json"]);
    for run in 0..2 {
        let output = post();
        assert_ends(&output, 3, &[]);
        let mut lines: Vec<Value> =
            stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // Those that stay unknown are told last; the summary has no line.
        lines.sort_by_key(|line| line["line"].as_u64().unwrap_or(u64::MAX));
        let outcomes: Vec<_> = lines[..2].iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["unknown", "delivered"], "{lines:#?}");
        assert_eq!(
            (&lines[0]["attempts"][0]["verdict"], &lines[2]["summary"]["exit_code"]),
            (&json!("unknown"), &json!(3))
        );
        assert_eq!((scene.texts(), scene.stored()), (vec!["a".to_owned(), "b".to_owned()], 2), "run {run}");
    }
}

#[test]
fn a_running_sidecar_that_holds_the_ledger_posts() {
    let scene = Scene::start(&[]);
    let auth = ["--auth-user", "bot", "--auth-password", "correct-horse"];
    let sidecar = Sidecar::for_channel("board", &scene.board.url, scene.directory.path(), &auth);
    scene.write(&["a", "b"]);
    assert_ends(&scene.post_file(), 2, &["doesn't know these credentials", "nothing was sent"]);
    let post = |ledger: &str, args: &[&str]| {
        let mut command = scene.command(ledger, &[&["--file", "c.jsonl"], args].concat());
        command.env("PYWEIXIN_HTTP_USER", "bot").env("PYWEIXIN_HTTP_PASSWORD", "correct-horse");
        command.output().unwrap()
    };
    assert_ends(&post("ledger.db", &[]), 0, &["2 comments: 2 delivered\n"]);
    let named = post("other.db", &["--http-base-url", &sidecar.url]);
    assert_ends(&named, 0, &["2 comments: 2 delivered (2 from the record"]);
    assert!(!scene.path("other.db").exists());

    // Without the sidecar its ledger is ours, but its caller's keys are not.
    assert!(sidecar.terminate().success());
    assert_ends(&scene.post_file(), 2, &["\"bot\"", "nobody by name", "nothing was sent"]);
    let same = scene.post(&[&["--file", "c.jsonl"], &auth[..]].concat());
    assert_ends(&same, 0, &["2 from the record"]);
    assert_eq!(scene.texts(), ["a", "b"]);
}

#[test]
fn a_sidecar_that_is_not_there_is_said_so() {
    let scene = Scene::start(&[]);
    let output = Program::run(["post", "a", "--http-base-url", "http://127.0.0.1:9"]);
    assert_ends(&output, 2, &["127.0.0.1:9", "nothing was sent"]);
    let output = Program::run(["post", "a"]);
    assert_ends(&output, 2, &["--channel-url", "is missing"]);
    let output = scene.post(&["a", "--exchange", "dry-run", "--json"]);
    assert_ends(&output, 0, &["\"outcome\":\"dry_run\"", "rendered"]);
    assert_eq!(scene.stored(), 0);
}

#[test]
fn the_same_line_in_two_files_is_two_comments() {
    let scene = Scene::start(&[]);
    scene.write(&["same"]);
    std::fs::copy(scene.path("c.jsonl"), scene.path("d.jsonl")).unwrap();
    for run in 1..=2 {
        let more: &[&str] = if run == 2 { &["from the record"] } else { &[] };
        assert_ends(&scene.post_file(), 0, more);
        assert_ends(&scene.post(&["--file", "d.jsonl"]), 0, more);
    }
    assert_eq!(scene.texts(), ["same", "same"]);

    // A key that the lines bring is one comment's, wherever they stand.
    for file in ["e.jsonl", "f.jsonl"] {
        let line = json!({"content": "mine", "sns_id": "t", "idempotency_key": "order-1"});
        std::fs::write(scene.path(file), format!("{line}\n")).unwrap();
        assert_ends(&scene.post(&["--file", file]), 0, &["1 comment: 1 delivered"]);
    }
    assert_eq!(scene.texts(), ["mine", "same", "same"]);
}

#[test]
fn a_file_is_posted_by_one_run_at_a_time() {
    let scene = Scene::start(&[]);
    scene.write(&["a"]);
    let other_run = std::fs::File::open(scene.path("c.jsonl")).unwrap();
    other_run.lock().unwrap();
    assert_ends(&scene.post_file(), 2, &["c.jsonl", "another run", "nothing was sent"]);
    drop(other_run);
    assert_ends(&scene.post_file(), 0, &[]);
    assert_eq!(scene.texts(), ["a"]);
}

#[test]
fn standard_input_is_a_comment_or_a_file_of_them() {
    let scene = Scene::start(&[]);
    let piped = |args: &[&str], input: &str| {
        let mut command = scene.command("ledger.db", args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    assert_ends(&piped(&["-", "--target", "t"], "two\nlines\n"), 0, &["delivered"]);
    let lines = "{\"content\":\"a\"}\n{\"content\":\"b\",\"idempotency_key\":\"k\"}\n";
    let file = ["--file", "-", "--sns-id", "t"];
    assert_ends(&piped(&file, lines), 0, &["2 comments: 2 delivered\n", "standard input has no state"]);
    assert_ends(&piped(&file, lines), 0, &["(1 from the record"]);
    assert_ends(&piped(&["-"], ""), 2, &["TEXT"]);
    assert_eq!(scene.texts(), ["a", "a", "b", "two\nlines"]);
    assert!(!scene.path("-.state").exists());
}

#[test]
fn a_sidecar_that_goes_away_ends_the_run_after_three_comments() {
    let scene = Scene::start(&[]);
    scene.write(&["a", "b", "c", "d", "e"]);
    // A sidecar that ends once it has told its health.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        drop(listener);
        let _ = std::io::Read::read(&mut socket, &mut [0; 4096]);
        let health = json!({"v": 1, "ok": true, "data": {"caller": "", "retention_ms": 86_400_000,
            "ledger": {"id": "l1", "location": "l.db"}}})
        .to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
        write!(socket, "{head}: {}\r\n\r\n{health}", health.len()).unwrap();
    });
    let output = scene.post(&["--file", "c.jsonl", "--http-base-url", &url, "--json"]);
    answering.join().unwrap();
    assert_ends(&output, 2, &["3 comments in a row", "run the same command again", "\"exit_code\":2"]);
    assert_ends(&output, 2, &["\"not_sent\":3", "\"not_tried\":2"]);
}

#[test]
fn nothing_that_was_written_steers_the_terminal() {
    let scene = Scene::start(&[]);
    let text = "red \u{1b}[31m, \u{9b}2J, back\u{202e}wards, \u{2066}aside";
    let said = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said = format!("{}{}", stdout(&output), stderr(&output));
        let steers = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{2069}').contains(&c);
        assert!(!said.contains(steers), "{said:?}");
        said
    };
    said(scene.post(&[text, "--target", text, "--idempotency-key", "k"]));
    let json = said(scene.post(&[text, "--target", text, "--idempotency-key", "k", "--json"]));
    assert!(json.contains("\"replayed\":true"), "{json}");
    let ledger = scene.path("ledger.db");
    let deliveries = |args: &[&str]| {
        let settings = ["--ledger", ledger.to_str().unwrap(), "--channel", "board"];
        let url = ["--channel-url", &scene.board.url];
        said(Program::run(["deliveries"].iter().chain(args).chain(&settings).chain(&url)))
    };
    let list: Value = serde_json::from_str(&deliveries(&["list", "--json"])).unwrap();
    assert_eq!(list[0]["comment"]["content"], text, "JSON says what it said");
    deliveries(&["list"]);
    deliveries(&["show", list[0]["id"].as_str().unwrap()]);
}
