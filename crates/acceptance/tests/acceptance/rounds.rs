//! Whole runs.

use crate::stub::{Plan, StoreReader, Stub, options, plain, verified};
use commentd_acceptance::{
    AcceptError, AcceptOptions, NoProgress, Progress, ReadComment, Report, exit_code, render_summary, run,
    write_report,
};
use commentd_contract::{Code, SystemClock};
use std::collections::HashSet;
use std::sync::Mutex;

#[tokio::test]
async fn a_run_in_which_everything_is_delivered_passes() {
    let stub = Stub::new(&[Plan::Deliver]);
    let options = options(&stub.serve().await, |args| {
        args.http_authorization = Some("Bearer hunter2".to_owned().into());
        args.author = Some("someone".into());
    });
    let result = plain(&options).await;
    assert_eq!(exit_code(&result), 0);
    let report = result.unwrap();
    assert!(report.summary.goal_passed && report.summary.latency_p95_ms == 4);
    assert_eq!(report.rounds[1].method_counts, [("mock".to_owned(), 3)].into());
    assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"), "a secret is in the report");
    assert_eq!(report.args["http_authorization"], "***");

    let keys: HashSet<String> = stub.keys().into_iter().collect();
    assert_eq!(keys.len(), 2, "every round has a key of its own");
    let batches = stub.batches.lock().unwrap();
    let (first, headers) = &batches[0];
    assert_eq!(first.comments, ["acc-r01-c01", "acc-r01-c02", "acc-r01-c03"]);
    assert_eq!((first.intake.addressing.author.as_str(), first.concurrency), ("someone", 10));
    assert_eq!(headers["authorization"], "Bearer hunter2");
    assert_eq!(headers["content-type"], "application/json");
}

#[tokio::test]
async fn two_runs_never_share_a_key() {
    let stub = Stub::new(&[Plan::Deliver]);
    let options = options(&stub.serve().await, |_| {});
    plain(&options).await.unwrap();
    // On another thread this time: a run must be able to move.
    tokio::spawn(async move { plain(&options).await }).await.unwrap().unwrap();
    assert_eq!(stub.keys().into_iter().collect::<HashSet<_>>().len(), 4);
}

#[tokio::test]
async fn unknown_reported_as_success_is_counted_as_failed() {
    let stub = Stub::new(&[Plan::Deliver, Plan::BendTheTruth]);
    let result = plain(&options(&stub.serve().await, |_| {})).await;
    assert_eq!(exit_code(&result), 1);
    let report = result.unwrap();
    let round = &report.rounds[1];
    assert_eq!((round.succeeded, round.failed, round.strict_success), (2, 1, false));
    assert_eq!((round.failed_items[0].index, round.failed_items[0].error_code), (1, Code::OutcomeUnknown));
    assert_eq!((report.summary.strict_success_rounds, report.summary.goal_passed), (1, false));
}

#[tokio::test]
async fn a_failed_round_is_reported_in_the_sidecars_words_and_the_run_goes_on() {
    let stub = Stub::new(&[Plan::Refuse, Plan::Deliver]);
    let report = plain(&options(&stub.serve().await, |_| {})).await.unwrap();
    assert_eq!(report.rounds[0].failed_items.len(), 3);
    assert_eq!(report.rounds[0].failed_items[2].error_code, Code::Overloaded);
    assert_eq!(report.rounds[0].failed_items[2].error_message, "HTTP 503: in flight: 1024");
    assert_eq!(report.rounds[0].provider, "mock", "from the health");
    assert!(report.rounds[1].strict_success && !report.summary.goal_passed);
    assert_eq!(stub.keys().len(), 2, "a refused round is not sent again");
}

#[tokio::test]
async fn fail_fast_stops_and_can_not_pass() {
    let stub = Stub::new(&[Plan::Refuse, Plan::Deliver]);
    let options = options(&stub.serve().await, |args| args.no_fail_fast = false);
    let report = plain(&options).await.unwrap();
    assert_eq!((report.summary.rounds, report.summary.configured_rounds), (1, 2));
    assert_eq!(stub.keys().len(), 1);
}

#[tokio::test]
async fn a_sidecar_that_hangs_fails_the_round_after_the_timeout_and_is_not_asked_again() {
    let stub = Stub::new(&[Plan::Hang]);
    let options = options(&stub.serve().await, |args| {
        args.http_timeout_ms = Some("500".into());
        args.rounds = Some("1".into());
    });
    let report = plain(&options).await.unwrap();
    let item = &report.rounds[0].failed_items[0];
    assert_eq!(item.error_code, Code::OutcomeUnknown);
    assert!(item.error_message.contains("no complete reply within 500 ms"), "{}", item.error_message);
    assert!(report.rounds[0].elapsed_ms >= 500 && report.rounds[0].batch_latency_ms >= 500);
    let batches = stub.batches.lock().unwrap();
    assert_eq!((batches.len(), batches[0].0.intake.deadline_ms), (1, Some(450)));
}

#[tokio::test]
async fn redirects_and_broken_bodies_fail_the_round() {
    let stub = Stub::new(&[Plan::Redirect, Plan::CutOff]);
    let report = plain(&options(&stub.serve().await, |_| {})).await.unwrap();
    for round in &report.rounds {
        assert_eq!((round.failed, round.failed_items[0].error_code), (3, Code::UpstreamBadReply));
    }
    assert_eq!(*stub.others.lock().unwrap(), Vec::<String>::new(), "a redirect was followed");
}

#[tokio::test]
async fn without_a_sidecar_there_is_no_run() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let result = plain(&options(&address, |_| {})).await;
    assert_eq!(exit_code(&result), 2);
    let message = result.unwrap_err().to_string();
    assert!(message.contains(&address) && message.contains("--http-base-url"), "{message}");

    let stub = Stub::new(&[Plan::Deliver]);
    let elsewhere = format!("{}/prefix", stub.serve().await);
    let message = plain(&options(&elsewhere, |_| {})).await.unwrap_err().to_string();
    assert!(message.contains("HTTP 404"), "{message}");
    assert_eq!(*stub.others.lock().unwrap(), ["/prefix/health"]);
}

#[tokio::test]
async fn a_required_provider_that_the_sidecar_lacks_is_not_run_against() {
    let stub = Stub::new(&[Plan::Deliver]);
    let base_url = stub.serve().await;
    let error = plain(&options(&base_url, |args| args.require_provider_match = true)).await.unwrap_err();
    assert!(error.to_string().contains("asks for native_http, the sidecar serves mock"), "{error}");
    assert_eq!(stub.keys().len(), 0);
    let matching = options(&base_url, |args| {
        args.require_provider_match = true;
        args.http_provider = Some("mock".into());
    });
    assert!(plain(&matching).await.unwrap().summary.goal_passed);
    assert_eq!(stub.batches.lock().unwrap()[0].0.intake.provider, "mock");
}

#[tokio::test]
async fn hostile_texts_arrive_verbatim_and_are_counted_once() {
    let stub = Stub::new(&[Plan::Deliver]);
    let mut options = options(&stub.serve().await, |args| args.verify = true);
    options.contents =
        ["\"},{\"a\":\"", "\u{0}\r\n\t", "{{ 7*7 }}", "👩‍👩‍👧 \u{202e}", "%00%2e", " "].map(String::from).into();
    let reader = StoreReader { stub: stub.clone(), change: |_| {} };
    let report = run(&options, Some(&reader), &SystemClock::start(), &NoProgress).await.unwrap();
    assert!(report.summary.goal_passed, "{report:?}");
    let run_id = report.args["run"].as_str().unwrap();
    let stored = stub.stored.lock().unwrap();
    assert_eq!(stored[1].text, format!("acc-{run_id}-r01-c02 \u{0}\r\n\t"));
    assert_eq!(stored.len(), 6);
}

#[tokio::test]
async fn missing_and_duplicate_comments_keep_the_goal_from_being_reached() {
    let stub = Stub::new(&[Plan::Deliver]);
    let report = verified(&stub, |stored| stored.retain(|comment| !comment.text.ends_with("r02-c01"))).await;
    let counts = |round: usize| {
        let round = &report.rounds[round];
        (round.verified_once, round.verified_missing, round.verified_duplicate, round.strict_success)
    };
    assert_eq!(counts(0), (Some(3), Some(0), Some(0), true));
    assert_eq!(counts(1), (Some(2), Some(1), Some(0), false));
    assert!(!report.summary.goal_passed);

    let stub = Stub::new(&[Plan::Deliver]);
    let report = verified(&stub, |stored| {
        let again = stored.iter().find(|comment| comment.text.ends_with("r01-c03")).cloned();
        stored.extend(again.map(|comment| ReadComment { comment_id: "other".into(), ..comment }));
    })
    .await;
    assert_eq!(report.rounds[0].verified_duplicate, Some(1));
    assert!(report.rounds[0].succeeded == 3 && !report.rounds[0].strict_success);
    assert!(!report.summary.goal_passed);
}

#[tokio::test]
async fn a_duplicate_that_turns_up_rounds_later_is_found_by_the_recount() {
    let stub = Stub::new(&[Plan::Deliver]);
    // The first round's first comment is there twice once the second round is.
    let report = verified(&stub, |stored| {
        if stored.len() == 6 {
            stored.push(ReadComment { comment_id: "late".into(), ..stored[0].clone() });
        }
    })
    .await;
    assert_eq!((report.rounds[0].verified_once, report.rounds[0].verified_duplicate), (Some(2), Some(1)));
    assert!(!report.rounds[0].strict_success && report.rounds[1].strict_success);
    assert!(!report.summary.goal_passed);
}

#[tokio::test]
async fn verification_without_a_reader_is_refused_before_anything_is_sent() {
    let stub = Stub::new(&[Plan::Deliver]);
    let result = plain(&options(&stub.serve().await, |args| args.verify = true)).await;
    assert_eq!(result.unwrap_err(), AcceptError::NoReader);
    assert_eq!(stub.keys().len(), 0);
}

#[tokio::test]
async fn progress_hears_every_round() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);
    impl Progress for Heard {
        fn round_started(&self, round: u32, rounds: u32) {
            self.0.lock().unwrap().push(format!("{round} of {rounds}"));
        }
        fn round_finished(&self, round: &commentd_contract::report::Round) {
            self.0.lock().unwrap().push(format!("{}: {}", round.round, round.succeeded));
        }
        fn note(&self, text: &str) {
            self.0.lock().unwrap().push(text.to_owned());
        }
    }
    let stub = Stub::new(&[Plan::Refuse]);
    let options = options(&stub.serve().await, |args| args.no_fail_fast = false);
    let heard = Heard::default();
    run(&options, None, &SystemClock::start(), &heard).await.unwrap();
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard[..2], ["1 of 2", "1: 0"]);
    assert!(heard[2].contains("--fail-fast") && heard.len() == 3, "{heard:?}");
}

#[tokio::test]
async fn the_report_is_written_whole_where_it_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("new/deep/report.json");
    let stub = Stub::new(&[Plan::Deliver, Plan::BendTheTruth]);
    let options = options(&stub.serve().await, |args| args.report_file = Some(file.clone()));
    let report = plain(&options).await.unwrap();
    for _ in 0..2 {
        assert_eq!(write_report(&report, &options).unwrap(), file);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "others may read the report");
    }
    let written: Report = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written, report);
    let left: Vec<_> = std::fs::read_dir(file.parent().unwrap()).unwrap().collect();
    assert_eq!(left.len(), 1, "a temporary file was left behind: {left:?}");

    let blocked = AcceptOptions { report_file: Some(file.join("below-a-file.json")), ..options };
    let error = write_report(&report, &blocked).unwrap_err();
    assert!(error.to_string().contains("--report-file"), "{error}");
}

#[tokio::test]
async fn the_summary_shows_rounds_failures_and_the_three_judged_figures() {
    let stub = Stub::new(&[Plan::Deliver, Plan::Refuse]);
    let options = options(&stub.serve().await, |args| args.count = Some("7".into()));
    let mut report = plain(&options).await.unwrap();
    report.rounds[1].failed_items[0].error_message = "\u{1b}[31mred".into();
    let text = render_summary(&report);
    for part in [
        "7/7",
        "0/7",
        "round 2, comment 2: 61 OVERLOADED: HTTP 503",
        "… and 2 more",
        "strict_success_rounds  1 of 2 rounds",
        "latency_p95_ms",
        "goal_passed            false",
        "NOT MET",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(!text.contains("found once"), "nothing was verified:\n{text}");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}
