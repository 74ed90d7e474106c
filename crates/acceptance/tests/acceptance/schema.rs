//! The report and its JSON Schema say the same.

use crate::stub::{Plan, Stub, options, plain, verified};
use serde_json::{Value, json};

/// The schema, and a report that has everything a report can have.
async fn schema_and_report() -> (jsonschema::Validator, Value) {
    let schema: Value = serde_json::from_str(commentd_contract::report::SCHEMA).unwrap();
    assert!(jsonschema::meta::is_valid(&schema), "the schema itself is broken");
    let stub = Stub::new(&[Plan::Refuse, Plan::BendTheTruth]);
    let report = verified(&stub, |_| {}).await;
    (jsonschema::validator_for(&schema).unwrap(), serde_json::to_value(report).unwrap())
}

#[tokio::test]
async fn reports_follow_the_schema() {
    let (schema, report) = schema_and_report().await;
    let errors: Vec<String> =
        schema.iter_errors(&report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, Vec::<String>::new());

    let stub = Stub::new(&[Plan::Deliver]);
    let unverified = plain(&options(&stub.serve().await, |_| {})).await.unwrap();
    assert!(schema.is_valid(&serde_json::to_value(unverified).unwrap()));
}

#[tokio::test]
async fn a_report_with_a_field_more_or_less_breaks_the_schema() {
    let (schema, report) = schema_and_report().await;
    for place in ["", "/rounds/0", "/rounds/0/failed_items/0", "/summary"] {
        let mut doctored = report.clone();
        doctored.pointer_mut(place).unwrap()["extra"] = json!(1);
        assert!(!schema.is_valid(&doctored), "a field more at {place:?} went unnoticed");
    }
    for place in ["", "/args", "/rounds/0", "/rounds/0/failed_items/0", "/summary"] {
        let names: Vec<String> =
            report.pointer(place).unwrap().as_object().unwrap().keys().cloned().collect();
        for name in names {
            let mut doctored = report.clone();
            doctored.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(&name);
            assert!(!schema.is_valid(&doctored), "{place}/{name} was missing unnoticed");
        }
    }
}

#[tokio::test]
async fn a_report_with_a_wrong_value_breaks_the_schema() {
    let (schema, report) = schema_and_report().await;
    for (place, value) in [
        ("/started_at", json!("2026-11-24 03:40:00")),
        ("/finished_at", json!("2026-13-24T03:40:00.000Z")),
        ("/rounds/0/round", json!(0)),
        ("/rounds/0/mode", json!("pipe")),
        ("/rounds/0/total", json!(1001)),
        ("/rounds/0/strict_success", json!("true")),
        ("/rounds/0/elapsed_ms", json!(-1)),
        ("/rounds/0/elapsed_ms", json!(1.5)),
        ("/rounds/0/provider", json!(7)),
        ("/rounds/0/method_counts", json!({"hook": 0})),
        ("/rounds/0/fallback_items", json!([{"index": 1}])),
        ("/rounds/0/failed_items/0/index", json!(0)),
        ("/rounds/0/failed_items/0/error_code", json!(0)),
        ("/rounds/0/failed_items/0/error_code", json!(11)),
        ("/summary/strict_success_rate", json!(1.1)),
        ("/summary/latency_p95_ms", json!(-1)),
        ("/summary/latency_p95_ms", json!(43.5)),
        ("/summary/goal_passed", json!(1)),
        ("/args/http_authorization", json!("Bearer hunter2")),
        ("/args/http_base_url", json!("http://user:hunter2@127.0.0.1:1")),
        ("/args/rounds", json!(0)),
        ("/sidecar_health", json!([])),
    ] {
        let mut doctored = report.clone();
        *doctored.pointer_mut(place).unwrap() = value.clone();
        assert!(!schema.is_valid(&doctored), "{value} at {place} went unnoticed");
    }
}
