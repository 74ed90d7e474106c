use super::super::channel::ChannelChoice;
use super::super::show::{as_text, rows};
use super::{Layers, URL, flags};
use commentd_channels::HttpRequest;
use commentd_delivery::{Comment, DeliveryId};
use std::fs;

fn request(choice: &ChannelChoice) -> HttpRequest {
    let scope = choice.channel.scope(Comment::default(), DeliveryId::from_bytes([0; 16]), 0);
    choice.channel.render(&scope).unwrap()
}

#[test]
fn the_address_must_be_given_and_the_error_says_how() {
    let error = flags(&[]).error();
    assert!(error.starts_with("--channel-url is missing: "), "{error}");
    for says in ["(old name --native-upstream-base-url)", "COMMENTD_CHANNEL_URL", "channel.url", "http://127"]
    {
        assert!(error.contains(says), "{error}");
    }
    let error = flags(&[("native-upstream-base-url", "ftp://h")]).error();
    assert!(error.starts_with("--native-upstream-base-url must start with http://"), "{error}");
    assert!(error.ends_with("(from flag --native-upstream-base-url)"), "{error}");
}

#[test]
fn settings_come_from_the_strongest_layer() {
    let mut layers = Layers {
        flags: &[URL, ("native-comment-path", "/old-flag")],
        sets: &["comment_path=/first", "comment_path=/set"],
        env: &[
            ("COMMENTD_CHANNEL_COMMENT_PATH", "/variable"),
            ("COMMENTD_NATIVE_COMMENT_PATH", "/old-variable"),
        ],
        file: "native_comment_path = \"/old-key\"\n[channel.settings]\ncomment_path = \"/key\"",
    };
    let path = |layers: &Layers<'_>| {
        let config = layers.check().unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        request(&config.channel.unwrap()).path_and_query
    };
    assert_eq!(path(&layers), "/set");
    layers.sets = &[];
    assert_eq!(path(&layers), "/old-flag");
    layers.flags = &[URL];
    assert_eq!(path(&layers), "/variable");
    layers.env = &[("COMMENTD_NATIVE_COMMENT_PATH", "/old-variable")];
    assert_eq!(path(&layers), "/old-variable");
    layers.env = &[];
    assert_eq!(path(&layers), "/key");
    layers.file = "native_comment_path = \"/old-key\"";
    assert_eq!(path(&layers), "/old-key");
    layers.file = "";
    assert_eq!(path(&layers), "/api/comment");
}

#[test]
fn old_flags_reach_the_channel_that_has_their_setting() {
    let given = [
        URL,
        ("native-upstream-kind", "wxbot_sendtxt"),
        ("native-wxbot-wxid", "room"),
        ("native-wxbot-api-prefix", "/v2"),
        ("native-wxbot-success-code", "0"),
        ("native-comment-path", "/api/comment"),
    ];
    let config = flags(&given).check().unwrap();
    let choice = config.channel.unwrap();
    assert_eq!(request(&choice).path_and_query, "/v2/sendtxtmsg");
    assert_eq!(choice.channel.account(), "room");
    assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    assert!(
        config.warnings[0].starts_with(
            "--native-comment-path has no effect: the channel wxbot has no setting comment_path"
        )
    );
}

#[test]
fn what_is_wrong_with_a_setting_is_told_with_its_source() {
    let isso = [URL, ("channel", "isso")];
    let layers = Layers {
        flags: &isso,
        sets: &["unmoderated=maybe", "websit=x"],
        env: &[("COMMENTD_CHANNEL_SETTLES_WITHIN_S", "soon"), ("COMMENTD_CHANNEL_AUTOR", "x")],
        file: "[channel.settings]\nemail = 5\nwxid = \"x\"",
    };
    let errors = layers.errors();
    for says in [
        "channel setting `unmoderated` must be true or false (from flag --set unmoderated)",
        "channel setting `settles_within_s` must be a whole number (from environment \
         COMMENTD_CHANNEL_SETTLES_WITHIN_S)",
        "channel setting `email` must be a text (from commentd.toml: channel.settings.email)",
        "`websit` is not a setting of the channel isso; did you mean website? (from flag --set websit)",
        "`wxid` is not a setting of the channel isso; it has: author, email",
    ] {
        assert!(errors.iter().any(|error| error.contains(says)), "{says}: {errors:#?}");
    }
    assert_eq!(errors.len(), 5, "{errors:#?}");
    let env = [("COMMENTD_CHANNEL_AUTOR", "x")];
    let warnings = Layers { flags: &isso, env: &env, ..Layers::default() }.check().unwrap().warnings;
    assert!(warnings[0].contains("COMMENTD_CHANNEL_AUTOR") && warnings[0].contains("author"), "{warnings:?}");
    let sets = ["settles_within_s=100000"];
    let error = Layers { flags: &isso, sets: &sets, ..Layers::default() }.error();
    assert!(error.contains("isso") && error.contains("0 to 86400 seconds"), "{error}");
}

#[test]
fn a_channels_secret_may_stand_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("authorization");
    // As editors of Windows write it.
    fs::write(&path, "\u{feff}Bearer s3cret\r\n").unwrap();
    let env = [("COMMENTD_CHANNEL_AUTHORIZATION_FILE", path.to_str().unwrap())];
    let layers = Layers { flags: &[URL], env: &env, ..Layers::default() };
    let config = layers.check().unwrap();
    let headers = request(&config.channel.unwrap()).headers;
    assert_eq!(headers[0].1.to_str().unwrap(), "Bearer s3cret");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let shown = layers.shown("channel.settings.authorization");
    assert_eq!(shown, ("***".into(), "environment COMMENTD_CHANNEL_AUTHORIZATION_FILE".into()));
    fs::remove_file(&path).unwrap();
    assert!(layers.error().contains("can't be opened"));
    let both = [env[0], ("COMMENTD_CHANNEL_AUTHORIZATION", "x")];
    let error = Layers { flags: &[URL], env: &both, ..Layers::default() }.error();
    assert!(error.contains("together with COMMENTD_CHANNEL_AUTHORIZATION;"), "{error}");
}

#[test]
fn ones_own_manifests_are_found_and_broken_ones_told() {
    let dir = tempfile::tempdir().unwrap();
    let board = include_str!("../../../../../channels/board.toml");
    let mine = board.replacen("name = \"board\"", "name = \"mine\"", 1);
    fs::write(dir.path().join("mine.toml"), &mine).unwrap();
    fs::write(dir.path().join("README.md"), "no manifest").unwrap();
    let channels_dir = ("channels-dir", dir.path().to_str().unwrap());
    let given = [URL, channels_dir, ("channel", "mine")];
    let config = flags(&given).check().unwrap();
    assert_eq!(config.channel.unwrap().channel.name(), "mine");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let error = flags(&[URL, channels_dir, ("channel", "min")]).error();
    assert!(error.contains("mine, generic, wxbot, isso"), "{error}");
    assert!(error.contains("is \"min\"; did you mean mine?"), "{error}");

    let lying = mine.replacen("verdict = \"throttled\"", "verdict = \"delivered\"", 1);
    fs::write(dir.path().join("mine.toml"), lying).unwrap();
    let warnings = flags(&given).check().unwrap().warnings;
    assert!(warnings[0].contains("commentd channels check"), "{warnings:?}");

    fs::write(dir.path().join("other.toml"), &mine).unwrap();
    assert!(flags(&given).error().contains("has the channel mine twice"));
    fs::write(dir.path().join("other.toml"), "manifest = 2").unwrap();
    let error = flags(&given).error();
    assert!(error.contains("--channels-dir") && error.contains("other.toml"), "{error}");
    let error = flags(&[URL, ("channels-dir", "/nonexistent")]).error();
    assert!(error.contains("can't be read") && error.contains("flag --channels-dir"), "{error}");
}

#[test]
fn an_own_manifest_takes_the_place_of_the_built_in_one() {
    let dir = tempfile::tempdir().unwrap();
    let board = include_str!("../../../../../channels/board.toml").replacen("version = 1", "version = 77", 1);
    fs::write(dir.path().join("board.toml"), board).unwrap();
    let given = [URL, ("channels-dir", dir.path().to_str().unwrap()), ("channel", "board")];
    assert_eq!(flags(&given).check().unwrap().channel.unwrap().channel.version(), 77);
}

#[test]
fn the_channel_can_be_checked_alone() {
    let written = flags(&[URL, ("host", "0.0.0.0"), ("log-level", "loud")]).load().unwrap();
    let (choice, warnings) = written.check_channel().unwrap();
    assert_eq!(choice.channel.name(), "generic");
    assert!(warnings.is_empty());
    let written = flags(&[URL, ("native-timeout-ms", "soon")]).load().unwrap();
    assert!(written.check_channel().unwrap_err()[0].to_string().contains("1 to 600000"));
}

#[test]
fn what_the_older_sidecar_took_is_taken_with_a_warning() {
    let wxbot = [
        URL,
        ("native-upstream-kind", "wxbot_sendtxt"),
        ("native-wxbot-wxid", "  room "),
        ("native-wxbot-api-prefix", "v2/"),
        ("native-timeout-ms", "0"),
        ("max-batch-concurrency", "5000"),
    ];
    let config = flags(&wxbot).check().unwrap();
    let choice = config.channel.unwrap();
    assert_eq!(request(&choice).path_and_query, "/v2/sendtxtmsg");
    assert_eq!((choice.channel.account(), choice.timeout.as_millis()), ("room", 1));
    assert_eq!(config.limits.max_batch_concurrency, 1000);
    for says in [
        "--native-timeout-ms is \"0\", which is out of range; 1 is taken",
        "--max-batch-concurrency is \"5000\", which is out of range; 1000 is taken",
        "`api_prefix` is \"v2/\" (from flag --native-wxbot-api-prefix); \"/v2\" is taken",
    ] {
        assert!(
            config.warnings.iter().any(|warning| warning.contains(says)),
            "{says}: {:#?}",
            config.warnings
        );
    }
    assert_eq!(config.warnings.len(), 3, "{:#?}", config.warnings);

    let mock = [("mode", "mock"), ("latency-ms", "-5"), ("fail-ratio", "1.5"), ("jitter-ms", "999999999")];
    let config = flags(&mock).check().unwrap();
    assert_eq!((config.mock.latency_ms, config.mock.jitter_ms), (0, 600_000));
    assert!((config.mock.fail_ratio - 1.0).abs() < f64::EPSILON && config.warnings.len() == 3);

    let config = flags(&[URL, ("native-comment-path", "api/comment/")]).check().unwrap();
    assert_eq!(request(&config.channel.unwrap()).path_and_query, "/api/comment/");
    let prefixed = Layers { flags: &wxbot[..3], sets: &["api_prefix=/api/"], ..Layers::default() };
    assert_eq!(request(&prefixed.check().unwrap().channel.unwrap()).path_and_query, "/api/sendtxtmsg");

    // What is no number was none then, and what is new is exact.
    assert!(flags(&[URL, ("native-timeout-ms", "soon")]).error().contains("whole number"));
    assert!(flags(&[URL, ("max-in-flight", "0")]).error().contains("from 1"));
    let file = Layers { flags: &[URL], file: "native_timeout_ms = 0", ..Layers::default() };
    assert!(file.error().contains("from 1"));
}

#[test]
fn a_bare_start_says_how_the_older_ones_mock_is_had() {
    assert!(flags(&[]).error().contains("--mode mock"));
}

#[test]
fn a_password_in_an_address_on_the_command_line_is_warned_of() {
    let url = [("channel-url", "http://ann:secret@127.0.0.1:1")];
    let written = flags(&url).load().unwrap();
    let (_, of_channel) = written.check_channel().unwrap();
    for warnings in [flags(&url).check().unwrap().warnings, of_channel, written.secrets_on_command_line()] {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].contains("COMMENTD_CHANNEL_URL") && !warnings[0].contains("secret"),
            "{warnings:?}"
        );
    }
    let env = [("COMMENTD_CHANNEL_URL", url[0].1)];
    assert!(Layers { env: &env, ..Layers::default() }.check().unwrap().warnings.is_empty());
}

#[test]
fn a_proxy_is_an_explicit_setting_whose_credentials_are_shown_nowhere() {
    let url = ("proxy", "http://ann:secret@proxy.example:3128");
    let both = [URL, url];
    let given = flags(&both);
    let written = given.load().unwrap();
    let (choice, of_channel) = written.check_channel().unwrap();
    assert_eq!(choice.proxy.unwrap().shown(), "http://proxy.example:3128");
    let config = given.check().unwrap();
    for warnings in [&config.warnings, &of_channel, &written.secrets_on_command_line()] {
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("COMMENTD_PROXY") && !warnings[0].contains("secret"), "{warnings:?}");
    }
    let shown = format!("{config:?}{}", as_text(&rows(&written)));
    assert!(shown.contains("proxy.example") && !shown.contains("secret"), "{shown}");
    let env = [("COMMENTD_CHANNEL_URL", URL.1), ("COMMENTD_PROXY", url.1)];
    let config = Layers { env: &env, ..Layers::default() }.check().unwrap();
    assert!(config.warnings.is_empty() && config.channel.unwrap().proxy.is_some(), "{:?}", config.warnings);
    let others = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let env: Vec<_> = others.map(|name| (name, url.1)).into_iter().chain([env[0]]).collect();
    let config = Layers { env: &env, ..Layers::default() }.check().unwrap();
    assert!(config.channel.unwrap().proxy.is_none());
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_without_its_credentials() {
    for (text, says) in [
        ("https://ann:secret@proxy.example", "--proxy must start with http://: TLS to a proxy itself"),
        ("ann:secret@proxy.example:3128", "--proxy must start with http://"),
        ("http://ann:secret@proxy.example/x", "--proxy must have nothing behind host and port"),
    ] {
        let both = [URL, ("proxy", text)];
        let error = flags(&both).error();
        assert!(error.starts_with(says), "{error}");
        assert!(!error.contains("secret"), "{error}");
        let shown = as_text(&rows(&flags(&both).load().unwrap()));
        assert!(shown.contains("***@proxy.example") && !shown.contains("secret"), "{shown}");
    }
}

#[test]
fn a_client_certificate_goes_with_its_key_and_neither_with_plain_http() {
    let secure = ("channel-url", "https://h");
    let error = flags(&[secure, ("tls-client-certificate", "c.pem")]).error();
    assert!(error.starts_with("--tls-client-key is missing: "), "{error}");
    let error = flags(&[secure, ("tls-client-key", "c.key")]).error();
    assert!(error.starts_with("--tls-client-certificate is missing: "), "{error}");
    let files =
        [secure, ("tls-client-key", "c.key"), ("tls-client-certificate", "c.pem"), ("tls-ca-file", "a.pem")];
    let tls = flags(&files).check().unwrap().channel.unwrap().tls;
    assert_eq!(tls.ca, Some("a.pem".into()));
    assert_eq!(tls.client, Some(("c.pem".into(), "c.key".into())));
    let warnings = flags(&[URL, ("tls-ca-file", "a.pem")]).check().unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("https://")), "{warnings:?}");
}
