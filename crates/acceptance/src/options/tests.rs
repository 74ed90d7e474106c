use super::*;
use clap::Parser;
use secrecy::ExposeSecret;
use std::io::Write;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: AcceptArgs,
}

fn args(line: &str) -> AcceptArgs {
    Cli::try_parse_from(std::iter::once("accept").chain(line.split_whitespace())).unwrap().args
}

fn check(line: &str, env: &[(&str, &str)]) -> Result<AcceptOptions, AcceptError> {
    args(line).check(&|name| env.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned()))
}

fn refusal(line: &str, env: &[(&str, &str)]) -> String {
    check(line, env).map(|_| ()).unwrap_err().to_string()
}

fn authorization(line: &str, env: &[(&str, &str)]) -> Option<String> {
    check(line, env).unwrap().authorization.map(|secret| secret.expose_secret().to_owned())
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_command_line_is_well_formed() {
    use clap::CommandFactory;
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_those_of_the_help() {
    let options = check("", &[]).unwrap();
    assert_eq!((options.rounds, options.count, options.concurrency), (5, 10, 10));
    assert_eq!((options.target_ms, options.round_interval_ms, options.timeout_ms), (1000, 300, 1200));
    assert_eq!((options.comment_prefix.as_str(), options.provider), ("acc", ProviderName::NativeHttp));
    assert_eq!(options.base_url.as_str(), "http://127.0.0.1:19080/");
    assert_eq!(
        (options.comment_path.as_str(), options.batch_path.as_str()),
        ("/api/comment", "/api/comment/batch")
    );
    assert!(options.fail_fast && !options.verify && !options.require_provider_match);
    assert!(options.authorization.is_none());
    assert_eq!(options.addressing, Addressing::default());
    assert_eq!(options.warnings, Vec::<String>::new(), "the defaults warn of nothing");
}

#[test]
fn more_than_five_rounds_are_refused_unless_soaking() {
    let message = refusal("--rounds 6", &[]);
    assert_eq!(
        message,
        "--rounds (from the command line): is \"6\", must be 1 to 5; more than 5 rounds need --soak"
    );
    assert_eq!(check("--rounds 5", &[]).unwrap().rounds, 5);
    assert_eq!(check("--rounds 100000 --soak", &[]).unwrap().rounds, 100_000);
    assert!(refusal("--rounds 100001 --soak", &[]).contains("1 to 100000 with --soak"));
    assert!(refusal("--rounds 0 --soak", &[]).contains("--rounds"));
}

#[test]
fn refusals_name_the_flag_its_source_and_what_is_allowed() {
    for (line, env, parts) in [
        ("--count 0", vec![], ["--count", "command line", "1 to 1000"]),
        ("--count 1001", vec![], ["--count", "\"1001\"", "1 to 1000"]),
        ("--count ten", vec![], ["--count", "\"ten\"", "whole number"]),
        ("--concurrency 0", vec![], ["--concurrency", "\"0\"", "1 to "]),
        ("--target-ms 0", vec![], ["--target-ms", "\"0\"", "1 to 3600000 ms"]),
        ("--http-timeout-ms 0", vec![], ["--http-timeout-ms", "command line", "1 to 600000 ms"]),
        (
            "",
            vec![("PYWEIXIN_HTTP_TIMEOUT_MS", "1.5")],
            ["--http-timeout-ms", "from PYWEIXIN_HTTP_TIMEOUT_MS in the environment", "\"1.5\""],
        ),
        (
            "",
            vec![("PYWEIXIN_HTTP_PROVIDER", "wxbot")],
            ["--http-provider", "PYWEIXIN_HTTP_PROVIDER", "mock, native_http, real_hook, real_ui"],
        ),
        ("--http-batch-path /a?b", vec![], ["--http-batch-path", "\"/a?b\"", "path"]),
        ("--http-base-url https://h", vec![], ["--http-base-url", "command line", "https:// is not spoken"]),
        ("--http-base-url ftp://h", vec![], ["--http-base-url", "ftp", "http://127.0.0.1:19080"]),
        ("--http-base-url nonsense", vec![], ["--http-base-url", "no URL", "http://127.0.0.1:19080"]),
        ("--http-base-url http://h/?a=b", vec![], ["--http-base-url", "query", "http://127.0.0.1:19080"]),
        ("--verify", vec![], ["--verify", "command line", "--sns-id"]),
        ("one --target-author other", vec![], ["--target-author", "\"other\"", "\"one\""]),
        ("--context-file /nowhere/x", vec![], ["--context-file", "/nowhere/x", "opened"]),
    ] {
        let message = refusal(line, &env);
        for part in parts {
            assert!(message.contains(part), "{line} {env:?}: {message:?} lacks {part:?}");
        }
    }
    let prefix = AcceptArgs { comment_prefix: Some("a\nb".into()), ..AcceptArgs::default() };
    assert!(prefix.check(&|_| None).unwrap_err().to_string().starts_with("--comment-prefix"));
}

#[test]
fn no_refusal_shows_a_secret() {
    let message = refusal("--http-base-url https://user:hunter2@h", &[]);
    assert!(!message.contains("hunter2"), "{message}");
    let message = refusal("", &[("PYWEIXIN_HTTP_AUTHORIZATION", "Bearer hun\nter2")]);
    assert!(message.contains("PYWEIXIN_HTTP_AUTHORIZATION") && !message.contains("ter2"), "{message}");
    let options = check("--http-authorization hunter2 --http-base-url http://u:hunter3@h", &[]).unwrap();
    assert!(!format!("{options:?}").contains("hunter"), "{options:?}");
}

#[test]
fn the_command_line_goes_before_the_environment_and_empty_is_unset() {
    let env = [
        ("PYWEIXIN_HTTP_BASE_URL", "http://env:1"),
        ("PYWEIXIN_HTTP_TIMEOUT_MS", "700"),
        ("PYWEIXIN_HTTP_BATCH_PATH", "env/batch"),
        ("PYWEIXIN_HTTP_COMMENT_PATH", "/env/one"),
        ("PYWEIXIN_HTTP_PROVIDER", " Real_Hook "),
    ];
    let options = check("--target-ms 700", &env).unwrap();
    assert_eq!((options.base_url.as_str(), options.timeout_ms), ("http://env:1/", 700));
    assert_eq!((options.batch_path.as_str(), options.comment_path.as_str()), ("/env/batch", "/env/one"));
    assert_eq!(options.provider, ProviderName::RealHook);

    let options =
        check("--http-base-url http://flag:2 --http-timeout-ms= --http-provider mock", &env).unwrap();
    assert_eq!((options.base_url.as_str(), options.timeout_ms), ("http://flag:2/", 700));
    assert_eq!(options.provider, ProviderName::Mock);
    assert_eq!(check("", &[("PYWEIXIN_HTTP_TIMEOUT_MS", " ")]).unwrap().timeout_ms, 1200);
}

#[test]
fn credentials_come_from_the_first_that_has_them() {
    // base64 of "u:p"
    let basic = || Some("Basic dTpw".to_owned());
    let user = [("PYWEIXIN_HTTP_USER", "u"), ("PYWEIXIN_HTTP_PASSWORD", "p")];
    assert_eq!(authorization("", &user), basic());
    assert_eq!(authorization("", &[("PYWEIXIN_HTTP_PASSWORD", "p")]), None);
    assert_eq!(authorization("", &[("PYWEIXIN_HTTP_AUTH_BASIC", "dTpw"), user[0]]), basic());
    assert_eq!(authorization("", &[("PYWEIXIN_HTTP_AUTH_BASIC", "u:p")]), basic());
    let all = [("PYWEIXIN_HTTP_AUTHORIZATION", "Bearer e"), ("PYWEIXIN_HTTP_AUTH_BASIC", "u:p")];
    assert_eq!(authorization("", &all).as_deref(), Some("Bearer e"));
    assert_eq!(authorization("--http-authorization f", &all).as_deref(), Some("f"));
    assert_eq!(authorization("--http-base-url http://u:p@h", &[]), basic());
    let options = check("--http-base-url http://u:p@h/x/", &[]).unwrap();
    assert_eq!(
        (options.base_url.as_str(), options.base_url_shown.as_str()),
        ("http://h/x/", "http://***@h/x")
    );
}

#[test]
fn the_context_file_fills_what_flags_leave_empty() {
    let context = file(r#"{"sns_id":"s","author":"a","content_hash":"h","reply_to":"r","captured_at":7}"#);
    let line = format!("--context-file {} --content-hash mine", context.path().display());
    let to = check(&line, &[]).unwrap().addressing;
    assert_eq!((to.sns_id.as_str(), to.author.as_str()), ("s", "a"));
    assert_eq!((to.content_hash.as_str(), to.reply_to.as_str()), ("mine", "r"));
    assert_eq!(check(&format!("me {line}"), &[]).unwrap().addressing.author, "me");

    let older = file(r#"{"latest_sns_id":"s2","target_author":"a2","content_hash":""}"#);
    let line = format!("--use-latest-context --context-file {}", older.path().display());
    let to = check(&line, &[]).unwrap().addressing;
    assert_eq!((to.sns_id.as_str(), to.author.as_str()), ("s2", "a2"));

    for bad in ["[]", r#"{"sns_id":7}"#, "{", ""] {
        let bad = file(bad);
        let message = refusal(&format!("--context-file {}", bad.path().display()), &[]);
        assert!(message.starts_with("--context-file ") && message.contains("sns_id, author"), "{message}");
    }
    let huge = file(&" ".repeat(70_000));
    assert!(refusal(&format!("--context-file {}", huge.path().display()), &[]).contains("65536 bytes"));
}

#[test]
fn the_latest_context_leaves_the_target_empty() {
    let options = check("--use-latest-context", &[]).unwrap();
    assert!(options.use_latest_context && options.addressing.sns_id.is_empty());
    let warnings = check("--use-latest-context --sns-id s", &[]).unwrap().warnings;
    assert!(warnings[0].starts_with("--use-latest-context has no effect"), "{warnings:?}");
}

#[test]
fn contents_are_texts_within_the_contracts_limit() {
    let good = file(r#"["a","","\u0000\"💥"]"#);
    let options = check(&format!("--contents-file {}", good.path().display()), &[]).unwrap();
    assert_eq!(options.contents, ["a", "", "\0\"💥"]);
    let long = "x".repeat(MAX_CONTENT_BYTES - NAME_BYTES - "acc".len() + 1);
    for (bad, part) in [
        ("[]", "at least one"),
        (r#"{"a":1}"#, "array of texts"),
        ("[1]", "array of texts"),
        (&format!("[\"ok\",\"{long}\"]"), "text 2 is too long"),
    ] {
        let bad = file(bad);
        let message = refusal(&format!("--contents-file {}", bad.path().display()), &[]);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_last_of_the_fail_fast_flags_wins() {
    assert!(!check("--no-fail-fast", &[]).unwrap().fail_fast);
    assert!(check("--no-fail-fast --fail-fast", &[]).unwrap().fail_fast);
    assert!(!check("--fail-fast --no-fail-fast", &[]).unwrap().fail_fast);
}

#[test]
fn settings_without_effect_warn() {
    for (line, part) in [
        ("--http-comment-path /x", "--http-comment-path has no effect"),
        ("--http-authorization x", "PYWEIXIN_HTTP_AUTHORIZATION"),
        ("--http-timeout-ms 500", "--http-timeout-ms 500 is under --target-ms 1000"),
    ] {
        let warnings = check(line, &[]).unwrap().warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(part), "{line}: {warnings:?}");
    }
}

#[test]
fn the_latest_context_is_read_where_there_is_one() {
    let latest = file(r#"{"latest_sns_id":"captured","target_author":"Ann","content_hash":"h"}"#);
    let target = |line: &str| {
        let mut warnings = Vec::new();
        let target = args(line).target(&|_| None, latest.path(), &mut warnings).unwrap();
        (target.sns_id, target.author, warnings.len())
    };
    assert_eq!(target("--use-latest-context"), ("captured".into(), "Ann".into(), 0));
    assert_eq!(target("--use-latest-context --sns-id s"), ("s".into(), "Ann".into(), 0));
    assert_eq!(target(""), (String::new(), String::new(), 0));
    let broken = file("[]");
    let error = args("--use-latest-context").target(&|_| None, broken.path(), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("--use-latest-context "), "{error}");
}

#[test]
fn more_than_five_rounds_need_soak_and_the_refusal_says_so() {
    assert!(refusal("--rounds 10", &[]).contains("--soak"));
    assert_eq!(check("--rounds 10 --soak", &[]).unwrap().rounds, 10);
}

#[test]
fn a_password_on_the_command_line_is_warned_of() {
    let warnings = check("--http-base-url http://u:secret@127.0.0.1:1", &[]).unwrap().warnings;
    assert!(
        warnings[0].contains("PYWEIXIN_HTTP_BASE_URL") && !warnings[0].contains("secret"),
        "{warnings:?}"
    );
}
