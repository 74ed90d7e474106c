//! Acceptance runs against a chain whose primary is down.

use super::{LATE, Rig};
use crate::support::{Program, at};
use commentd_test_support::server::ReservedPort;
use serde_json::{Value, json};

/// One round with these texts: how the program ended, and its report.
fn accepted(rig: &Rig, texts: &[String], target_ms: &str) -> (Option<i32>, Value) {
    let path = |name: &str| rig.directory.path().join(name).to_str().unwrap().to_owned();
    let (contents, report) = (path("contents.json"), path("report.json"));
    std::fs::write(&contents, json!(texts).to_string()).unwrap();
    let count = texts.len().to_string();
    let mut args = vec!["accept", "--rounds", "1", "--count", &count, "--concurrency", "10", "--sns-id", "t"];
    args.extend(["--http-base-url", &rig.sidecar.url, "--http-timeout-ms", "100000"]);
    args.extend(["--target-ms", target_ms, "--contents-file", &contents, "--report-file", &report]);
    let ended = Program::run(args);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let text = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    (ended.status.code(), serde_json::from_str(&text).unwrap())
}

#[test]
fn a_degraded_run_is_reported_by_provider_and_judged_by_the_same_rule() {
    let down = ReservedPort::take();
    let rig = Rig::over("generic", &down.url(), Default::default(), LATE);
    rig.is_well();
    let texts = |does: &dyn Fn(usize) -> &'static str| -> Vec<String> {
        (0..10).map(|number| format!("native=ok; hook={}; ui=ok; #{number}", does(number))).collect()
    };

    // The hook carries all of them, in time.
    let (exit, report) = accepted(&rig, &texts(&|_| "ok"), "90000");
    let round = at(&report, "rounds.0");
    assert_eq!((exit, at(&report, "summary.goal_passed")), (Some(0), &json!(true)), "{report:#}");
    assert_eq!(round["method_counts"], json!({"real_hook": 10}), "{report:#}");
    assert_eq!((&round["fallback_count"], &round["provider"]), (&json!(10), &json!("native_http")));
    let raw = ["raw_batch_total", "raw_batch_succeeded", "raw_batch_failed"].map(|name| &round[name]);
    assert_eq!(raw, [&json!(10), &json!(0), &json!(10)]);
    assert_eq!((&round["strict_success"], &round["failed_items"]), (&json!(true), &json!([])));

    // All of them again, and not in time.
    let (exit, report) = accepted(&rig, &texts(&|_| "ok"), "1");
    assert_eq!((exit, at(&report, "summary.goal_passed")), (Some(1), &json!(false)), "{report:#}");
    assert_eq!(at(&report, "rounds.0.strict_success"), true, "{report:#}");

    // Some are refused by the hook, some only the worker can carry, and one is in doubt.
    let does = |number| ["ok", "code 10", "code 20", "may still run"].get(number).copied().unwrap_or("ok");
    let (exit, report) = accepted(&rig, &texts(&does), "90000");
    let round = at(&report, "rounds.0");
    assert_eq!((exit, at(&report, "summary.goal_passed")), (Some(1), &json!(false)), "{report:#}");
    assert_eq!(round["method_counts"], json!({"real_hook": 9, "real_ui": 1}), "{report:#}");
    assert_eq!((&round["fallback_count"], &round["strict_success"]), (&json!(10), &json!(false)));
    let failed: Vec<Value> = round["failed_items"].as_array().unwrap().clone();
    let told: Vec<[&Value; 6]> = failed
        .iter()
        .map(|item| {
            ["index", "error_code", "method", "provider", "provider_error_code", "provider_error_message"]
                .map(|name| &item[name])
        })
        .collect();
    let hook = json!("real_hook");
    let expected = [
        [json!(2), json!(10), hook.clone(), hook.clone(), json!("10"), json!("told to")],
        [json!(4), json!(30), hook.clone(), hook, json!("30"), json!("timeout (job may still be running)")],
    ];
    let expected: Vec<[&Value; 6]> = expected.iter().map(|item| item.each_ref()).collect();
    assert_eq!(told, expected, "{report:#}");
    println!("{}", serde_json::to_string_pretty(round).unwrap());
}
