use super::super::checked::Exchange;
use super::super::ledger::LedgerChoice;
use super::super::words::{LogFormat, UnknownAs};
use super::{Layers, URL, flags};
use commentd_contract::ProviderName;
use commentd_providers::hook_pipe::ExecutionMode;
use commentd_providers::mock::MockOptions;
use std::time::Duration;

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = flags(&[URL]).check().unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:19080");
    assert_eq!(config.chain(), [ProviderName::NativeHttp]);
    assert_eq!(config.exchange, Exchange::Live);
    assert_eq!(config.mock, MockOptions { latency_ms: 35, jitter_ms: 5, fail_ratio: 0.0, seed: 0 });
    assert_eq!((config.limits.max_batch_concurrency, config.limits.max_in_flight), (20, 1024));
    assert_eq!(config.default_deadline, Duration::from_millis(1000));
    assert_eq!(config.unknown_as, UnknownAs::Failure);
    assert!(!config.require_key && !config.is_rehearsal());
    assert_eq!(config.retention, Duration::from_hours(168));
    assert_eq!(config.log.level, tracing::Level::INFO);
    assert_eq!(config.log.format, LogFormat::Human);
    let choice = config.channel.unwrap();
    assert_eq!((choice.channel.name(), choice.timeout), ("generic", Duration::from_millis(1200)));
    let LedgerChoice::File { path, named: false, .. } = config.ledger else { panic!("{:?}", config.ledger) };
    assert!(path.is_absolute() && path.ends_with("commentd.db"), "{path:?}");
}

#[test]
fn every_error_is_told_at_once_with_key_source_and_what_is_allowed() {
    let layers = Layers {
        flags: &[("max-in-flight", "0")],
        env: &[("COMMENTD_PORT", "70000")],
        file: "fail_ratio = 1.5",
        ..Layers::default()
    };
    let errors = layers.errors();
    for says in [
        "--max-in-flight must be a whole number from 1 to 1000000, is \"0\" (from flag --max-in-flight)",
        "--port must be a whole number from 0 to 65535, is \"70000\" (from environment COMMENTD_PORT)",
        "--fail-ratio must be a number from 0 to 1, is \"1.5\" (from commentd.toml: fail_ratio)",
        "--channel-url is missing",
    ] {
        assert!(errors.iter().any(|error| error.starts_with(says)), "{says}: {errors:#?}");
    }
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn the_chain_is_what_is_configured_in_its_order() {
    use ProviderName::{NativeHttp, RealHook, RealUi};
    let pipe = ("real-pipe-name", "/run/hook");
    let worker = ("real-ui-command", "python3 'a worker.py'");
    let chain = |given: &[(&str, &str)]| flags(given).check().unwrap().chain();
    assert_eq!(chain(&[URL, pipe, worker]), [NativeHttp, RealHook, RealUi]);
    assert_eq!(chain(&[pipe, worker, ("mode", "real_hook")]), [RealHook, RealUi]);
    assert_eq!(chain(&[worker, ("mode", "REAL_UI"), ("fallback", "none")]), [RealUi]);
    assert_eq!(
        chain(&[URL, pipe, ("mode", "real_hook"), ("fallback", "native_http")]),
        [RealHook, NativeHttp]
    );
    let config = flags(&[URL, pipe, worker]).check().unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.ui.unwrap().command, ["python3", "a worker.py"]);
    let hook = config.hook.unwrap();
    assert_eq!((hook.timeout_ms, hook.wait_timeout_ms, hook.latest_sns_id), (2000, 1200, false));
    assert_eq!((hook.execution_mode, hook.arg1_mode.as_str()), (ExecutionMode::Auto, "template"));
    for (given, says) in [
        (("fallback", "real_ui"), "--real-ui-command is missing"),
        (("real-ui-command", "python3 'a"), "a quote isn't closed"),
        (("mode", "hook"), "must be one of mock, native_http, real_hook, real_ui, is \"hook\""),
    ] {
        let errors = flags(&[URL, given]).errors();
        assert!(errors.iter().any(|error| error.contains(says)), "{errors:?}");
    }
    let warnings = flags(&[URL, pipe, ("real-pipe-timeout-ms", "900")]).check().unwrap().warnings;
    assert!(warnings[0].contains("--real-pipe-timeout-ms (900) leaves the hook no time"), "{warnings:?}");
}

#[test]
fn a_chain_makes_sense() {
    assert!(flags(&[URL, ("fallback", "none")]).check().unwrap().fallback.is_empty());
    for (mode, fallback, says) in [
        ("native_http", "native_http", "in the chain already"),
        ("native_http", "mock", "say yes"),
        ("mock", "native_http", "rehearses only"),
        ("native_http", "none,mock", "has \"none\""),
        ("native_http", "hook", "has \"hook\""),
    ] {
        let errors = flags(&[URL, ("mode", mode), ("fallback", fallback)]).errors();
        assert!(errors[0].contains(says), "{fallback}: {errors:?}");
    }
}

#[test]
fn a_mock_needs_no_channel_and_says_what_it_ignores() {
    let config = flags(&[("mode", "Mock ")]).check().unwrap();
    assert!(config.channel.is_none() && config.is_rehearsal());
    assert_eq!(config.ledger, LedgerChoice::Memory);
    let layers = Layers {
        flags: &[("mode", "mock"), URL, ("native-comment-path", "/c")],
        sets: &["author=Ann"],
        env: &[("COMMENTD_CHANNEL_AUTHOR", "Ann")],
        file: "channel.settings.author = \"Ann\"",
    };
    let warnings = layers.check().unwrap().warnings;
    assert_eq!(warnings.len(), 5, "{warnings:#?}");
    assert!(
        warnings.iter().all(|warning| warning.contains("has no effect: --mode is mock")),
        "{warnings:#?}"
    );
    let warnings = flags(&[URL, ("latency-ms", "1")]).check().unwrap().warnings;
    assert!(warnings[0].contains("--latency-ms has no effect: --mode is native_http"), "{warnings:?}");
}

#[test]
fn the_ledger_follows_from_what_is_done() {
    let ledger = |given: &[(&str, &str)]| {
        let config = flags(given).check().unwrap();
        let alone = flags(given).load().unwrap().check_ledger().unwrap();
        assert_eq!(config.ledger, alone);
        (config.ledger, config.warnings.len())
    };
    let named = LedgerChoice::File { path: "a.db".into(), named: true, accept_lost_wal: false };
    let file = ("ledger", "a.db");
    let cassette = ("cassette", "a.har");
    assert_eq!(ledger(&[URL, file]), (named.clone(), 0));
    assert_eq!(ledger(&[URL, ("ledger", "memory")]), (LedgerChoice::Memory, 0));
    assert_eq!(ledger(&[("mode", "mock"), file]), (named.clone(), 0));
    assert_eq!(ledger(&[URL, ("exchange", "replay"), cassette]), (LedgerChoice::Memory, 0));
    assert_eq!(ledger(&[URL, ("exchange", "replay"), cassette, file]), (named.clone(), 0));
    assert_eq!(ledger(&[URL, ("exchange", "record"), cassette, file]), (named, 0));
    assert_eq!(ledger(&[URL, ("exchange", "dry-run")]), (LedgerChoice::Memory, 0));
    assert_eq!(ledger(&[URL, ("exchange", "dry-run"), file]), (LedgerChoice::Memory, 1));
    for (address, says) in [
        ("postgres://u:p@h/db", "PostgreSQL ledger, which is not in this release"),
        ("PostgreSQL://h/db", "PostgreSQL"),
        ("http://h", "must be a file"),
    ] {
        let error = flags(&[URL, ("ledger", address)]).error();
        assert!(error.contains(says), "{error}");
        assert!(flags(&[("ledger", address)]).load().unwrap().check_ledger().is_err());
    }
}

#[test]
fn an_exchange_has_its_cassette() {
    let config = flags(&[URL, ("exchange", "replay"), ("cassette", "a.har")]).check().unwrap();
    assert_eq!(config.exchange, Exchange::Replay { cassette: "a.har".into() });
    assert!(config.is_rehearsal());
    let error = flags(&[URL, ("exchange", "record")]).error();
    assert!(error.starts_with("--cassette is missing: --exchange record"), "{error}");
    let error = flags(&[("mode", "mock"), ("exchange", "replay"), ("cassette", "a.har")]).error();
    assert!(error.contains("needs --mode native_http"), "{error}");
    let warnings = flags(&[URL, ("cassette", "a.har")]).check().unwrap().warnings;
    assert!(warnings[0].contains("--cassette has no effect"), "{warnings:?}");
}
