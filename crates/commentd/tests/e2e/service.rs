//! The service as a process: what it writes may go nowhere, signals end it as they should, and callers may close their
//! half.

use super::support::{Board, Program, Rig, at, wait_for};
use super::support::{HttpClient, RawResponse};
use commentd_test_support::http::free_address;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};

/// `commentd serve`, whose streams go wherever a test wants.
struct Process {
    child: Child,
    client: HttpClient,
}

impl Process {
    fn start(args: &[&str], stdout: Stdio, stderr: Stdio) -> Self {
        let port = free_address().port().to_string();
        let mut command = Program::command(["serve", "--port", &port].iter().chain(args));
        let child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { child, client: HttpClient::new(&format!("127.0.0.1:{port}")) }
    }

    /// Waits until it serves.
    fn serves(&mut self) {
        let live = b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (client, child) = (&self.client, &mut self.child);
        wait_for("the sidecar to serve", || {
            assert_eq!(child.try_wait().unwrap(), None, "it has ended");
            client.raw(live).is_ok_and(|answer| answer.status == 200)
        });
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the sidecar to end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With a log of many lines a comment, so that some hundred comments are more than a pipe holds.
const LOUD: [&str; 6] = ["--mode", "mock", "--ledger", "memory", "--log-level", "trace"];

/// The streams are held open, or not, by what is returned.
fn is_served_and_ends(mut process: Process) {
    process.serves();
    for number in 0..500 {
        let answer = process.client.comment(&json!({"content": format!("{number}"), "deadline_ms": 20_000}));
        assert_eq!(answer.status, 200);
        assert_eq!(at(&answer.json(), "data.outcome"), "delivered", "comment {number}: {}", answer.json());
    }
    process.signal("TERM");
    assert!(process.ends().success());
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let mut process = Process::start(&LOUD, Stdio::piped(), Stdio::piped());
    let unread = (process.child.stdout.take(), process.child.stderr.take());
    is_served_and_ends(process);
    drop(unread);
}

#[test]
fn a_log_whose_reader_has_gone_fails_nobody() {
    let mut process = Process::start(&LOUD, Stdio::piped(), Stdio::piped());
    drop((process.child.stdout.take(), process.child.stderr.take()));
    is_served_and_ends(process);
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_on_a_full_disk_fails_nobody() {
    let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
    is_served_and_ends(Process::start(&LOUD, full().into(), full().into()));
}

#[test]
fn lines_that_were_lost_are_counted_and_told_once_somebody_reads_again() {
    let mut process = Process::start(&LOUD, Stdio::null(), Stdio::piped());
    let stderr = process.child.stderr.take().unwrap();
    process.serves();
    let lost = |client: &HttpClient| client.get("/health").json()["data"]["lost_log_lines"].as_u64().unwrap();
    wait_for("lines to be lost", || {
        let many = json!({"comments": vec!["hi"; 1000], "concurrency": 20, "deadline_ms": 60_000});
        process.client.post("/api/comment/batch", &many);
        lost(&process.client) > 0
    });
    let mut lines = BufReader::new(stderr).lines();
    let told =
        lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("lines of this log were lost")));
    assert!(told.is_some());
    // Whoever reads on holds the pipe open.
    let reading = std::thread::spawn(move || lines.count());
    process.signal("TERM");
    assert!(process.ends().success());
    reading.join().unwrap();
}

#[test]
fn a_list_whose_reader_has_gone_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger.db");
    for args in [
        vec!["deliveries", "list", "--ledger", ledger.to_str().unwrap()],
        vec!["channels", "list"],
        vec!["config", "show"],
        vec!["completions", "bash"],
        vec!["--help"],
        vec!["serve", "--help"],
    ] {
        let mut child =
            Program::command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

const HANGS: &str = "[[fault]]\nkind = \"hang\"\nratio = 1\n";

/// A comment that the board has and doesn't answer, and its caller.
fn hanging(client: &HttpClient, deadline_ms: u64) -> std::thread::JoinHandle<RawResponse> {
    let client = client.clone();
    std::thread::spawn(move || {
        client.comment(&json!({"content": "hi", "sns_id": "t", "deadline_ms": deadline_ms}))
    })
}

#[test]
fn whoever_waits_is_answered_before_a_drain_ends() {
    for signal in ["TERM", "HUP", "INT"] {
        let rig = Rig::start(HANGS, &["--native-timeout-ms", "60000"]);
        let single = hanging(&rig.client(), 60_000);
        wait_for("the comment to reach the board", || rig.received() == 1);
        let client = rig.client();
        let batch = std::thread::spawn(move || {
            let body = json!({"comments": ["a", "b", "c"], "sns_id": "t", "deadline_ms": 60_000});
            client.post("/api/comment/batch", &body)
        });
        wait_for("the batch's first comment to reach the board", || rig.received() == 2);
        let id = rig.sidecar.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        let answer = single.join().unwrap();
        assert_eq!(answer.status, 200, "{signal}");
        assert_eq!(at(&answer.json(), "data.outcome"), "unknown", "{signal}");
        let answer = batch.join().unwrap().json();
        let outcomes: Vec<&serde_json::Value> =
            (0..3).map(|item| &answer["data"]["results"][item]["outcome"]).collect();
        assert_eq!(outcomes, ["unknown", "not_sent", "not_sent"], "{signal}: {answer}");
        assert!(rig.sidecar.ended().0.success(), "{signal}");
    }
}

#[test]
fn a_second_wish_to_stop_ends_at_once() {
    let board = {
        let directory = tempfile::tempdir().unwrap();
        let plan = directory.path().join("hang.toml");
        std::fs::write(&plan, HANGS).unwrap();
        Board::start(&["--faults", plan.to_str().unwrap()])
    };
    let args = ["--channel", "board", "--channel-url", &board.url, "--ledger", "memory"];
    let mut process = Process::start(
        &[&args[..], &["--native-timeout-ms", "60000"]].concat(),
        Stdio::null(),
        Stdio::piped(),
    );
    process.serves();
    let client = process.client.clone();
    let caller = std::thread::spawn(move || {
        let body = json!({"content": "hi", "sns_id": "t", "deadline_ms": 60_000}).to_string();
        let head = format!(
            "POST /api/comment HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        client.raw(format!("{head}{body}").as_bytes())
    });
    wait_for("the comment to reach the board", || Board::counter(&board.url, "received") == 1);
    process.signal("TERM");
    // It accepts no more, so it has heard the first.
    wait_for("the drain to begin", || TcpStream::connect(&process.client.address).is_err());
    process.signal("TERM");
    assert_eq!(process.ends().code(), Some(128 + 15));
    assert!(caller.join().unwrap().is_err(), "the drain was seen through");
}

#[test]
fn signals_that_ask_for_nothing_do_nothing() {
    let mut process = Process::start(&["--mode", "mock", "--ledger", "memory"], Stdio::null(), Stdio::null());
    process.serves();
    for signal in ["USR1", "USR2", "XFSZ"] {
        process.signal(signal);
        process.serves();
    }
    process.signal("TERM");
    assert!(process.ends().success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_whose_hangup_is_ignored_goes_on_ignoring_it() {
    let port = free_address().port().to_string();
    let serve = ["serve", "--mode", "mock", "--ledger", "memory", "--port", &port];
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_commentd")).args(serve);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let mut process = Process { child, client: HttpClient::new(&format!("127.0.0.1:{port}")) };
    process.serves();
    process.signal("HUP");
    process.serves();
    process.signal("TERM");
    assert!(process.ends().success());
}

#[test]
fn a_caller_that_closes_its_half_gets_its_answer() {
    let rig = Rig::start("latency_ms = 300\n", &[]);
    let address = rig.client().address;
    let post = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for request in [
        post("/api/comment", r#"{"content":"hi","sns_id":"t","deadline_ms":20000}"#),
        post("/api/comment/batch", r#"{"comments":["a","b"],"sns_id":"t","deadline_ms":20000}"#),
        format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("HTTP/1.1 200 OK"), "{request}\n→ {answer:?}");
        assert!(answer.contains("\"ok\":true"), "{request}\n→ {answer:?}");
    }
    assert_eq!(rig.texts().len(), 3);
}

/// Limits of processes count a whole user's, so it takes a user without any.
#[cfg(target_os = "linux")]
#[test]
fn without_threads_it_says_so_and_ends() {
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    for most in 1..=8 {
        let serve = Program::command(["serve", "--mode", "mock", "--ledger", "memory", "--port", "0"]);
        let limited = format!("ulimit -u {most} && exec \"$0\" \"$@\"");
        let mut command = if is_root {
            let mut command = Command::new("setpriv");
            // A user that has no process, or the limit would count those, too.
            command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "bash", "-c", &limited]);
            command
        } else {
            let mut command = Command::new("bash");
            command.args(["-c", &limited]);
            command
        };
        command.arg(serve.get_program()).args(serve.get_args());
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut process = Process { child, client: HttpClient::new("") };
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.contains("listening on") {
            // Enough of them.
            assert!(most > 1);
            process.signal("TERM");
            assert!(process.ends().success(), "with {most}");
            continue;
        }
        let code = process.ends().code();
        let mut said = String::new();
        process.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(code, Some(2), "with {most}: {said}");
        assert!(said.contains("threads") && !said.contains("panicked"), "with {most}: {said}");
    }
}
