use super::*;
use crate::args::AcceptArgs;
use commentd_contract::{BatchRequest, StandIns};
use http::StatusCode;
use serde_json::{Value, json};

fn options() -> AcceptOptions {
    let args = AcceptArgs { count: Some("2".into()), sns_id: Some("s".into()), ..AcceptArgs::default() };
    args.check(&|_| None).unwrap()
}

fn item(outcome: &str) -> Value {
    json!({
        "success": true, "latency_ms": 7, "error_code": 0, "error_message": "", "provider": "native_http",
        "method": "native_http", "outcome": outcome, "delivery_id": "", "comment_id": "", "trace_id": "",
        "idempotency_key": "k", "replayed": false, "raw_provider_latency_ms": 5, "retry_count": 0,
        "provider_error_code": "E1", "provider_error_message": "", "attempts": [],
    })
}

fn reply(results: &[Value]) -> Value {
    json!({
        "v": 1, "ok": true, "error_code": 0, "error_message": "", "latency_ms": 9, "task_id": "",
        "data": {
            "provider": "native_http", "total": results.len(), "succeeded": results.len(), "failed": 0,
            "total_latency_ms": 8, "fallback_count": 1, "raw_batch_total": 2, "raw_batch_succeeded": 1,
            "raw_batch_failed": 1, "trace_id": "", "idempotency_key": "k", "results": results,
        },
    })
}

fn answer(status: u16, body: impl ToString) -> HttpResponse {
    HttpResponse { status: StatusCode::from_u16(status).unwrap(), body: body.to_string().into() }
}

fn failed(status: u16, body: impl ToString) -> (Code, String) {
    match read(&answer(status, body), 2) {
        BatchResult::Failed { code, message } => (code, message),
        BatchResult::Answered(data) => panic!("was read as an answer: {data:?}"),
    }
}

fn judged(options: &AcceptOptions, results: &[Value]) -> Round {
    judge(options, 1, 30, read(&answer(200, reply(results)), results.len()), "mock")
}

#[test]
fn a_batch_is_a_well_formed_request() {
    let comments = ["a \"\u{0}\n".to_owned(), "b".to_owned()];
    let sent = body(&options(), "key-1", &comments).unwrap();
    let request = BatchRequest::parse(&sent, StandIns::default()).unwrap();
    assert_eq!((request.comments.as_slice(), request.concurrency), (comments.as_slice(), 10));
    assert_eq!(*request.intake.addressing, options().addressing);
    assert_eq!(request.intake.key.unwrap().as_str(), "key-1");
    assert_eq!((request.intake.provider.as_str(), request.intake.deadline_ms), ("native_http", None));
}

#[test]
fn the_provider_is_always_named_and_the_deadline_when_time_is_short() {
    for (timeout_ms, deadline_ms) in
        [(1200, None), (1001, None), (1000, Some(950)), (51, Some(1)), (1, Some(1))]
    {
        let options = AcceptOptions { timeout_ms, ..options() };
        let sent = body(&options, "k", &["a".into()]).unwrap();
        let intake = BatchRequest::parse(&sent, StandIns::default()).unwrap().intake;
        assert_eq!((intake.provider.as_str(), intake.deadline_ms), ("native_http", deadline_ms));
    }
}

#[test]
fn outcome_decides_and_success_does_not() {
    let with = |outcome: &str, code: u16, message: &str| {
        let mut item = item(outcome);
        item["error_code"] = code.into();
        item["error_message"] = message.into();
        item
    };
    for (result, expected) in [
        (with("delivered", 0, ""), None),
        (with("held", 0, ""), None),
        (with("unknown", 0, ""), Some((Code::OutcomeUnknown, "outcome unknown"))),
        (with("unknown", 51, "cut"), Some((Code::UpstreamUnavailable, "outcome unknown: cut"))),
        (with("misplaced", 0, ""), Some((Code::Misplaced, "outcome misplaced"))),
        (with("dry_run", 0, ""), Some((Code::UpstreamUnavailable, "outcome dry_run"))),
        (with("refused", 52, "no"), Some((Code::UpstreamRefused, "outcome refused: no"))),
        (with("not_sent", 62, ""), Some((Code::DeadlineExceeded, "outcome not_sent"))),
    ] {
        let round = judged(&options(), &[item("delivered"), result]);
        let found = round.failed_items.first().map(|item| (item.error_code, item.error_message.as_str()));
        assert_eq!(found, expected);
        assert_eq!((round.succeeded, round.failed), if expected.is_some() { (1, 1) } else { (2, 0) });
        assert_eq!(round.strict_success, expected.is_none());
        assert!(round.failed_items.iter().all(|item| item.index == 2 && item.provider_error_code == "E1"));
    }
}

#[test]
fn a_false_success_with_a_delivered_outcome_still_counts() {
    let mut denied = item("delivered");
    denied["success"] = false.into();
    assert_eq!(judged(&options(), &[denied, item("held")]).succeeded, 2);
}

#[test]
fn the_replys_figures_are_taken_over() {
    let mut other = item("delivered");
    other["method"] = "real_hook".into();
    let round = judged(&options(), &[item("delivered"), other]);
    assert_eq!((round.elapsed_ms, round.batch_latency_ms, round.fallback_count), (30, 8, 1));
    assert_eq!((round.raw_batch_total, round.raw_batch_succeeded, round.raw_batch_failed), (2, 1, 1));
    assert_eq!(round.method_counts, [("native_http".into(), 1), ("real_hook".into(), 1)].into());
    assert_eq!((round.provider.as_str(), round.under_target), ("native_http", true));
}

#[test]
fn another_provider_fails_the_item_only_when_a_match_is_required() {
    let mut other = item("delivered");
    other["provider"] = "real_ui".into();
    let results = [item("delivered"), other];
    assert!(judged(&options(), &results).strict_success);
    let round = judged(&AcceptOptions { require_provider_match: true, ..options() }, &results);
    assert_eq!((round.succeeded, round.failed_items[0].index), (1, 2));
    assert_eq!(
        round.failed_items[0].error_message,
        "provider mismatch: asked for native_http, real_ui answered"
    );
}

#[test]
fn a_round_without_an_answer_fails_every_item() {
    let batch = BatchResult::Failed { code: Code::OutcomeUnknown, message: "late".into() };
    let round = judge(&options(), 3, 1200, batch, "mock");
    assert_eq!((round.succeeded, round.failed, round.strict_success), (0, 2, false));
    assert_eq!((round.batch_latency_ms, round.under_target, round.provider.as_str()), (1200, false, "mock"));
    let items: Vec<_> = round.failed_items.iter().map(|item| (item.index, item.error_code)).collect();
    assert_eq!(items, [(1, Code::OutcomeUnknown), (2, Code::OutcomeUnknown)]);
}

#[test]
fn replies_that_are_no_answer_say_why() {
    let refused = json!({"v": 1, "ok": false, "error_code": 61, "error_message": "busy", "latency_ms": 1,
        "task_id": "", "data": {}});
    assert_eq!(failed(503, &refused), (Code::Overloaded, "HTTP 503: busy".into()));
    assert_eq!(failed(200, &refused), (Code::Overloaded, "busy".into()));
    let strange = json!({"ok": false, "error_code": 999, "error_message": "hm"});
    assert_eq!(failed(400, &strange), (Code::UpstreamBadReply, "HTTP 400: error_code 999, hm".into()));
    assert_eq!(failed(502, "<html>"), (Code::UpstreamBadReply, "HTTP 502 without a v1 reply".into()));
    assert!(failed(307, "").1.contains("redirects are not followed"));
    assert!(failed(200, "<html>").1.contains("no v1 batch reply"));
    assert!(failed(200, reply(&[item("delivered")])).1.contains("1 results for 2 comments"));
    let mut second = reply(&[item("delivered"), item("delivered")]);
    second["v"] = 2.into();
    assert!(failed(200, second).1.contains("version 2"));
}

#[test]
fn the_original_sidecar_is_judged_by_its_success() {
    let results = json!([
        {"success": true, "method": "http", "provider": "http", "latency_ms": 4.9, "error_code": 0},
        {"success": false, "method": "hook", "provider": "hook", "latency_ms": 5, "error_code": 2,
            "error_message": "pipe broken", "provider_error_code": 7, "provider_error_message": null},
        {"success": false, "error_code": 999},
        {"success": false},
    ]);
    let body = json!({"v": 1, "ok": false, "error_code": 30, "error_message": "3 failed", "latency_ms": 8,
        "data": {"provider": "http\u{1b}[2J", "total_latency_ms": 8.2, "results": results}});
    let options = AcceptOptions { count: 4, ..options() };
    let round = judge(&options, 1, 30, read(&answer(200, body), 4), "http");
    assert_eq!((round.succeeded, round.failed, round.batch_latency_ms), (1, 3, 8));
    assert_eq!(round.provider, "http\u{fffd}[2J");
    let found: Vec<_> =
        round.failed_items.iter().map(|item| (item.error_code, item.error_message.as_str())).collect();
    assert_eq!(
        found,
        [
            (Code::PipeDisconnected, "no outcome, not a success: pipe broken"),
            (Code::UpstreamBadReply, "no outcome, not a success: error_code 999"),
            (Code::OutcomeUnknown, "no outcome, not a success"),
        ]
    );
    assert_eq!(
        (round.failed_items[0].provider.as_str(), round.failed_items[0].provider_error_code.as_str()),
        ("hook", "7")
    );
}

#[test]
fn what_another_provider_carried_is_named_with_the_primarys_error() {
    let mut other = item("delivered");
    other["provider"] = "real_hook".into();
    other["method"] = "real_hook".into();
    other["attempts"] = json!([
        {"provider": "native_http", "verdict": "not_sent", "latency_ms": 1, "error_code": 51, "error_message": "refused"},
        {"provider": "native_http", "verdict": "denied", "latency_ms": 1, "error_code": 54, "error_message": "login"},
        {"provider": "real_hook", "verdict": "delivered", "latency_ms": 1, "error_code": 0, "error_message": ""},
    ]);
    let round = judged(&options(), &[item("delivered"), other]);
    assert!(round.strict_success);
    let carried = &round.fallback_items[..];
    assert_eq!(carried.len(), 1);
    assert_eq!((carried[0].index, carried[0].provider.as_str()), (2, "real_hook"));
    assert_eq!(
        (carried[0].error_code, carried[0].error_message.as_str()),
        (Code::UpstreamUnauthorized, "login")
    );
}

#[test]
fn long_messages_are_cut_at_a_character() {
    let long = "é".repeat(600);
    assert_eq!(shortened(&long), format!("{}…", "é".repeat(500)));
    assert_eq!(shortened("short"), "short");
}
