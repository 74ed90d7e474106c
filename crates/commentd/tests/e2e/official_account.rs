//! An Official Account's answers to readers, before a stand-in that is written from what the platform documents:
//! tokens that run out, quotas, one answer for each reader's comment, and replies that say "busy" or never come.

use crate::support::{Program, ServingProcess, at, wait_for};
use commentd_test_support::server::{ScriptedServer, ServedConnection, reply};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Readers' comments on the one article; more than a page of the list has.
const READERS: u64 = 60;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is stored, and the connection ends without a reply.
    Cut,
    /// The minute's quota is used up.
    Quota,
    /// "Busy", and it was stored.
    BusyStored,
    /// "Busy", and it wasn't stored.
    BusyLost,
}

/// What the platform knows.
#[derive(Default)]
struct Platform {
    /// The number of the token that is good.
    token: u32,
    token_calls: u32,
    forced_calls: u32,
    /// The answers, by the reader's comment.
    answers: BTreeMap<u64, String>,
    /// How many answers it was sent with a good token.
    received: u32,
    fates: VecDeque<Fate>,
}

struct Rig {
    sidecar: ServingProcess,
    platform: Arc<Mutex<Platform>>,
    _server: ScriptedServer,
    _directory: TempDir,
}

impl Rig {
    fn start(fates: &[Fate]) -> Self {
        let platform =
            Arc::new(Mutex::new(Platform { fates: fates.iter().copied().collect(), ..Platform::default() }));
        let shared = Arc::clone(&platform);
        let server = ScriptedServer::start(move |talk| while serve(talk, &shared).is_some() {});
        let directory = tempfile::tempdir().unwrap();
        let url = server.url();
        let mut command = Program::command(["serve", "--port", "0", "--channel", "wechat_official"]);
        command.args([
            "--channel-url",
            &url,
            "--set",
            "appid=wx1",
            "--set",
            "settles_within_s=0.3",
            "--ledger",
        ]);
        command.arg(directory.path().join("ledger.db")).env("COMMENTD_CHANNEL_SECRET", "s3cret");
        let sidecar = ServingProcess::start(command);
        Self { sidecar, platform, _server: server, _directory: directory }
    }

    /// Answers a reader's comment.
    fn answer(&self, reader: u64, content: &str, key: &str) -> Value {
        let body = json!({"content": content, "sns_id": "2247483650/1", "reply_to": reader.to_string(),
            "idempotency_key": key, "deadline_ms": 20_000});
        self.sidecar.client().comment(&body).json()
    }

    /// Asks under the same key until the answer is certain.
    fn answer_until_certain(&self, reader: u64, content: &str, key: &str) -> Value {
        let mut told = Value::Null;
        wait_for("the answer to be certain", || {
            told = self.answer(reader, content, key);
            at(&told, "data.outcome") != "unknown"
        });
        told
    }

    fn platform<T>(&self, look: impl FnOnce(&mut Platform) -> T) -> T {
        look(&mut self.platform.lock().unwrap())
    }
}

/// Handles one request; `None` when the connection is to end.
fn serve(talk: &mut ServedConnection, platform: &Mutex<Platform>) -> Option<()> {
    let request = talk.request()?;
    let (head, body) = request.split_once("\r\n\r\n")?;
    let body: Value = serde_json::from_str(body).unwrap();
    let path = head.split(' ').nth(1)?.to_owned();
    let mut platform = platform.lock().unwrap();
    let said = if path == "/cgi-bin/stable_token" {
        platform.give_token(&body)
    } else if path.split_once("?access_token=T").is_none_or(|(_, token)| token != platform.token.to_string())
    {
        json!({"errcode": 42001, "errmsg": "access_token expired"})
    } else if path.starts_with("/cgi-bin/comment/list?") {
        platform.list(&body)
    } else {
        assert!(path.starts_with("/cgi-bin/comment/reply/add?"), "{path}");
        platform.add(&body)?
    };
    talk.say(&reply("200 OK", "", &said.to_string()));
    Some(())
}

impl Platform {
    fn give_token(&mut self, body: &Value) -> Value {
        assert_eq!((&body["appid"], &body["secret"]), (&json!("wx1"), &json!("s3cret")));
        self.token_calls += 1;
        if body["force_refresh"] == true {
            self.forced_calls += 1;
            self.token += 1;
        }
        json!({"access_token": format!("T{}", self.token), "expires_in": 7200})
    }

    fn list(&self, body: &Value) -> Value {
        assert_eq!((&body["msg_data_id"], &body["index"]), (&json!(2_247_483_650_u64), &json!(1)));
        let (begin, count) = (body["begin"].as_u64().unwrap(), body["count"].as_u64().unwrap());
        assert!(count < 50);
        let shown = (1..=READERS).skip(usize::try_from(begin).unwrap()).take(usize::try_from(count).unwrap());
        let comments = shown.map(|id| match self.answers.get(&id) {
            None => json!({"user_comment_id": id, "content": "nice"}),
            Some(text) => json!({"user_comment_id": id, "content": "nice", "reply": {"content": text}}),
        });
        json!({"errcode": 0, "errmsg": "ok", "total": READERS, "comment": comments.collect::<Vec<_>>()})
    }

    /// `None` if the connection ends instead.
    fn add(&mut self, body: &Value) -> Option<Value> {
        self.received += 1;
        let (reader, text) = (body["user_comment_id"].as_u64().unwrap(), body["content"].as_str().unwrap());
        if self.answers.contains_key(&reader) {
            return Some(json!({"errcode": 88005, "errmsg": "already reply"}));
        }
        let fate = self.fates.pop_front();
        if !matches!(fate, Some(Fate::Quota | Fate::BusyLost)) {
            self.answers.insert(reader, text.to_owned());
        }
        match fate {
            None => Some(json!({"errcode": 0, "errmsg": "ok"})),
            Some(Fate::Cut) => None,
            Some(Fate::Quota) => Some(json!({"errcode": 45011, "errmsg": "api minute-quota reach limit"})),
            Some(Fate::BusyStored | Fate::BusyLost) => Some(json!({"errcode": -1, "errmsg": "system error"})),
        }
    }
}

#[track_caller]
fn assert_outcome(reply: &Value, outcome: &str) {
    assert_eq!(at(reply, "data.outcome"), outcome, "{reply:#}");
}

#[test]
fn a_token_that_ran_out_is_renewed_once_for_all_and_every_answer_is_given_once() {
    let rig = Rig::start(&[]);
    assert_outcome(&rig.answer(1, "thanks", "first"), "delivered");
    rig.platform(|platform| platform.token += 1);
    let answering = |reader: u64| rig.answer(reader, "thanks", &format!("k{reader}"));
    let told: Vec<Value> = std::thread::scope(|scope| {
        let threads: Vec<_> = (2..=9).map(|reader| scope.spawn(move || answering(reader))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for told in &told {
        assert_outcome(told, "delivered");
    }
    let renewed = told.iter().filter(|told| at(told, "data.attempts.0.error_code") == 54).count();
    assert!(renewed >= 1, "nobody met the token that ran out: {told:#?}");
    rig.platform(|platform| {
        assert_eq!((platform.token_calls, platform.forced_calls), (2, 1));
        assert_eq!((platform.received, platform.answers.len()), (9, 9));
    });
}

#[test]
fn a_used_up_quota_sends_nothing_and_tells_when_to_come_again() {
    let rig = Rig::start(&[Fate::Quota]);
    let told = rig.answer(1, "thanks", "k");
    assert_outcome(&told, "not_sent");
    assert_eq!(told["error_code"], 53, "{told:#}");
    assert_eq!(at(&told, "data.provider_error_code"), "45011", "{told:#}");
    rig.platform(|platform| assert_eq!((platform.received, platform.answers.len()), (1, 0)));
    // The same delivery under the same key, once there is quota again.
    assert_outcome(&rig.answer(1, "thanks", "k"), "delivered");
    rig.platform(|platform| assert_eq!((platform.received, platform.answers.len()), (2, 1)));
}

#[test]
fn what_a_cut_connection_left_unknown_is_found_in_its_place_and_nobody_elses_answer_is() {
    let rig = Rig::start(&[Fate::Cut]);
    // On the list's second page.
    let told = rig.answer_until_certain(55, "thanks", "k");
    assert_outcome(&told, "delivered");
    assert_eq!(at(&told, "data.comment_id"), "2247483650/1/55", "{told:#}");
    rig.platform(|platform| assert_eq!((platform.received, platform.answers.len()), (1, 1)));
    // 88005: another delivery for the same place, even with the same words, has stored nothing.
    for (words, key) in [("thanks", "other"), ("other words", "another")] {
        let told = rig.answer(55, words, key);
        assert_outcome(&told, "refused");
        assert_eq!(at(&told, "data.attempts.0.verdict"), "duplicate", "{told:#}");
        assert_eq!(at(&told, "data.provider_error_code"), "88005", "{told:#}");
    }
    rig.platform(|platform| assert_eq!(platform.answers[&55], "thanks"));
}

#[test]
fn busy_is_looked_up_whether_it_was_stored_or_not() {
    let rig = Rig::start(&[Fate::BusyStored, Fate::BusyLost]);
    assert_outcome(&rig.answer_until_certain(1, "thanks", "stored"), "delivered");
    rig.platform(|platform| assert_eq!(platform.received, 1));
    // Lost: two looks at its empty place prove that it isn't there, and then it is sent again.
    let mut told = rig.answer_until_certain(2, "thanks", "lost");
    if at(&told, "data.outcome") == "not_sent" {
        told = rig.answer(2, "thanks", "lost");
    }
    assert_outcome(&told, "delivered");
    rig.platform(|platform| assert_eq!((platform.received, platform.answers.len()), (3, 2)));
}
