use super::super::clap::{GivenFlags, clap_args, clap_args_of_channel, take_old_ui_flags};
use clap::{ArgMatches, Command};
use std::ffi::OsString;

fn parse(args: &[&str]) -> ArgMatches {
    Command::new("serve").args(clap_args()).try_get_matches_from([&["serve"], args].concat()).unwrap()
}

fn pairs(given: &[(String, String)]) -> Vec<(&str, &str)> {
    given.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[test]
fn the_command_is_sound() {
    Command::new("serve").args(clap_args()).debug_assert();
    Command::new("accept").args(clap_args_of_channel()).debug_assert();
}

#[test]
fn only_what_is_given_is_given() {
    assert!(GivenFlags::of(&parse(&[])).flags.is_empty());
    let matches = parse(&[
        "--native-upstream-kind=isso",
        "--port",
        "1",
        "--port",
        "2",
        "--require-key",
        "--allow-anonymous=false",
        "--host",
        "",
        "--native-wxbot-success-code",
        "-1",
        "--set",
        "a=1",
        "--set",
        "b=2",
        "--config",
        "x.toml",
    ]);
    let expected = [
        ("host", ""),
        ("port", "2"),
        ("channel", "isso"),
        ("require-key", "true"),
        ("allow-anonymous", "false"),
        ("native-wxbot-success-code", "-1"),
    ];
    assert_eq!(pairs(&GivenFlags::of(&matches).flags), expected);
    assert_eq!(GivenFlags::of(&matches).sets, ["a=1", "b=2"]);
    assert_eq!(GivenFlags::of(&matches).config_file.unwrap().to_str(), Some("x.toml"));
}

#[test]
fn a_switch_takes_no_word_that_follows_it() {
    let matches = parse(&["--require-key", "--mode", "mock", "--mode", "", "--unknown-as", "nonsense"]);
    let expected = [("mode", ""), ("unknown-as", "nonsense"), ("require-key", "true")];
    assert_eq!(pairs(&GivenFlags::of(&matches).flags), expected);
}

#[test]
fn the_last_of_a_switch_and_its_opposite_wins() {
    for (args, value) in [
        (&["--real-tls-copy", "--no-real-tls-copy"][..], "false"),
        (&["--no-real-tls-copy", "--real-tls-copy"][..], "true"),
        (&["--no-real-tls-copy", "--no-real-tls-copy"][..], "false"),
    ] {
        assert_eq!(pairs(&GivenFlags::of(&parse(args)).flags), [("real-tls-copy", value)], "{args:?}");
    }
}

#[test]
fn help_shows_headings_old_names_and_defaults() {
    let help = Command::new("serve").args(clap_args()).term_width(200).render_long_help().to_string();
    for says in [
        "Deadlines and limits:",
        "--native-upstream-kind",
        "[default: 1200]",
        "[possible values: live, dry-run, record, replay]",
        "--no-real-tls-copy",
        "Old flags:",
    ] {
        assert!(help.contains(says), "{says} isn't in\n{help}");
    }
    let short = Command::new("serve").args(clap_args()).render_help().to_string();
    assert!(!short.contains("--real-batch-strategy"), "{short}");
}

#[test]
fn a_command_without_these_arguments_gives_nothing() {
    let matches = Command::new("other").try_get_matches_from(["other"]).unwrap();
    assert!(
        GivenFlags::of(&matches).flags.is_empty()
            && GivenFlags::of(&matches).sets.is_empty()
            && GivenFlags::of(&matches).config_file.is_none()
    );
}

#[test]
fn old_ui_flags_of_every_name_are_taken_out() {
    let take = |line: &str| {
        let (rest, taken) = take_old_ui_flags(line.split(' ').map(OsString::from));
        let rest: Vec<String> = rest.into_iter().map(|arg| arg.into_string().unwrap()).collect();
        (rest.join(" "), taken)
    };
    let (rest, taken) = take(
        "commentd serve --real-ui-title=a --port 1 --real-ui-delay-ms 5 --real-ui-fast --real-ui-timeout-ms 7 \
         --no-real-ui-slow --real-ui-command x",
    );
    assert_eq!(rest, "commentd serve --port 1 --real-ui-timeout-ms 7 --real-ui-command x");
    let expected = [
        ("real-ui-title", "a"),
        ("real-ui-delay-ms", "5"),
        ("real-ui-fast", "true"),
        ("real-ui-slow", "false"),
    ];
    assert_eq!(pairs(&taken), expected);
    for other in ["commentd post --real-ui-title a", "commentd post serve --real-ui-title a", "commentd"] {
        assert_eq!(take(other), (other.to_owned(), Vec::new()));
    }
}
