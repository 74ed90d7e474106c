//! A channel of one's own: started by `channels new`, tried by `channels try`.

use crate::support::{Board, Program};
use std::process::Output;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_new_manifest_passes_its_own_check_and_is_never_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let new =
        || Program::run(["channels", "new", "mine", "--channels-dir", directory.path().to_str().unwrap()]);
    let made = new();
    assert!(made.status.success(), "{}", said(&made));
    let file = directory.path().join("mine.toml");
    let checked = Program::run(["channels", "check", file.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", said(&checked));
    let again = new();
    assert_eq!(again.status.code(), Some(2));
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    let odd = Program::run(["channels", "new", "../Mine"]);
    assert!(odd.status.code() == Some(2) && said(&odd).contains("lower-case"), "{}", said(&odd));
}

#[test]
fn a_broken_manifest_points_at_its_line_and_key() {
    let directory = tempfile::tempdir().unwrap();
    Program::run(["channels", "new", "mine", "--channels-dir", directory.path().to_str().unwrap()]);
    let file = directory.path().join("mine.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    for (from, to, says) in [
        ("receipt = \"at('id')\"", "reciept = \"at('id')\"", vec!["reciept", "receipt"]),
        ("version = 1", "version = \"one\"", vec!["expected", "version = \"one\""]),
        ("when = \"status == 429", "when = \"status = 429", vec!["verdict[1].when", "status = 429"]),
        ("kind = \"bearer\"", "kind = \"header\"", vec!["auth.name: is missing"]),
        ("text = \"content\"", "text = \"content|\"", vec!["send.body.text"]),
        (
            "verdict = \"throttled\"",
            "verdict = \"refused\"",
            vec!["too fast", "expects refused, is throttled"],
        ),
    ] {
        assert!(good.contains(from), "{from}");
        std::fs::write(&file, good.replacen(from, to, 1)).unwrap();
        let checked = Program::run(["channels", "check", file.to_str().unwrap()]);
        let said = said(&checked);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains("mine.toml:") || said.contains("line "), "{said}");
        for part in says {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

const TOKEN: &str = r#"
[settings.token]
type = "secret"
default = ""
help = "the token"
[auth]
kind = "bearer"
secret = "settings.token"
"#;

#[test]
fn one_comment_is_tried_with_everything_shown_but_the_secrets() {
    let board = Board::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let manifest = include_str!("../../../../channels/board.toml");
    let manifest = manifest.replacen("name = \"board\"", "name = \"mine\"", 1) + TOKEN;
    std::fs::write(directory.path().join("mine.toml"), manifest).unwrap();
    let tried = |more: &[&str]| {
        let mut command = Program::command(["channels", "try", "mine", "hello there", "--sns-id", "t"]);
        command.args(["--channels-dir", directory.path().to_str().unwrap(), "--channel-url", &board.url]);
        command.args(more).env("COMMENTD_CHANNEL_TOKEN", "s3cr3t");
        let output = command.output().unwrap();
        (output.status.code(), said(&output))
    };
    let (code, dry) = tried(&["--exchange", "dry-run"]);
    assert_eq!(code, Some(0), "{dry}");
    for part in ["nothing was sent", "hello there", "authorization: ***"] {
        assert!(dry.contains(part), "{part}: {dry}");
    }
    assert!(Board::comments(&board.url, "t").is_empty());
    let (code, live) = tried(&[]);
    assert_eq!(code, Some(0), "{live}");
    for part in ["request: POST http://", "reply: HTTP 201", "verdict: delivered", "lookup: found, delivered"]
    {
        assert!(live.contains(part), "{part}: {live}");
    }
    assert!(!live.contains("s3cr3t") && !dry.contains("s3cr3t"), "{live}");
    let comments = Board::comments(&board.url, "t");
    assert!(comments.len() == 1 && comments[0]["text"] == "hello there", "{comments:?}");
    let (code, refused) = tried(&["--reply-to", "999"]);
    assert_eq!(code, Some(1), "{refused}");
    assert!(refused.contains("verdict: refused (code 52)"), "{refused}");
}
