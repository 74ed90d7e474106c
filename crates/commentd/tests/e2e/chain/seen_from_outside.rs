//! `/ready` and `/api/providers`: what stands in the way, and the chain as it works.

use super::pipe_server::PipeServer;
use super::{LATE, Rig};
use crate::support::{Program, ServingProcess, Sidecar, at, wait_for};
use commentd_test_support::server::{ScriptedServer, reply};
use serde_json::{Value, json};

/// The status of `/ready`, and its reasons in one line.
fn ready(sidecar: &ServingProcess) -> (u16, String) {
    let answer = sidecar.client().get("/ready");
    let told = answer.json();
    let reasons: Vec<&str> =
        at(&told, "data.reasons").as_array().unwrap().iter().map(|reason| reason.as_str().unwrap()).collect();
    let is_ready = answer.status == 200;
    assert_eq!((&told["ok"], at(&told, "data.ready")), (&json!(is_ready), &json!(is_ready)), "{told:#}");
    assert_eq!(reasons.is_empty(), is_ready, "{told:#}");
    (answer.status, reasons.join("; "))
}

#[test]
fn ready_tells_that_no_provider_is_able_and_why_until_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (socket, ledger) = (path("hook.sock"), path("ledger.db"));
    let sidecar = Sidecar::start(&[
        "--mode",
        "real_hook",
        "--fallback",
        "none",
        "--real-pipe-name",
        &socket,
        "--ledger",
        &ledger,
    ]);
    let is_told = |what: &str| {
        wait_for(what, || {
            let (status, reasons) = ready(&sidecar);
            status == 503 && reasons.contains(what) && reasons.starts_with("real_hook: ")
        });
    };
    is_told("there is no pipe");
    let comment = json!({"content": "native=ok; hook=ok; ui=ok; 1", "sns_id": "t", "deadline_ms": 60_000});
    let told = sidecar.client().comment(&comment).json();
    assert_eq!((at(&told, "data.outcome"), &told["ok"]), (&json!("not_sent"), &json!(false)), "{told:#}");

    let pipe = PipeServer::start(std::path::Path::new(&socket));
    for lacks in ["hook_installed", "state_captured"] {
        pipe.seen.lock().unwrap().lacks = Some(lacks);
        is_told(&format!("{lacks} is false"));
        let told = sidecar.client().comment(&comment).json();
        assert_eq!(at(&told, "data.outcome"), "not_sent", "{told:#}");
        assert_eq!(told["error_code"], 66, "{told:#}");
        assert_eq!(at(&told, "data.attempts.0.verdict"), "denied", "{told:#}");
        assert!(told["error_message"].as_str().unwrap().contains(lacks), "{told:#}");
    }
    pipe.seen.lock().unwrap().lacks = None;
    wait_for("a provider to be able", || ready(&sidecar).0 == 200);
    let told = sidecar.client().comment(&comment).json();
    assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
    assert_eq!(pipe.posted().len(), 1);
}

#[test]
fn ready_tells_that_nothing_can_be_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = directory.path().join("ledger.db");
    let plain =
        Program::command(["serve", "--mode", "mock", "--port", "0", "--ledger", ledger.to_str().unwrap()]);
    // A disk of one megabyte: no file grows beyond it.
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" \"$@\""]);
    limited.arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let sidecar = ServingProcess::start(limited);
    assert_eq!(ready(&sidecar), (200, String::new()));
    let large = "x".repeat(60_000);
    wait_for("the ledger to be full", || {
        let answer = sidecar.client().comment(&json!({"content": large, "sns_id": "t"}));
        if answer.status == 503 {
            assert_eq!(answer.json()["error_code"], 61, "{}", answer.json());
        }
        answer.status == 503
    });
    // What a large comment has no room for a small step may still have.
    wait_for("the ledger to have no room at all", || {
        let told = ready(&sidecar);
        if told.0 == 503 {
            println!("{}", told.1);
            assert!(told.1.contains("ledger"), "{told:?}");
        }
        told.0 == 503
    });
}

#[test]
fn providers_shows_the_chain_at_work() {
    let rig = Rig::start(LATE);
    rig.is_well();
    let views = || at(&rig.client().get("/api/providers").json(), "data.providers").clone();
    let fields = |view: &Value| view.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
    let all = views();
    let names: Vec<&Value> = all.as_array().unwrap().iter().map(|view| &view["provider"]).collect();
    assert_eq!(names, ["native_http", "real_hook", "real_ui"]);
    for (link, view) in all.as_array().unwrap().iter().enumerate() {
        let mut expected = vec!["able", "breaker", "capability_reason", "health_reason", "healthy"];
        expected.extend([
            "identity_reason",
            "lanes_in_use",
            "limits",
            "primary",
            "provider",
            "queue_length",
            "recognized",
        ]);
        assert_eq!(fields(view), expected);
        assert_eq!(fields(&view["limits"]), ["lanes", "max_attempts", "min_useful_ms"]);
        assert_eq!(view["breaker"], json!({"state": "closed", "retry_after_ms": null}));
        assert_eq!(view["primary"], link == 0);
        assert_eq!(at(view, "limits.lanes"), &if link == 0 { Value::Null } else { json!(1) });
        assert_eq!((&view["lanes_in_use"], &view["queue_length"]), (&json!(0), &json!(0)));
        assert_eq!((&view["able"], &view["capability_reason"]), (&json!(true), &json!("")));
    }

    // One at work in the hook, two behind it.
    let comment = |number: usize| json!({"content": format!("native=code 54; hook=waits; ui=ok; #{number}"), "sns_id": "t"});
    std::thread::scope(|scope| {
        let told: Vec<_> = (0..3)
            .map(|number| {
                let client = rig.client();
                scope.spawn(move || client.comment(&comment(number)).json())
            })
            .collect();
        wait_for("one lane in use and two comments behind it", || {
            let hook = views()[1].clone();
            hook["lanes_in_use"] == 1 && hook["queue_length"] == 2
        });
        rig.pipe.free.open();
        for told in told {
            let told = told.join().unwrap();
            assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
        }
    });
    let hook = views()[1].clone();
    assert_eq!((&hook["lanes_in_use"], &hook["queue_length"]), (&json!(0), &json!(0)));
}

#[test]
fn ready_tells_of_a_channel_that_is_not_there_or_is_another_until_it_answers() {
    let board = crate::support::Board::start(&[]);
    let elsewhere = format!("{}/nowhere", board.url);
    for (channel, url, says) in [
        ("board", elsewhere.as_str(), "is --channel-url right?"),
        ("isso", board.url.as_str(), "is --channel-url right?"),
        ("generic", elsewhere.as_str(), "is --channel-url right?"),
        ("twikoo", board.url.as_str(), "is --channel-url right?"),
        ("board", "http://127.0.0.1:1", "127.0.0.1:1"),
        ("wxbot", "http://127.0.0.1:1", "127.0.0.1:1"),
    ] {
        let mut args = vec!["--channel", channel, "--channel-url", url, "--ledger", "memory"];
        if channel == "wxbot" {
            args.extend(["--native-wxbot-wxid", "w"]);
        }
        let sidecar = Sidecar::start(&args);
        let (status, reasons) = ready(&sidecar);
        assert_eq!(status, 503, "{channel} at {url}");
        assert!(reasons.contains(says), "{channel} at {url}: {reasons}");
    }
    let sidecar = Sidecar::start(&["--channel", "board", "--channel-url", &board.url, "--ledger", "memory"]);
    assert_eq!(ready(&sidecar), (200, String::new()), "the start has waited for its answer");
}

#[test]
fn a_channel_that_no_probe_knows_is_ready_once_it_has_stored_a_comment() {
    let server = ScriptedServer::start(|talk| {
        while let Some(request) = talk.request() {
            let is_comment = request.starts_with("POST ");
            let (status, body) =
                if is_comment { ("201 Created", r#"{"id":7,"text":"hi"}"#) } else { ("404 Not Found", "{}") };
            talk.say(&reply(status, "", body));
        }
    });
    let sidecar =
        Sidecar::start(&["--channel", "isso", "--channel-url", &server.url(), "--ledger", "memory"]);
    let (status, reasons) = ready(&sidecar);
    assert_eq!((status, reasons.contains("is --channel-url right?")), (503, true), "{reasons}");
    assert!(sidecar.log().contains("is --channel-url right?"), "{}", sidecar.log());
    let told =
        sidecar.client().comment(&json!({"content": "hi", "sns_id": "/", "idempotency_key": "k"})).json();
    assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
    assert_eq!(ready(&sidecar), (200, String::new()));
}
