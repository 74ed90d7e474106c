use super::super::layers::{Environment, load};
use super::super::show;
use super::{Layers, URL, flags};
use std::fs;

#[test]
fn flags_beat_the_environment_beats_the_file_beats_the_defaults() {
    let mut layers = Layers {
        flags: &[("port", "1")],
        env: &[("COMMENTD_PORT", "2")],
        file: "port = 3",
        ..Layers::default()
    };
    let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    assert_eq!(layers.shown("port"), pair("1", "flag --port"));
    layers.flags = &[];
    assert_eq!(layers.shown("port"), pair("2", "environment COMMENTD_PORT"));
    layers.env = &[];
    assert_eq!(layers.shown("port"), pair("3", "commentd.toml: port"));
    layers.file = "";
    assert_eq!(layers.shown("port"), pair("19080", "default"));
}

#[test]
fn an_empty_value_is_unset_in_every_layer() {
    let layers = Layers {
        flags: &[("host", " "), ("native-upstream-base-url", ""), ("auth-user", ""), ("auth-password", "")],
        env: &[("COMMENTD_HOST", " "), ("COMMENTD_CHANNEL_URL", "http://127.0.0.1:2"), ("COMMENTD_PORT", "")],
        file: "host = \"127.0.0.3\"\nallowed_host = []\nlog_level = \"\"\nport = \"\"",
        sets: &["comment_path=", "authorization="],
    };
    let config = layers.check().unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.3:19080");
    assert_eq!(config.channel.unwrap().base_url.shown(), "http://127.0.0.1:2");
    assert!(config.callers.is_empty());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn the_last_of_a_flag_wins_whatever_name_it_has() {
    let layers = flags(&[URL, ("channel", "isso"), ("native-upstream-kind", "wxbot_sendtxt")]);
    assert_eq!(layers.shown("channel").1, "flag --native-upstream-kind");
    let config = layers.check().unwrap();
    assert_eq!(config.channel.unwrap().channel.name(), "wxbot");
    let env = [("COMMENTD_NATIVE_UPSTREAM_KIND", "isso"), ("COMMENTD_NATIVE_UPSTREAM_BASE_URL", "http://h")];
    let config = Layers { env: &env, ..Layers::default() }.check().unwrap();
    assert_eq!(config.channel.unwrap().channel.name(), "isso");
    assert!(config.warnings.is_empty());
}

#[test]
fn unknown_keys_are_told_with_what_was_probably_meant() {
    let error = |file: &str| {
        let errors = Layers { file, ..Layers::default() }.load().unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].to_string()
    };
    let near = error("ledgr = \"a.db\"");
    assert_eq!(near, "ledgr is not a key; did you mean `ledger`? (from commentd.toml: ledgr)");
    for (file, says) in [
        ("colour = 1", "the keys are host, port"),
        ("channel = \"isso\"", "`channel.name`"),
        ("native_upstream_base_url = \"x\"", "`channel.url`"),
        ("channel.nam = \"isso\"", "`channel.name`"),
        ("[ledger]\nfile = \"x\"", "must be a text"),
        ("port = true", "must be a whole number"),
        ("port = 1.5", "must be a whole number"),
        ("require_key = 1", "true or false"),
        ("allowed_host = [1]", "array of texts"),
        ("ledger = 1979-05-27", "a text in quotes"),
    ] {
        let error = error(file);
        assert!(error.contains(says) && error.contains("commentd.toml"), "{file}: {error}");
    }
    let all = Layers { file: "aaa = 1\nbbb = 2", ..Layers::default() }.load().unwrap_err();
    assert_eq!(all.len(), 2);
}

#[test]
fn a_broken_file_is_told_by_line_and_never_quoted() {
    let broken = Layers { file: "port = 1\nauth_password = \"s3cret\n", ..Layers::default() }.error();
    assert!(broken.contains("commentd.toml") && broken.contains("line 2"), "{broken}");
    assert!(!broken.contains("s3cret"), "{broken}");
}

#[test]
fn a_named_file_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.toml");
    let from_flag = || load(vec![], vec![], Some(path.clone()), &Environment::default());
    let error = from_flag().unwrap_err()[0].to_string();
    assert!(error.contains("mine.toml") && error.contains("flag --config"), "{error}");
    fs::write(&path, "port = 7").unwrap();
    assert_eq!(from_flag().unwrap().settings.port.shown(), "7");
    let env = Environment::of([("COMMENTD_CONFIG", path.to_str().unwrap())]);
    let written = load(vec![], vec![], None, &env).unwrap();
    assert_eq!(written.settings.port.shown(), "7");
    assert!(written.warnings().is_empty());
    fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    assert!(from_flag().unwrap_err()[0].to_string().contains("too large"));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(from_flag().unwrap_err()[0].to_string().contains("not UTF-8"));
}

#[test]
fn strange_flags_are_errors_and_strange_variables_warnings() {
    let error = flags(&[("prot", "1")]).load().unwrap_err()[0].to_string();
    assert!(error.contains("--prot") && error.contains("did you mean --port?"), "{error}");
    let env = [("COMMENTD_LEDGR", "x"), ("COMMENTD_E2E", "require"), ("PYWEIXIN_OTHER", "x")];
    let warnings = Layers { flags: &[URL], env: &env, ..Layers::default() }.check().unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("COMMENTD_LEDGR") && warnings[0].contains("did you mean COMMENTD_LEDGER?"));
}

#[test]
fn old_flags_without_a_meaning_are_accepted_and_warned_of() {
    let given = [URL, ("real-ui-window-title", "x"), ("native-batch-path", "/b"), ("real-tls-copy", "false")];
    let warnings = flags(&given).check().unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    for (warning, says) in warnings.iter().zip([
        "--real-ui-window-title has no effect",
        "--real-tls-copy has no effect: real_hook is not in the chain",
        "--native-batch-path has no effect: batches always fan out",
    ]) {
        assert!(warning.contains(says), "{warning}");
    }
    let env = [("PYWEIXIN_HOOK_PIPE_NAME", "pipe")];
    let config = Layers { flags: &[URL], env: &env, ..Layers::default() }.check().unwrap();
    assert!(config.hook.is_some_and(|hook| hook.pipe_name == "pipe") && config.warnings.is_empty());
}

#[test]
fn a_variable_may_name_a_file_that_holds_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    fs::write(&path, "s3cret\n").unwrap();
    let path = path.to_str().unwrap();
    let mut env = vec![("COMMENTD_AUTH_PASSWORD_FILE", path), ("COMMENTD_AUTH_USER", "ann")];
    let config = Layers { flags: &[URL], env: &env, ..Layers::default() }.check().unwrap();
    assert_eq!(config.callers[0].name, "ann");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    env.push(("COMMENTD_AUTH_PASSWORD", "other"));
    let both = Layers { flags: &[URL], env: &env, ..Layers::default() }.error();
    assert!(both.contains("together with COMMENTD_AUTH_PASSWORD;"), "{both}");
    let env = [("COMMENTD_AUTH_BEARER_FILE", "/nonexistent")];
    let missing = Layers { flags: &[URL], env: &env, ..Layers::default() }.error();
    assert!(missing.contains("COMMENTD_AUTH_BEARER_FILE") && missing.contains("/nonexistent"), "{missing}");
}

#[test]
fn secrets_are_seen_nowhere() {
    let layers = Layers {
        flags: &[
            ("channel-url", "http://u:s3cret@h/p"),
            ("native-authorization", "s3cret"),
            ("auth-user", "u"),
            ("auth-password", "s3cret"),
        ],
        sets: &["authorization=s3cret"],
        env: &[("COMMENTD_CHANNEL_AUTHORIZATION", "s3cret"), ("COMMENTD_AUTH_BEARER", "n=s3cret")],
        file: "auth_bearer = \"x=s3cret\"\n[channel.settings]\nauthorization = \"s3cret\"",
    };
    let written = layers.load().unwrap();
    let rows = show::rows(&written);
    let config = layers.check().unwrap();
    let seen = format!(
        "{written:?} {} {} {config:?} {:?}",
        show::as_text(&rows),
        show::as_json(&rows),
        Environment::of(layers.env.iter().copied())
    );
    assert!(!seen.contains("s3cret"), "{seen}");
    assert!(seen.contains("http://***@h/p"), "{seen}");
    // Four stand on the command line, and each is said to.
    let visible = config.warnings.iter().filter(|w| w.contains("other users of this machine"));
    assert_eq!(visible.count(), 4, "{:#?}", config.warnings);
    for broken in [
        Layers { flags: &[("ledger", "postgres://u:s3cret@h/db"), URL], ..Layers::default() },
        Layers { flags: &[("auth-bearer", "s3cret"), URL], ..Layers::default() },
        Layers { flags: &[("auth-bearer", "n=s3cret é"), URL], ..Layers::default() },
        Layers { flags: &[("auth-password", "s3cret\n"), ("auth-user", "u"), URL], ..Layers::default() },
        Layers { flags: &[("auth-password", "s3cret"), URL], ..Layers::default() },
        Layers { flags: &[("channel-url", "u:s3cret@h")], ..Layers::default() },
        Layers { flags: &[("channel-url", "http://u:s3cret@h?k=s3cret")], ..Layers::default() },
        Layers { flags: &[("host", "http://u:s3cret@h"), URL], ..Layers::default() },
        Layers { flags: &[URL], sets: &["s3cret"], ..Layers::default() },
        Layers {
            flags: &[URL],
            file: "[channel.settings]\nexplicit_failure_means_absent = \"s3cret\"",
            ..Layers::default()
        },
    ] {
        let errors = format!("{:?} {:?}", broken.errors(), broken.check().unwrap_err());
        assert!(!errors.contains("s3cret"), "{errors}");
    }
}

#[test]
fn config_show_tells_values_and_sources() {
    let written = Layers {
        flags: &[("channel", "isso"), ("ledger", "a\u{1b}[31m.db")],
        env: &[("COMMENTD_CHANNEL_AUTHOR", "Ann")],
        file: "channel.settings.website = \"https://example.org\"",
        ..Layers::default()
    };
    let rows = show::rows(&written.load().unwrap());
    let json = show::as_json(&rows);
    let row = |name: &str| json.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone();
    assert_eq!(row("channel")["value"], "isso");
    assert_eq!(row("channel.settings.author")["source"], "environment COMMENTD_CHANNEL_AUTHOR");
    assert_eq!(row("channel.settings.website")["source"], "commentd.toml: channel.settings.website");
    assert_eq!(row("channel.settings.settles_within_s")["value"], "30");
    assert!(
        !json.to_string().contains("real-ui-timeout"),
        "what has no effect isn't shown unless it is given"
    );
    let text = show::as_text(&rows);
    assert!(text.contains("flag --channel") && !text.contains('\u{1b}'), "{text}");
    let unknown = Layers { flags: &[("channel", "no")], sets: &["a=s3cret"], ..Layers::default() };
    assert_eq!(unknown.shown("channel.settings.a").0, "***");
}
