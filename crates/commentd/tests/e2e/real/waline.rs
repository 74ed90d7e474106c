//! Waline, as npm has it, on a SQLite file whose tables the test makes.

use super::{
    Channel, Group, Turn, ability, assert_fifty_once, assert_goal_passed, assert_told, assert_verdict,
    counted, free_address, installed, post, proxy, turn, work,
};
use crate::support::{HttpClient, at, wait_for};
use commentd_channels::Ability;
use proxy::Way;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// With an administrator and another user.
struct Waline {
    url: String,
    administrator: String,
    user: String,
    _server: Group,
    directory: TempDir,
    _turn: Turn,
}

/// A row of Waline's own table.
#[derive(Debug, PartialEq)]
struct Stored {
    text: String,
    status: String,
    pid: Option<i64>,
    rid: Option<i64>,
}

impl Waline {
    /// With these settings in its environment; `None`, loudly, where it isn't installed and needn't be.
    fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let program = work("servers/node_modules/@waline/vercel/vanilla.js");
        if !installed("Waline", &[(&program, "scripts/test")]) {
            return None;
        }
        let turn = turn();
        let directory = tempfile::tempdir().unwrap();
        let tables = Connection::open(directory.path().join("waline.sqlite")).unwrap();
        tables.execute_batch(include_str!("waline/tables.sql")).unwrap();
        drop(tables);
        let address = free_address();
        let mut command = Command::new("node");
        command.arg("--require").arg(ours("loopback.js")).arg(&program).arg(address.port().to_string());
        command.env("SQLITE_PATH", directory.path()).env("SQLITE_DB", "waline").env("JWT_TOKEN", "tests");
        // Nobody outside is asked, and posts may follow each other at once.
        command.env("AKISMET_KEY", "false").env("OAUTH_URL", r#"data:application/json,{"services":[]}"#);
        command.env("DISABLE_REGION", "true").env("DISABLE_USERAGENT", "true").env("IPQPS", "-60");
        command.envs(settings.iter().copied());
        let log = std::fs::File::create(directory.path().join("waline.log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(Stdio::from(log));
        let server = Group::start(&mut command);
        let url = format!("http://{address}");
        let client = HttpClient::new(&url);
        wait_for("Waline to answer", || {
            std::net::TcpStream::connect(address).is_ok() && client.get("/api/comment?path=/x").status == 200
        });
        // The first who comes is the administrator.
        let [administrator, user] = ["admin@example.org", "ann@example.org"].map(|email| {
            let who = json!({"email": email, "password": "unused", "display_name": "Ann", "url": ""});
            assert_eq!(client.post("/api/user", &who).status, 200);
            at(&client.post("/api/token", &who).json(), "data.token").as_str().unwrap().to_owned()
        });
        Some(Self { url, administrator, user, _server: server, directory, _turn: turn })
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A directory for another sidecar's ledger.
    fn fresh(&self, name: &str) -> PathBuf {
        let directory = self.directory().join(name);
        std::fs::create_dir(&directory).unwrap();
        directory
    }

    /// For a guest, without a marker.
    fn plain(&self) -> Channel {
        Channel { name: "waline", url: self.url.clone(), settings: Vec::new(), secrets: Vec::new() }
    }

    /// For a guest, with a marker.
    fn channel(&self) -> Channel {
        self.plain().with("nick", "Ann").with("website", "https://example.org")
    }

    /// Every comment in whatever state, as it stands in Waline's own table.
    fn stored(&self) -> Vec<Stored> {
        let base = Connection::open(self.directory().join("waline.sqlite")).unwrap();
        base.busy_timeout(crate::support::PATIENCE).unwrap();
        let columns = "SELECT comment, status, pid, rid FROM wl_Comment ORDER BY id";
        let mut rows = base.prepare(columns).unwrap();
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Stored { text: row.get(0)?, status: row.get(1)?, pid: row.get(2)?, rid: row.get(3)? })
        };
        rows.query_map([], read).unwrap().map(Result::unwrap).collect()
    }

    fn texts(&self) -> HashMap<String, u32> {
        counted(self.stored().iter().map(|comment| comment.text.as_str()))
    }
}

fn ours(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/real/waline").join(file)
}

fn comment(content: &str) -> Value {
    json!({"content": content, "sns_id": "/p/1"})
}

#[test]
fn fifty_of_fifty_comments_are_there_exactly_once() {
    let Some(waline) = Waline::start(&[]) else { return };
    let channel = waline.channel();
    let sidecar = channel.serve(waline.directory());
    assert_goal_passed(&channel.accept(&sidecar, "/p/1", waline.directory(), &[]));
    assert_fifty_once(&waline.texts());
    assert!(waline.stored().iter().all(|comment| comment.status == "approved"));
}

#[test]
fn a_guests_comments_await_moderation_and_are_there_exactly_once() {
    let Some(waline) = Waline::start(&[("COMMENT_AUDIT", "true")]) else { return };
    let sidecar = waline.channel().serve(waline.directory());
    // Who reads back must see what is held.
    let reader = waline.channel().with_secret("moderator_token", &waline.administrator);
    assert_goal_passed(&reader.accept(&sidecar, "/p/1", waline.directory(), &[]));
    assert_fifty_once(&waline.texts());
    assert!(waline.stored().iter().all(|comment| comment.status == "waiting"));
    assert_told(&post(&sidecar, &comment("held, too")), "held", 0);
}

#[test]
fn an_administrators_lookups_settle_what_was_cut_even_where_it_is_held() {
    let Some(waline) = Waline::start(&[("COMMENT_AUDIT", "true")]) else { return };
    let proxy = proxy::before(&waline.url, proxy::some_cut);
    let channel = waline.channel().by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let channel = channel.with_secret("moderator_token", &waline.administrator);
    let sidecar = channel.serve(waline.directory());
    proxy::assert_all_settled(&sidecar, &proxy, "/p/1", "held");
    proxy::assert_each_there_once(&waline.texts());
}

#[test]
fn a_guests_lookups_settle_what_was_cut_where_nothing_is_moderated() {
    let Some(waline) = Waline::start(&[]) else { return };
    let proxy = proxy::before(&waline.url, proxy::some_cut);
    let channel = waline.channel().by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let sidecar = channel.with("unmoderated", "true").serve(waline.directory());
    proxy::assert_all_settled(&sidecar, &proxy, "/p/1", "delivered");
    proxy::assert_each_there_once(&waline.texts());
}

#[test]
fn what_was_cut_stays_unknown_where_lookups_see_only_approved_comments() {
    let Some(waline) = Waline::start(&[("COMMENT_AUDIT", "true")]) else { return };
    let proxy = proxy::before(&waline.url, |sent| [Way::ReplyLost, Way::RequestLost][sent % 2]);
    let channel = waline.channel().by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let sidecar = channel.serve(waline.directory());
    for key in ["stored", "lost"] {
        let comment = json!({"content": key, "sns_id": "/p/1", "idempotency_key": key, "deadline_ms": 4000});
        assert_told(&post(&sidecar, &comment), "unknown", 51);
        // The caller that asks again learns no more, and nothing is sent again.
        assert_told(&post(&sidecar, &comment), "unknown", 51);
    }
    assert_eq!(proxy.seen().requests_with("POST /api/comment"), 2);
    assert_eq!(waline.texts(), counted(["stored"].into_iter()));
}

#[test]
fn answers_find_their_parent_and_an_error_that_stores_stays_unknown() {
    let Some(waline) = Waline::start(&[]) else { return };
    // With all that could settle it: even so, an answer without its thread is seen by no lookup.
    let channel = waline.channel().with("settles_within_s", "0.5").with("unmoderated", "true");
    let sidecar = channel.with_secret("moderator_token", &waline.administrator).serve(waline.directory());
    let say = |content: &str, reply_to: &str| {
        let comment = json!({"content": content, "sns_id": "/p/1", "reply_to": reply_to,
            "idempotency_key": content.replace(' ', "-"), "deadline_ms": 6000});
        post(&sidecar, &comment)
    };
    for (content, reply_to) in [("root", ""), ("answer", "1"), ("answer to the answer", "1/2")] {
        assert_told(&say(content, reply_to), "delivered", 0);
    }
    for _ in 0..2 {
        let orphan = say("orphan", "99");
        assert_told(&orphan, "unknown", 55);
    }
    let places: Vec<_> = waline.stored().iter().map(|one| (one.rid, one.pid)).collect();
    assert_eq!(places, [(None, None), (Some(1), Some(1)), (Some(1), Some(2)), (Some(99), Some(99))]);
}

#[test]
fn refusals_are_told_as_what_they_are() {
    let Some(waline) = Waline::start(&[("FORBIDDEN_WORDS", "casino")]) else { return };
    // The marker makes each comment another one, so a duplicate is provoked without.
    let sidecar = waline.plain().serve(waline.directory());
    assert_told(&post(&sidecar, &comment("the same")), "delivered", 0);
    let duplicate = post(&sidecar, &comment("the same"));
    assert_verdict(&duplicate, "duplicate", "1000");
    assert_told(&duplicate, "refused", 52);
    let spam = post(&sidecar, &comment("come to the casino"));
    assert_told(&spam, "misplaced", 57);
    let homeless = post(&sidecar, &json!({"content": "nowhere", "sns_id": ""}));
    assert_verdict(&homeless, "refused", "1001");
    let stored: Vec<_> = waline.stored().into_iter().map(|one| (one.text, one.status)).collect();
    let expected = [("the same", "approved"), ("come to the casino", "spam")];
    assert_eq!(stored, expected.map(|(text, status)| (text.to_owned(), status.to_owned())));
}

#[test]
fn the_pace_is_told_as_throttling_by_its_words() {
    let Some(waline) = Waline::start(&[("IPQPS", "60")]) else { return };
    let sidecar = waline.channel().serve(waline.directory());
    assert_told(&post(&sidecar, &comment("the first")), "delivered", 0);
    let throttled =
        post(&sidecar, &json!({"content": "at once another", "sns_id": "/p/1", "deadline_ms": 20_000}));
    assert_verdict(&throttled, "throttled", "1000");
    assert_told(&throttled, "not_sent", 53);
    assert_eq!(waline.texts(), counted(["the first"].into_iter()));
}

#[test]
fn users_comment_and_a_token_that_is_none_is_told_before_and_never_counts_as_delivered() {
    let Some(waline) = Waline::start(&[]) else { return };
    let known = waline.plain().with_secret("token", &waline.user);
    assert!(matches!(ability(&known), Ability::Able), "{:?}", ability(&known));
    let sidecar = known.serve(&waline.fresh("known"));
    assert_told(&post(&sidecar, &comment("as a user")), "delivered", 0);

    let unknown = waline.plain().with_secret("token", "expired");
    assert!(matches!(ability(&unknown), Ability::NotAble(_)), "{:?}", ability(&unknown));
    let sidecar = unknown.serve(&waline.fresh("unknown"));
    let told = post(&sidecar, &comment("as nobody"));
    // Sent all the same, it is stored as a guest's, and that is told.
    let outcome = if waline.texts().contains_key("as nobody") { "misplaced" } else { "not_sent" };
    assert_eq!(at(&told, "data.outcome"), outcome, "{told:#}");
}

#[test]
fn guests_are_denied_where_only_users_comment() {
    let Some(waline) = Waline::start(&[("LOGIN", "force")]) else { return };
    let sidecar = waline.channel().serve(waline.directory());
    let denied = post(&sidecar, &comment("from a guest"));
    assert_told(&denied, "not_sent", 54);
    assert_verdict(&denied, "denied", "401");
    assert_eq!(waline.stored(), []);
}
