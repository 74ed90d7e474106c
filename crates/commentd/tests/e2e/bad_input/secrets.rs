//! What must not be seen: secrets anywhere, comments below the debug level; and dry runs, which send nothing.

use super::{BATCH, Scene};
use crate::support::{Board, Program, RawResponse, ServingProcess, at};
use commentd_test_support::server::{ScriptedServer, reply};
use serde_json::{Value, json};

const PASSWORD: &str = "correct-horse";
/// bot:correct-horse
const BASIC: &str = "Ym90OmNvcnJlY3QtaG9yc2U=";
const TOKEN: &str = "t0ken-of-the-channel";
const CONTENT: &str = "a-comment-like-no-other";

/// A sidecar that speaks the generic shape to this board and knows two secrets.
fn sidecar(board: &ServingProcess, args: &[&str]) -> ServingProcess {
    let all = ["serve", "--port", "0", "--ledger", "memory", "--channel-url", &board.url];
    let mut command = Program::command(all.iter().chain(args));
    command.env("COMMENTD_CHANNEL_AUTHORIZATION", format!("Bearer {TOKEN}"));
    ServingProcess::start(command)
}

fn post(sidecar: &ServingProcess, path: &str, authorization: &str, body: &Value) -> RawResponse {
    let headers = [("Content-Type", "application/json"), ("Authorization", authorization)];
    sidecar.client().request("POST", path, &headers, body.to_string().as_bytes())
}

#[test]
fn logs_never_show_secrets_and_show_comments_only_from_debug_on() {
    let plans = tempfile::tempdir().unwrap();
    let plan = plans.path().join("faults.toml");
    std::fs::write(&plan, "[[fault]]\nkind = \"cut_after\"\ntext_contains = \"cut\"\n").unwrap();
    for level in ["info", "debug", "trace"] {
        let board = Board::start(&["--faults", plan.to_str().unwrap()]);
        // The password by its flag: the old way, which must still not repeat it.
        let args = ["--log-level", level, "--auth-user", "bot", "--auth-password", PASSWORD];
        let sidecar = sidecar(&board, &args);
        let good = format!("Basic {BASIC}");
        let mut said = Vec::new();
        let mut ask = |authorization: &str, content: &str| {
            let body = json!({"content": content, "sns_id": "t", "deadline_ms": 20_000});
            let answer = post(&sidecar, "/api/comment", authorization, &body);
            said.push(String::from_utf8(answer.body.clone()).unwrap());
            answer
        };
        assert_eq!(at(&ask(&good, CONTENT).json(), "data.outcome"), "delivered");
        assert_eq!(at(&ask(&good, &format!("cut {CONTENT}")).json(), "data.outcome"), "unknown");
        assert_eq!(ask("Bearer somebody-elses-token", CONTENT).status, 401);
        said.push(String::from_utf8(sidecar.client().get("/health").body).unwrap());
        assert_eq!(Board::counter(&board.url, "stored"), 2);

        sidecar.ask_to_end();
        let (status, log) = sidecar.ended();
        assert!(status.success());
        assert!(log.contains("drained"), "the log isn't whole: {log}");
        assert!(log.contains("--auth-password stands on the command line"), "{log}");
        for secret in [PASSWORD, BASIC, TOKEN, "somebody-elses-token"] {
            assert!(!log.contains(secret), "{secret} is in the log at {level}: {log}");
            assert!(!said.concat().contains(secret), "{secret} is in a reply: {said:?}");
        }
        if level == "info" {
            assert!(!log.contains(CONTENT), "the comment is in the log: {log}");
        }
    }
}

/// A channel that refuses every comment and repeats, in its words, the credentials that it got.
fn indiscreet_channel() -> ScriptedServer {
    ScriptedServer::start(|talk| {
        let Some(request) = talk.request() else { return };
        let authorization = request.lines().filter_map(|line| line.split_once(": "));
        let authorization = authorization
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value)
            .next()
            .unwrap_or_default();
        let credentials = authorization.rsplit(' ').next().unwrap();
        let words = format!("got {authorization:?}, and {credentials} isn't known");
        let body = json!({"v": 1, "ok": false, "error_code": 52, "error_message": words}).to_string();
        talk.say(&reply("200 OK", "Connection: close\r\n", &body));
    })
}

#[test]
fn secrets_that_a_channel_repeats_are_not_passed_on() {
    let server = indiscreet_channel();
    let url = server.url();
    let channel = url.trim_start_matches("http://");
    // Once by the channel's setting, once by the address.
    for (url, authorization, secrets) in [
        (format!("http://{channel}"), format!("Bearer {TOKEN}"), [TOKEN, TOKEN]),
        (format!("http://bot:{PASSWORD}@{channel}"), String::new(), [PASSWORD, BASIC]),
    ] {
        let args = ["serve", "--port", "0", "--ledger", "memory", "--log-level", "debug"];
        let mut command = Program::command(args);
        command.env("COMMENTD_CHANNEL_URL", url).env("COMMENTD_CHANNEL_AUTHORIZATION", authorization);
        let sidecar = ServingProcess::start(command);
        let json = sidecar.client().comment(&json!({"content": "hi", "deadline_ms": 20_000})).json();
        assert_eq!(at(&json, "data.outcome"), "refused", "{json}");
        let words = at(&json, "data.provider_error_message").as_str().unwrap();
        assert!(words.contains("*** isn't known"), "{words}");
        sidecar.ask_to_end();
        let (_, log) = sidecar.ended();
        assert!(log.contains("*** isn't known"), "{log}");
        for secret in secrets {
            assert!(!json.to_string().contains(secret), "{secret} is in {json}");
            assert!(!log.contains(secret), "{secret} is in {log}");
        }
    }
}

#[test]
fn a_configuration_error_never_shows_a_secret() {
    let args = ["serve", "--port", "70000", "--channel-url", "ftp://u:p4ss@h/", "--auth-user", "a:b"];
    let mut command = Program::command(args);
    command.env("COMMENTD_AUTH_PASSWORD", PASSWORD).env("COMMENTD_AUTH_BEARER", TOKEN);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    for part in ["--port", "--channel-url", "--auth-user", "--auth-bearer"] {
        assert!(said.contains(part), "{part} isn't in {said}");
    }
    for secret in [PASSWORD, TOKEN, "p4ss"] {
        assert!(!said.contains(secret), "{secret} is in {said}");
    }
}

#[test]
fn config_show_prints_sources_and_never_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    let in_file = "max_in_flight = 77\nauth_bearer = \"tool=bearer-in-file\"\n[channel.settings]\n\
        comment_path = \"/v1\"\n";
    std::fs::write(&file, in_file).unwrap();
    let secret_file = dir.path().join("authorization");
    std::fs::write(&secret_file, TOKEN).unwrap();
    for json in [false, true] {
        let mut args = vec!["config", "show", "--config", file.to_str().unwrap(), "--auth-user", "bot"];
        args.extend(["--channel-url", "http://me:p4ss@127.0.0.1:9/x?key=in-the-query"]);
        args.extend(json.then_some("--json"));
        let mut command = Program::command(args);
        command.env("COMMENTD_AUTH_PASSWORD", PASSWORD);
        command.env("COMMENTD_CHANNEL_AUTHORIZATION_FILE", &secret_file);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let shown = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        for secret in [PASSWORD, TOKEN, "bearer-in-file", "p4ss", "in-the-query"] {
            assert!(!shown.contains(secret) && !said.contains(secret), "{secret} is in {shown}{said}");
        }
        for source in [
            "flag --auth-user",
            "environment COMMENTD_AUTH_PASSWORD",
            "environment COMMENTD_CHANNEL_AUTHORIZATION_FILE",
            "max_in_flight",
            "channel.settings.comment_path",
            "default",
        ] {
            assert!(shown.contains(source), "{source:?} isn't in {shown}");
        }
        if json {
            let rows: Value = serde_json::from_str(&shown).unwrap();
            let row = |name: &str| rows.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
            assert_eq!(
                (&row("max-in-flight")["value"], &row("port")["source"]),
                (&json!("77"), &json!("default"))
            );
            assert_eq!(row("auth-password")["value"], "***");
        }
    }
}

#[test]
fn a_dry_run_renders_without_secrets_and_sends_nothing() {
    let board = Board::start(&[]);
    let sidecar = sidecar(&board, &["--exchange", "dry-run"]);
    let client = sidecar.client();
    let answer = client.comment(&json!({"task_id": "t-1", "content": CONTENT, "sns_id": "t"}));
    let json = answer.json();
    assert_eq!((answer.status, &json["ok"], &json["task_id"]), (200, &json!(true), &json!("t-1")), "{json}");
    assert_eq!(at(&json, "data.outcome"), "dry_run");
    let rendered = at(&json, "data.rendered");
    assert_eq!(rendered["method"], "POST");
    assert_eq!(rendered["url"], format!("{}/api/comment", board.url));
    assert_eq!(rendered["body"]["content"], CONTENT);
    assert!(rendered["headers"].to_string().contains("***"), "{rendered}");
    assert!(!json.to_string().contains(TOKEN), "{json}");

    let batch = client.post(BATCH, &json!({"comments": ["a", "", "c"], "concurrency": 3})).json();
    let outcomes: Vec<&str> = at(&batch, "data.results")
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["dry_run", "refused", "dry_run"]);
    assert_eq!(client.get("/health").json()["data"]["exchange"], "dry-run");
    assert_eq!(Board::counter(&board.url, "received"), 0);
    drop(sidecar);

    let scene = Scene::in_front_of(board, &["--exchange", "dry-run"]);
    let held = scene.client().comment(&json!({"content": "hi", "sns_id": "t"})).json();
    assert_eq!(at(&held, "data.outcome"), "dry_run");
    assert!(!scene._ledger.path().join("ledger.db").exists(), "a dry run recorded something");
    assert_eq!(scene.sent(), 0);
}
