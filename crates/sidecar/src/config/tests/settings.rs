use super::super::error::Source;
use super::super::file::SettingsFile;
use super::super::kind::Kind;
use super::super::layers::DEFAULTS;
use super::super::settings::{SETTINGS, find};
use super::{Layers, URL, flags};
use std::collections::BTreeSet;

#[test]
fn registry_and_defaults_agree_key_by_key() {
    // An unknown key would be an error here.
    let defaults = SettingsFile::parse(DEFAULTS, "commentd.default.toml", &Source::Default).unwrap();
    for setting in SETTINGS {
        let found: Vec<_> = defaults.values.iter().filter(|(other, _)| other.name == setting.name).collect();
        let [(_, text)] = found.as_slice() else { panic!("{}: {} defaults", setting.name, found.len()) };
        if !setting.kind.is_unset(text) {
            assert_eq!(setting.kind.check(text), Ok(()), "{}", setting.name);
        }
    }
    assert!(defaults.channel.is_empty());
}

#[test]
fn every_default_is_documented() {
    let mut documented = true;
    for (number, line) in DEFAULTS.lines().enumerate() {
        let is_key = !line.starts_with('#') && line.contains('=');
        assert!(!is_key || documented, "line {}: {line} has no comment", number + 1);
        documented = line.starts_with("# ") && !line.starts_with("# ----");
        assert!(line.chars().count() <= 120, "line {} is too long", number + 1);
    }
}

#[test]
fn no_flag_key_or_variable_is_there_twice() {
    let (mut flags, mut keys, mut variables) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for setting in SETTINGS {
        assert!(keys.insert(setting.file_key()), "{}", setting.name);
        for flag in setting.aliases.iter().copied().chain([setting.name]) {
            assert!(flags.insert(flag), "{flag}");
        }
        for variable in setting.variables() {
            assert!(variables.insert(variable.clone()), "{variable}");
        }
    }
    assert_eq!(find("native-upstream-kind").unwrap().file_key(), "channel.name");
    assert_eq!(find("native-upstream-base-url").unwrap().file_key(), "channel.url");
}

#[test]
fn help_is_a_sentence_with_its_range() {
    for setting in SETTINGS {
        assert!(setting.help.len() > 10 && !setting.help.ends_with('.'), "{}", setting.name);
        let (min, max) = match setting.kind {
            Kind::Integer { min, max } if max != i64::MAX && setting.obsolete.is_none() => (min, max),
            _ => continue,
        };
        assert!(setting.help.contains(&format!("{min} to {max}")), "{}", setting.name);
    }
}

type Given<'a> = &'a [(&'a str, &'a str)];

const SECURE: (&str, &str) = ("channel-url", "https://127.0.0.1:1");
const PIPE: (&str, &str) = ("real-pipe-name", "/run/hook");

/// What makes each setting differ from its default, beside what it needs to have an effect.
const SAMPLES: &[(&str, &str, Given<'_>)] = &[
    ("host", "::1", &[URL]),
    ("port", "0", &[URL]),
    ("mode", "mock", &[]),
    ("fallback", "mock", &[URL]),
    ("exchange", "dry-run", &[URL]),
    ("cassette", "a.har", &[URL, ("exchange", "record")]),
    ("latency-ms", "1", &[("mode", "mock")]),
    ("jitter-ms", "1", &[("mode", "mock")]),
    ("fail-ratio", "0.5", &[("mode", "mock")]),
    ("seed", "7", &[("mode", "mock")]),
    ("channel", "isso", &[URL]),
    ("channel-url", "http://127.0.0.1:2", &[]),
    ("channels-dir", "/nonexistent", &[URL]),
    ("native-timeout-ms", "7", &[URL]),
    ("proxy", "http://127.0.0.1:3128", &[URL]),
    ("tls-ca-file", "a.pem", &[SECURE]),
    ("tls-client-certificate", "c.pem", &[SECURE, ("tls-client-key", "c.key")]),
    ("tls-client-key", "c.key", &[SECURE, ("tls-client-certificate", "c.pem")]),
    ("real-pipe-name", "/run/hook", &[URL]),
    ("real-pipe-timeout-ms", "7000", &[URL, PIPE]),
    ("real-execution-mode", "pipe_thread", &[URL, PIPE]),
    ("real-wait-timeout-ms", "7", &[URL, PIPE]),
    ("real-arg1-mode", "other", &[URL, PIPE]),
    ("real-tls-copy", "true", &[URL, PIPE]),
    ("real-latest-sns-id", "true", &[URL, PIPE]),
    ("real-ui-command", "worker", &[URL]),
    ("ui-worker-timeout-ms", "7", &[URL, ("real-ui-command", "worker")]),
    ("default-deadline-ms", "7", &[URL]),
    ("max-batch-concurrency", "7", &[URL]),
    ("max-in-flight", "7", &[URL]),
    ("lookups-per-second", "7", &[URL]),
    ("unknown-as", "success", &[URL]),
    ("ledger", "a.db", &[URL]),
    ("retention-hours", "7", &[URL]),
    ("accept-lost-wal", "true", &[URL]),
    ("require-key", "true", &[URL]),
    ("allowed-host", "example.org", &[URL]),
    ("allow-anonymous", "true", &[URL, ("host", "0.0.0.0")]),
    ("auth-user", "u", &[URL, ("auth-password", "p")]),
    ("auth-password", "p", &[URL, ("auth-user", "u")]),
    ("auth-bearer", "n=t", &[URL]),
    ("log-level", "debug", &[URL]),
    ("log-format", "json", &[URL]),
    ("native-comment-path", "/c", &[URL]),
    ("native-authorization", "Bearer t", &[URL]),
    ("native-wxbot-wxid", "w", &[URL, ("channel", "wxbot")]),
    ("native-wxbot-api-prefix", "/a", &[URL, ("channel", "wxbot")]),
    ("native-wxbot-success-code", "0", &[URL, ("channel", "wxbot")]),
];

/// A name misspelt in a check would read as unset for ever.
#[test]
fn every_setting_takes_effect() {
    for setting in SETTINGS {
        let sample = SAMPLES.iter().find(|(name, ..)| *name == setting.name);
        let Some((name, value, with)) = sample else {
            let obsolete = [URL, (setting.name, "1")];
            let warnings = flags(&obsolete).check().unwrap().warnings;
            assert!(setting.obsolete.is_some(), "{} needs a sample", setting.name);
            assert!(warnings[0].contains(setting.name), "{warnings:?}");
            assert!(warnings[0].contains("has no effect"), "{warnings:?}");
            continue;
        };
        let look = |given: Given<'_>| match flags(given).check() {
            Ok(config) => format!("{config:?}"),
            Err(errors) => format!("{errors:?}"),
        };
        let without = look(with);
        let with = [with, [(*name, *value)].as_slice()].concat();
        assert_ne!(look(&with), without, "{name}");
    }
}

#[test]
fn the_defaults_warn_of_nothing() {
    let config = flags(&[URL]).check().unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let mock = flags(&[("mode", "mock")]).check().unwrap();
    assert!(mock.warnings.is_empty(), "{:?}", mock.warnings);
    // The defaults, given as a file, are the defaults.
    let file = DEFAULTS.replace("channel.url = \"\"", "channel.url = \"http://127.0.0.1:1\"");
    let config = Layers { file: &file, ..Layers::default() }.check();
    // Only the figures of mock, hook and UI worker are given in vain then.
    let warnings = config.unwrap().warnings;
    let about = |why: &str| warnings.iter().filter(|warning| warning.contains(why)).count();
    assert_eq!((about("--mode is native_http"), about("is not in the chain")), (4, 7), "{warnings:#?}");
    assert_eq!(warnings.len(), 11, "{warnings:#?}");
}
