//! The main job against a real Isso, installed by `scripts/test` in an environment of its own.

use crate::support::{HttpClient, Program, Sidecar, at, wait_for};
use commentd_test_support::http::free_address;
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running Isso.
pub struct Isso {
    child: Child,
    pub url: String,
    pub directory: tempfile::TempDir,
}

impl Isso {
    /// `None`, loudly, where Isso isn't installed and `COMMENTD_E2E` doesn't require it.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let directory = tempfile::tempdir().unwrap();
        // Isso binds by itself and can't say which port it got, so a free one is found for it.
        let free = free_address();
        let url = format!("http://{free}");
        let config = directory.path().join("isso.cfg");
        let database = directory.path().join("comments.db");
        let text = format!(
            "[general]\ndbpath = {}\nhost = http://127.0.0.1/\n[moderation]\nenabled = false\n[server]\nlisten = {url}\n\
             [guard]\nenabled = false\n",
            database.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).arg("run").stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let isso = Self { child, url, directory };
        wait_for("Isso to answer", || {
            std::net::TcpStream::connect(free).is_ok() && isso.client().get("/info").status == 200
        });
        Some(isso)
    }

    fn client(&self) -> HttpClient {
        HttpClient::new(&self.url)
    }

    /// Every text on a page, as Isso itself tells it, with how often it is there.
    pub fn texts(&self, page: &str) -> HashMap<String, u32> {
        let reply = self.client().get(&format!("/?uri={page}&plain=1"));
        assert_eq!(reply.status, 200);
        let mut texts = HashMap::new();
        let mut open = vec![reply.json()["replies"].clone()];
        while let Some(list) = open.pop() {
            for item in list.as_array().into_iter().flatten() {
                *texts.entry(item["text"].as_str().unwrap().to_owned()).or_default() += 1;
                open.push(item["replies"].clone());
            }
        }
        texts
    }
}

impl Drop for Isso {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let named = std::env::var_os("COMMENTD_ISSO").map(PathBuf::from);
    let program = named.unwrap_or_else(|| root.join(".work/venv/bin/isso"));
    if program.exists() {
        return Some(program);
    }
    let message = format!("Isso isn't installed at {}; scripts/test installs it", program.display());
    assert!(std::env::var("COMMENTD_E2E").as_deref() != Ok("require"), "{message}");
    eprintln!("SKIPPED: {message}");
    None
}

const WEBSITE: &str = "website=https://example.org";

fn serve(isso: &Isso) -> crate::support::ServingProcess {
    Sidecar::for_channel("isso", &isso.url, isso.directory.path(), &["--set", "author=Ann", "--set", WEBSITE])
}

/// Runs the acceptance with these arguments and gives its report.
fn accept(isso: &Isso, sidecar: &str, page: &str, more: &[&str]) -> (Option<i32>, serde_json::Value) {
    let report = isso.directory.path().join("report.json");
    let mut args = vec!["accept", "--rounds", "5", "--count", "10", "--concurrency", "10", "--verify"];
    args.extend(["--round-interval-ms", "0", "--http-base-url", sidecar, "--sns-id", page]);
    args.extend(["--channel", "isso", "--channel-url", isso.url.as_str(), "--set", WEBSITE]);
    args.extend(["--report-file", report.to_str().unwrap()]);
    args.extend(more);
    let ended = Program::run(&args);
    let said =
        format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    let text = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    println!("{said}");
    (ended.status.code(), serde_json::from_str(&text).unwrap())
}

#[test]
fn fifty_of_fifty_comments_are_there_exactly_once() {
    let Some(isso) = Isso::start() else { return };
    let sidecar = serve(&isso);
    let (code, report) = accept(&isso, &sidecar.url, "/blog/first", &[]);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(at(&report, "summary.strict_success_rounds"), 5);
    assert_eq!(at(&report, "summary.goal_passed"), true);
    assert!(at(&report, "summary.latency_p95_ms").as_f64().unwrap() < 1000.0);
    for round in report["rounds"].as_array().unwrap() {
        assert_eq!((&round["verified_once"], &round["verified_missing"]), (&json!(10), &json!(0)));
    }
    let texts = isso.texts("/blog/first");
    assert_eq!(texts.len(), 50, "Isso itself has other comments than the 50");
    assert!(texts.values().all(|times| *times == 1), "{texts:?}");
}

#[test]
fn any_text_arrives_verbatim() {
    let Some(isso) = Isso::start() else { return };
    let sidecar = serve(&isso);
    let long = "六十个字节的长文。".repeat(60 * 1024 / "六十个字节的长文。".len());
    assert!(long.len() > 60 * 1024 - 27);
    let contents = json!([
        "中文评论，带标点。",
        "\"quoted\" and 'quoted' and \\back\\slashes\\",
        "two\nlines\n\nand a third",
        "😀👩‍👩‍👧‍👦🏳️‍🌈",
        "{{ content }} {% raw %} ${x} %s",
        "</script><script>alert(1)</script>",
        "a & b &amp; <b>c</b>",
        "?uri=/elsewhere#x&y=z",
        "ünïcödé e\u{301} \u{202e}right-to-left\u{202c}",
        long,
    ]);
    let file = isso.directory.path().join("contents.json");
    std::fs::write(&file, contents.to_string()).unwrap();
    let (code, report) =
        accept(&isso, &sidecar.url, "/blog/any", &["--contents-file", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report:#}");
    let texts = isso.texts("/blog/any");
    assert_eq!(texts.len(), 50);
    for content in contents.as_array().unwrap() {
        let content = content.as_str().unwrap();
        let there = texts.iter().filter(|(text, times)| text.ends_with(content) && **times == 1).count();
        assert_eq!(there, 5, "not there once in each round, verbatim: {content:.60}");
    }
}

#[test]
fn replies_find_their_parent_and_refusals_are_told() {
    let Some(isso) = Isso::start() else { return };
    let sidecar = serve(&isso);
    let post = |content: &str, reply_to: &str| {
        let body = json!({"content": content, "sns_id": "/blog/thread", "reply_to": reply_to});
        sidecar.client().comment(&body).json()
    };
    let parent = post("the first comment", "");
    assert_eq!(at(&parent, "data.outcome"), "delivered", "{parent}");
    let id = at(&parent, "data.comment_id").as_str().unwrap().to_owned();
    let answer = post("an answer to it", &id);
    assert_eq!(at(&answer, "data.outcome"), "delivered", "{answer}");
    let orphan = post("an answer to nobody", "999999");
    assert_eq!(at(&orphan, "data.outcome"), "misplaced", "{orphan}");
    assert_eq!((&orphan["ok"], &orphan["error_code"]), (&json!(false), &json!(57)));
    let short = post("ab", "");
    assert_eq!(at(&short, "data.outcome"), "refused", "{short}");
    assert_eq!(short["error_code"], 52);
    assert!(at(&short, "data.provider_error_message").as_str().unwrap().contains("too short"), "{short}");
    let strange = post("an answer to a word", "not-a-number");
    assert_eq!(at(&strange, "data.attempts.0.verdict"), "denied", "{strange}");
    assert_eq!(isso.texts("/blog/thread").len(), 3);
}

#[test]
fn a_comment_that_a_lookup_finds_is_known_by_its_marker_and_not_by_its_text() {
    let Some(isso) = Isso::start() else { return };
    let sidecar = serve(&isso);
    let batch = json!({"comments": ["+1 +1", "+1 +1"], "sns_id": "/blog/same", "concurrency": 2});
    let reply = sidecar.client().post("/api/comment/batch", &batch).json();
    let id =
        |index: usize| at(&reply, &format!("data.results.{index}.comment_id")).as_str().unwrap().to_owned();
    assert_eq!(at(&reply, "data.succeeded"), 2, "{reply}");
    assert_ne!(id(0), id(1));
    assert_eq!(isso.texts("/blog/same")["+1 +1"], 2);
}
