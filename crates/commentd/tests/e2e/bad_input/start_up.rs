//! Settings that can't be used: exit 2, and a line that names the setting and what to do.

use crate::support::{PATIENCE, Program, Sidecar};
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// Where the schema's version stands in the header of an SQLite file, big-endian.
const USER_VERSION: std::ops::Range<usize> = 60..64;
/// Enough to start, but for what a test breaks.
const UPSTREAM: [&str; 4] = ["--channel", "board", "--channel-url", "http://127.0.0.1:9"];

struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it wrote to stderr before it ended with 2; a command that goes on running fails the test.
fn refusal(mut command: Command) -> String {
    let mut child = Ending(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut stderr = child.0.stderr.take().unwrap();
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.0.try_wait().unwrap() {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "{command:?} started");
        std::thread::park_timeout(std::time::Duration::from_millis(5));
    };
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(2), "{command:?} said {said}");
    said
}

fn serve(args: &[&str]) -> Command {
    Program::command(["serve", "--port", "0"].iter().chain(args))
}

/// It ends with 2 and says all of these.
fn refuses(what: &str, command: Command, says: &[&str]) {
    let said = refusal(command);
    for part in says {
        assert!(said.contains(part), "{what}: {part:?} isn't in {said}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The manifest of the board, to be spoilt.
fn board_manifest() -> String {
    stdout(&Program::run(["channels", "show", "board", "--toml"]))
}

#[test]
fn flags_that_cant_be_used_are_named_with_what_is_allowed() {
    let rows: [(&[&str], &[&str]); 12] = [
        (&[], &["--channel-url", "is missing", "COMMENTD_CHANNEL_URL", "channel.url"]),
        (&["--frobnicate"], &["--frobnicate", "--help"]),
        (&["--mode", "mock", "--port", "70000"], &["--port", "0 to 65535", "70000"]),
        (&["--mode", "mock", "--fail-ratio", "half"], &["--fail-ratio", "0 to 1", "\"half\""]),
        (&["--mode", "nonsense"], &["--mode", "native_http", "nonsense"]),
        (&["--mode", "real_ui"], &["--real-ui-command", "is missing", "COMMENTD_REAL_UI_COMMAND"]),
        (
            &["--mode", "mock", "--host", "0.0.0.0"],
            &["--host", "no auth", "--auth-user", "--allow-anonymous"],
        ),
        (
            &["--channel", "bord", "--channel-url", "http://127.0.0.1:9"],
            &["--channel", "did you mean board?"],
        ),
        (&["--channel-url", "127.0.0.1:9"], &["--channel-url", "http://"]),
        (&[&UPSTREAM[..], &["--set", "colour=red"]].concat(), &["colour", "board", "author", "--set"]),
        (&["--mode", "mock", "--auth-user", "bot"], &["--auth-password", "is missing", "--auth-user"]),
        (
            &["--mode", "mock", "--ledger", "postgres://u:p@h/d"],
            &["--ledger", "PostgreSQL", "a file, or memory"],
        ),
    ];
    for (args, says) in rows {
        refuses(&args.join(" "), serve(args), says);
    }
}

#[test]
fn every_wrong_setting_is_told_at_once_with_its_source() {
    let mut command = serve(&["--mode", "mock", "--fail-ratio", "half"]);
    command.env("COMMENTD_MAX_IN_FLIGHT", "none").env("COMMENTD_LOG_LEVEL", "loud");
    let says = [
        "flag --fail-ratio",
        "environment COMMENTD_MAX_IN_FLIGHT",
        "environment COMMENTD_LOG_LEVEL",
        "trace",
    ];
    refuses("three settings", command, &says);
}

#[test]
fn an_unknown_key_in_the_configuration_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, "mode = \"mock\"\ndefalt_deadline_ms = 3\n").unwrap();
    let says = ["defalt_deadline_ms", "did you mean `default_deadline_ms`?", "mine.toml"];
    refuses("--config", serve(&["--config", text(&file)]), &says);

    let mut command = serve(&[]);
    command.env("COMMENTD_CONFIG", &file);
    refuses("COMMENTD_CONFIG", command, &says);

    std::fs::rename(&file, dir.path().join("commentd.toml")).unwrap();
    let mut command = serve(&[]);
    command.current_dir(dir.path());
    refuses("the working directory", command, &["defalt_deadline_ms", "commentd.toml"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let command = Program::command(["serve", "--mode", "mock", "--port", &port]);
    refuses("the port", command, &["--port", &port, "taken", "another port"]);
}

#[test]
fn a_ledger_that_is_no_ledger_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("notes.txt");
    std::fs::write(&notes, "not a database, but somebody's notes\n".repeat(100)).unwrap();
    let before = std::fs::read(&notes).unwrap();
    let missing = dir.path().join("no/such/folder/ledger.db");
    for (ledger, says) in [
        (dir.path(), ["is a folder", "--ledger"]),
        (&notes, ["left as it is", "--ledger"]),
        (&missing, ["folder isn't there", "--ledger"]),
    ] {
        let args = [&UPSTREAM[..], &["--ledger", text(ledger)]].concat();
        refuses(text(ledger), serve(&args), &[text(ledger), says[0], says[1]]);
    }
    assert_eq!(std::fs::read(&notes).unwrap(), before);
}

#[test]
fn a_ledger_of_a_newer_commentd_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let first = Sidecar::for_channel("board", "http://127.0.0.1:9", dir.path(), &[]);
    assert!(first.terminate().success());
    let mut bytes = std::fs::read(&ledger).unwrap();
    bytes[USER_VERSION].copy_from_slice(&999_u32.to_be_bytes());
    std::fs::write(&ledger, &bytes).unwrap();
    let args = [&UPSTREAM[..], &["--ledger", text(&ledger)]].concat();
    refuses("a newer one", serve(&args), &[text(&ledger), "999", "newer commentd", "--ledger"]);
    assert!(std::fs::read(&ledger).unwrap() == bytes, "the file was changed");
}

#[test]
fn rehearsals_and_live_deliveries_dont_share_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let (live, rehearsal) = (dir.path().join("ledger.db"), dir.path().join("rehearsal.db"));
    assert!(Sidecar::for_channel("board", "http://127.0.0.1:9", dir.path(), &[]).terminate().success());
    assert!(Sidecar::start(&["--mode", "mock", "--ledger", text(&rehearsal)]).terminate().success());
    let opened_live = [&UPSTREAM[..], &["--ledger", text(&rehearsal)]].concat();
    refuses("opened live", serve(&opened_live), &[text(&rehearsal), "rehearsal", "live", "--ledger"]);
    let rehearsed = ["--mode", "mock", "--ledger", text(&live)];
    refuses("rehearsed", serve(&rehearsed), &[text(&live), "rehearsal", "live", "--ledger"]);
}

#[test]
fn a_ledger_that_another_sidecar_holds_is_refused_by_naming_the_holder() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = dir.path().join("ledger.db");
    let holder = Sidecar::for_channel("board", "http://127.0.0.1:9", dir.path(), &[]);
    let args = [&UPSTREAM[..], &["--ledger", text(&ledger)]].concat();
    let says = [text(&ledger), &format!("process {}", holder.id()), &holder.url, "--ledger"];
    refuses("a second sidecar", serve(&args), &says);
}

#[test]
fn a_manifest_with_a_misspelt_key_is_named_with_file_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.toml");
    let manifest = board_manifest().replace("receipt = ", "reciept = ").replace("\"board\"", "\"own\"");
    std::fs::write(&file, manifest).unwrap();
    let args =
        ["--channels-dir", text(dir.path()), "--channel", "own", "--channel-url", "http://127.0.0.1:9"];
    refuses("the manifest", serve(&args), &["--channels-dir", text(&file), "reciept"]);
    let checked = Program::run(["channels", "check", text(&file)]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(stdout(&checked).contains("reciept"), "{}", stdout(&checked));
}

#[test]
fn channels_are_listed_shown_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.toml");
    std::fs::write(&file, board_manifest().replace("name = \"board\"", "name = \"own\"")).unwrap();

    let listed = Program::run(["channels", "list", "--json", "--channels-dir", text(dir.path())]);
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap()).collect();
    for name in ["own", "generic", "wxbot", "isso", "board"] {
        assert!(names.contains(&name), "{name} isn't among {names:?}");
    }
    let table = stdout(&Program::run(["channels", "list"]));
    assert!(table.contains("\n generic ") && !table.contains("\n own "), "{table}");

    let shown = stdout(&Program::run(["channels", "show", "generic"]));
    for part in ["target (sns_id)", "reply (reply_to)", "comment_path", "authorization", "/api/comment"] {
        assert!(shown.contains(part), "{part:?} isn't in {shown}");
    }
    let mut unknown = Program::command(["channels", "show", "own"]);
    unknown.current_dir(dir.path());
    refuses("a channel that isn't there", unknown, &["own", "generic"]);

    let checked = Program::run(["channels", "check", text(&file)]);
    assert_eq!(checked.status.code(), Some(0), "{}", stdout(&checked));
    assert_eq!(Program::run(["channels", "check"]).status.code(), Some(0));
    let absent = dir.path().join("absent.toml");
    refuses("no such file", Program::command(["channels", "check", text(&absent)]), &[text(&absent)]);
}

#[test]
fn a_manifest_whose_example_lies_fails_its_check_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.toml");
    let honest = board_manifest();
    let receipt = "body = '{\"id\":\"12\",\"error\":\"empty_text\"}' }\nverdict = ";
    for (lie, says) in [
        (honest.replace("\nverdict = \"throttled\"", "\nverdict = \"delivered\""), "\"throttled\": expects"),
        // An effect-none example must not carry a receipt.
        (
            honest.replace(&format!("{receipt}\"unknown\""), &format!("{receipt}\"refused\"")),
            "a receipt (12)",
        ),
    ] {
        assert_ne!(lie, honest, "the example that was to lie isn't there any more");
        std::fs::write(&file, lie).unwrap();
        let checked = Program::run(["channels", "check", text(&file)]);
        let said = stdout(&checked);
        assert_eq!(checked.status.code(), Some(1), "{said}");
        assert!(said.contains(says) && said.contains(text(&file)), "{said}");
    }
}
