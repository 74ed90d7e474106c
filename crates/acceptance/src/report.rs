//! The report's content: arguments without secrets, rounds, summary.

use crate::comments::RunId;
use crate::options::AcceptOptions;
use crate::stats::{mean_ms, percentile_ms};
use commentd_contract::report::{Report, Round, Summary};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::Url;

/// What stands where a secret was.
const REDACTED: &str = "***";

pub(crate) fn assemble(
    options: &AcceptOptions,
    run: &RunId,
    (started, finished): (u64, u64),
    rounds: Vec<Round>,
    mut sidecar_health: Value,
) -> Report {
    redact_urls(&mut sidecar_health);
    Report {
        started_at: rfc3339(started),
        finished_at: rfc3339(finished),
        args: args(options, run),
        summary: summarise(options, &rounds),
        rounds,
        sidecar_health,
    }
}

/// RFC 3339, UTC, to the millisecond. What no calendar holds becomes 1970.
fn rfc3339(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

fn args(options: &AcceptOptions, run: &RunId) -> BTreeMap<String, Value> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let to = &options.addressing;
    let args = [
        ("run", json!(run.short())),
        ("rounds", json!(options.rounds)),
        ("count", json!(options.count)),
        ("concurrency", json!(options.concurrency)),
        ("target_ms", json!(options.target_ms)),
        ("comment_prefix", json!(options.comment_prefix)),
        ("round_interval_ms", json!(options.round_interval_ms)),
        ("fail_fast", json!(options.fail_fast)),
        ("report_file", json!(path(&options.report_file))),
        ("http_base_url", json!(options.base_url_shown)),
        ("http_timeout_ms", json!(options.timeout_ms)),
        ("http_comment_path", json!(options.comment_path)),
        ("http_batch_path", json!(options.batch_path)),
        ("http_provider", json!(options.provider)),
        ("http_authorization", json!(options.authorization.as_ref().map(|_| REDACTED))),
        ("require_provider_match", json!(options.require_provider_match)),
        ("sns_id", json!(to.sns_id)),
        ("target_author", json!(to.author)),
        ("content_hash", json!(to.content_hash)),
        ("reply_to", json!(to.reply_to)),
        ("use_latest_context", json!(options.use_latest_context)),
        ("context_file", json!(path(&options.context_file))),
        ("contents_file", json!(path(&options.contents_file))),
        ("verify", json!(options.verify)),
        ("soak", json!(options.soak)),
    ];
    args.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Sidecars leave credentials out of their addresses; whether this one does, nobody here can know.
fn redact_urls(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Ok(mut url) = Url::parse(text)
                && (!url.username().is_empty() || url.password().is_some())
            {
                // An address that had credentials can hold others; if not, nothing of it is kept.
                let redacted = url.set_password(None).and_then(|()| url.set_username(REDACTED));
                *text = redacted.map_or(REDACTED.to_owned(), |()| url.to_string());
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact_urls),
        Value::Object(fields) => fields.values_mut().for_each(redact_urls),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn summarise(options: &AcceptOptions, rounds: &[Round]) -> Summary {
    let count = |wanted: fn(&Round) -> bool| {
        u32::try_from(rounds.iter().filter(|round| wanted(round)).count()).unwrap_or(u32::MAX)
    };
    let ran = count(|_| true);
    let strict = count(|round| round.strict_success);
    let under_target = count(|round| round.under_target);
    let rate = |part: u32| f64::from(part) / f64::from(ran.max(1));
    let latencies: Vec<u64> = rounds.iter().map(|round| round.batch_latency_ms).collect();
    let p95_ms = percentile_ms(&latencies, 95);
    let verified = |round: &Round| {
        round.verified_once == Some(round.total)
            && round.verified_missing == Some(0)
            && round.verified_duplicate == Some(0)
    };
    Summary {
        rounds: ran,
        configured_rounds: options.rounds,
        comments_per_round: options.count,
        target_ms: options.target_ms,
        strict_success_rounds: strict,
        under_target_rounds: under_target,
        strict_success_rate: rate(strict),
        under_target_rate: rate(under_target),
        latency_avg_ms: mean_ms(&latencies),
        latency_p50_ms: percentile_ms(&latencies, 50),
        latency_p95_ms: p95_ms,
        latency_max_ms: latencies.iter().copied().max().unwrap_or(0),
        goal_passed: ran > 0
            && ran == options.rounds
            && strict == ran
            && p95_ms < options.target_ms
            && (!options.verify || rounds.iter().all(verified)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::AcceptArgs;

    fn options() -> AcceptOptions {
        let args = AcceptArgs { rounds: Some("2".into()), sns_id: Some("t".into()), ..AcceptArgs::default() };
        args.check(&|_| None).unwrap()
    }

    /// A round in which everything went well, and was found once.
    fn good(number: u32, batch_latency_ms: u64) -> Round {
        serde_json::from_value(json!({
            "round": number, "elapsed_ms": 9, "batch_latency_ms": batch_latency_ms, "total": 10,
            "succeeded": 10, "failed": 0, "strict_success": true, "under_target": batch_latency_ms < 1000,
            "mode": "http", "raw_batch_total": 10, "raw_batch_succeeded": 10, "raw_batch_failed": 0,
            "fallback_count": 0, "method_counts": {}, "failed_items": [], "fallback_items": [], "provider": "mock",
            "verified_once": 10, "verified_missing": 0, "verified_duplicate": 0,
        }))
        .unwrap()
    }

    #[test]
    fn the_goal_needs_every_round_strict_and_the_p95_under_the_target() {
        let passed = |rounds: &[Round]| summarise(&options(), rounds).goal_passed;
        assert!(passed(&[good(1, 20), good(2, 999)]));
        assert!(!passed(&[]));
        assert!(!passed(&[good(1, 20)]), "a round that was asked for did not run");
        assert!(!passed(&[good(1, 20), Round { strict_success: false, ..good(2, 20) }]));
        assert!(!passed(&[good(1, 1000), good(2, 1000)]), "the target itself is not under the target");
    }

    #[test]
    fn with_verification_the_goal_needs_every_comment_exactly_once() {
        let options = AcceptOptions { verify: true, ..options() };
        let passed = |second: Round| summarise(&options, &[good(1, 20), second]).goal_passed;
        assert!(passed(good(2, 20)));
        assert!(!passed(Round { verified_missing: Some(1), ..good(2, 20) }));
        assert!(!passed(Round { verified_duplicate: Some(1), ..good(2, 20) }));
        assert!(!passed(Round { verified_once: None, ..good(2, 20) }));
    }

    #[test]
    fn the_summary_counts_and_averages() {
        let summary =
            summarise(&options(), &[good(1, 100), Round { strict_success: false, ..good(2, 1500) }]);
        assert_eq!((summary.rounds, summary.configured_rounds, summary.comments_per_round), (2, 2, 10));
        assert_eq!((summary.strict_success_rounds, summary.under_target_rounds), (1, 1));
        assert_eq!((summary.strict_success_rate, summary.under_target_rate), (0.5, 0.5));
        // p95: 100 + 0.95·1400
        assert_eq!((summary.latency_avg_ms, summary.latency_p50_ms), (800, 800));
        assert_eq!((summary.latency_p95_ms, summary.latency_max_ms), (1430, 1500));
    }

    #[test]
    fn wall_time_is_rfc_3339_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_007), "2000-02-29T00:00:00.007Z");
    }

    #[test]
    fn addresses_in_the_health_lose_their_credentials() {
        let mut health = json!({"a": ["http://u:secret@h/p"], "b": "http://h/", "c": "u:secret", "d": 7});
        redact_urls(&mut health);
        assert_eq!(health, json!({"a": ["http://***@h/p"], "b": "http://h/", "c": "u:secret", "d": 7}));
    }
}
