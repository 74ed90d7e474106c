//! `/api/deliveries`: seeing, settling and forgetting.

use crate::support::rig::{assert_outcome, comment};
use crate::support::{HttpClient, Program, RawResponse, Rig, Sidecar, at};
use serde_json::{Value, json};

/// The first comment is stored and not answered; the v1 shape has no lookup, so it stays unknown.
const CUT: &str = "[[fault]]\nkind = \"cut_after\"\nrequests = [1]";

fn unknown_rig(args: &[&str]) -> (Rig, String) {
    let rig = Rig::over("generic", CUT, &[], args);
    let told = rig.post(&comment("lost", "k"));
    assert_outcome(&told, "unknown", false);
    let id = at(&told, "data.delivery_id").as_str().unwrap().to_owned();
    (rig, id)
}

fn resolve(client: &HttpClient, id: &str, said: &Value) -> RawResponse {
    client.post(&format!("/api/deliveries/{id}/resolve"), said)
}

#[track_caller]
fn assert_refused(answer: &RawResponse, status: u16, code: u64, says: &str) {
    let json = answer.json();
    assert_eq!(
        (answer.status, json["error_code"].as_u64(), &json["ok"]),
        (status, Some(code), &json!(false)),
        "{json:#}"
    );
    assert!(json["error_message"].as_str().unwrap().contains(says), "{json:#}");
    assert_eq!(json["data"], json!({}));
}

#[test]
fn a_person_sees_and_settles_what_is_unknown() {
    let (rig, id) = unknown_rig(&[]);
    let client = rig.client();
    rig.post(&comment("there", "other"));

    let listed = client.get("/api/deliveries?outcome=unknown").json();
    let deliveries = at(&listed, "data.deliveries").as_array().unwrap();
    assert_eq!(deliveries.len(), 1, "{listed:#}");
    assert_eq!(deliveries[0]["id"], id.as_str());
    let all = client.get("/api/deliveries?limit=10").json();
    let keys: Vec<&Value> =
        at(&all, "data.deliveries").as_array().unwrap().iter().map(|d| &d["idempotency_key"]).collect();
    assert_eq!(keys, ["other", "k"], "newest first");

    let shown = client.get(&format!("/api/deliveries/{id}?candidates=true")).json();
    assert_eq!(at(&shown, "data.comment.content"), "lost", "{shown:#}");
    assert_eq!(at(&shown, "data.comment.sns_id"), "t");
    let attempt = at(&shown, "data.attempts.0");
    assert_eq!((&attempt["channel"], &attempt["number"]), (&json!("generic"), &json!(1)));
    assert_eq!(attempt["base_url"], rig.board.url.as_str());
    assert_eq!(attempt["resolution"], Value::Null);
    assert!(at(&shown, "data.candidates.error").as_str().unwrap().contains("no lookup"), "{shown:#}");

    let early = resolve(&client, &id, &json!({"outcome": "not_sent", "by": "Ann"}));
    assert_refused(&early, 409, 10, "look again in");
    let resolved =
        resolve(&client, &id, &json!({"outcome": "delivered", "comment_id": "1", "by": "Ann"})).json();
    assert_eq!(at(&resolved, "data.outcome"), "delivered", "{resolved:#}");
    assert_eq!(at(&resolved, "data.comment_id"), "1");
    assert_eq!(at(&resolved, "data.attempts.0.resolution.by"), "person");
    assert_eq!(at(&resolved, "data.attempts.0.resolution.name"), "Ann");
    let again = resolve(&client, &id, &json!({"outcome": "held", "by": "Ann"}));
    assert_refused(&again, 409, 10, "certain");

    // The caller that asks again gets it, after a kill as well.
    let replayed = rig.post(&comment("lost", "k"));
    assert_outcome(&replayed, "delivered", true);
    assert_eq!(at(&replayed, "data.comment_id"), "1");
    let rig = rig.killed_and_restarted();
    assert_outcome(&rig.post(&comment("lost", "k")), "delivered", true);
    assert_eq!(rig.received(), 2);
}

#[test]
fn forgotten_content_is_gone_and_its_key_still_answers() {
    let rig = Rig::start("", &[]);
    let told = rig.post(&comment("secret words", "k"));
    let id = at(&told, "data.delivery_id").as_str().unwrap();
    let forgotten = rig.client().post(&format!("/api/deliveries/{id}/forget"), &json!({})).json();
    assert_eq!(*at(&forgotten, "data.comment"), Value::Null, "{forgotten:#}");
    assert_eq!(at(&forgotten, "data.outcome"), "delivered");
    assert_outcome(&rig.post(&comment("secret words", "k")), "delivered", true);
    let other = rig.client().comment(&comment("other words", "k"));
    assert_eq!(other.status, 422, "{}", other.json());
    let file = std::fs::read(rig.ledger()).unwrap();
    assert!(!file.windows(12).any(|bytes| bytes == b"secret words"), "it is overwritten");
}

#[test]
fn bad_requests_are_told_what_is_wrong() {
    let (rig, id) = unknown_rig(&[]);
    let client = rig.client();
    assert_refused(&client.get("/api/deliveries?outcome=lost"), 400, 10, "outcome");
    assert_refused(&client.get("/api/deliveries?limit=many"), 400, 10, "query");
    assert_refused(&client.get("/api/deliveries?limit=1001"), 400, 10, "0 to 1000");
    assert_refused(&client.get("/api/deliveries?outcom=unknown"), 400, 10, "outcom");
    assert_refused(&client.get("/api/deliveries/abc"), 400, 10, "32 hexadecimal digits");
    assert_refused(&client.get(&format!("/api/deliveries/{}", "0".repeat(32))), 404, 10, "no such delivery");
    assert_refused(&client.get(&format!("/api/deliveries/{id}?candidates=perhaps")), 400, 10, "query");
    assert_refused(&resolve(&client, &id, &json!({"outcome": "held"})), 400, 10, "by");
    assert_refused(&resolve(&client, &id, &json!({"outcome": "lost", "by": "A"})), 400, 10, "outcome");
    assert_refused(
        &resolve(&client, &"0".repeat(32), &json!({"outcome": "held", "by": "A"})),
        404,
        10,
        "no such",
    );
    assert_refused(&client.post("/api/deliveries", &json!({})), 405, 10, "GET");
    let settling = client.get(&format!("/api/deliveries/{id}/resolve"));
    assert_refused(&settling, 405, 10, "POST");
    assert_eq!(settling.header("allow"), Some("POST"));
    let nothing = client.get("/api/deliveries?key=nobodys").json();
    assert_eq!(at(&nothing, "data.deliveries"), &json!([]));
}

#[test]
fn a_caller_sees_and_settles_only_its_own() {
    let rig = Rig::over("generic", CUT, &[], &["--auth-bearer", "bot=b0t,tool=t00l"]);
    let client = rig.client();
    let with = |method: &str, path: &str, token: &str, body: &Value| {
        let authorization = format!("Bearer {token}");
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        client.request(method, path, &headers, body.to_string().as_bytes())
    };
    let told = with("POST", "/api/comment", "b0t", &comment("lost", "k"));
    assert_eq!(told.status, 200, "{}", told.json());
    let told = told.json();
    let id = at(&told, "data.delivery_id").as_str().unwrap();
    let path = format!("/api/deliveries/{id}");

    assert_eq!(client.get(&path).status, 401);
    assert_eq!(client.get("/api/deliveries").status, 401);
    let listed = |token: &str, path: &str| {
        let answer = with("GET", path, token, &json!({}));
        at(&answer.json(), "data.deliveries").as_array().unwrap().len()
    };
    for path in ["/api/deliveries", "/api/deliveries?key=k", "/api/deliveries?outcome=unknown"] {
        assert_eq!((listed("b0t", path), listed("t00l", path)), (1, 0), "{path}");
    }
    let said = json!({"outcome": "delivered", "by": "Ann"});
    for (method, path) in
        [("GET", path.clone()), ("POST", format!("{path}/resolve")), ("POST", format!("{path}/forget"))]
    {
        assert_refused(&with(method, &path, "t00l", &said), 404, 10, "no such delivery");
    }
    let resolved = with("POST", &format!("{path}/resolve"), "b0t", &said);
    assert_eq!((resolved.status, at(&resolved.json(), "data.caller")), (200, &json!("bot")));
}

/// `commentd deliveries` with these arguments, on this ledger; exit code, stdout, stderr.
fn deliveries(rig: &Rig, args: &[&str]) -> (Option<i32>, String, String) {
    on_ledger(&rig.ledger(), args)
}

fn on_ledger(ledger: &std::path::Path, args: &[&str]) -> (Option<i32>, String, String) {
    let ledger = ["--ledger", ledger.to_str().unwrap()];
    let mut command = Program::command(["deliveries"].iter().chain(args).chain(&ledger));
    command.env("USER", "Ann").env_remove("NO_COLOR");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_goes_through_the_sidecar_that_holds_the_ledger() {
    let (rig, id) = unknown_rig(&[]);
    rig.post(&comment("there", "other"));
    let (code, listed, _) = deliveries(&rig, &["list"]);
    assert_eq!((code, listed.lines().count()), (Some(0), 3), "{listed}");
    let (code, listed, _) = deliveries(&rig, &["list", "--outcome", "unknown"]);
    assert_eq!(code, Some(0));
    assert!(listed.contains(&id) && listed.contains("lost") && !listed.contains("there"), "{listed}");
    let (_, listed, _) = deliveries(&rig, &["list", "--key", "other", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["outcome"]), (1, &json!("delivered")));

    // By its first digits; with no lookup, the channel can't be asked.
    let (code, shown, _) = deliveries(&rig, &["show", &id[..12]]);
    assert_eq!(code, Some(0), "{shown}");
    for part in [id.as_str(), "unknown", "lost", "native_http generic", "can't be asked"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, _, refused) = deliveries(&rig, &["resolve", &id, "--outcome", "not_sent"]);
    assert!(code == Some(1) && refused.contains("look again in"), "{code:?} {refused}");
    let settling = ["resolve", &id, "--outcome", "delivered", "--comment-id", "1", "--json"];
    let (code, resolved, _) = deliveries(&rig, &settling);
    let resolved: Value = serde_json::from_str(&resolved).unwrap();
    assert_eq!((code, &resolved["outcome"]), (Some(0), &json!("delivered")), "{resolved:#}");
    assert_eq!(at(&resolved, "attempts.0.resolution.name"), "Ann");
    let (code, _, refused) = deliveries(&rig, &["resolve", &id, "--outcome", "held", "--by", "Bob"]);
    assert!(code == Some(1) && refused.contains("certain"), "{code:?} {refused}");
    assert_outcome(&rig.post(&comment("lost", "k")), "delivered", true);

    let (code, forgotten, _) = deliveries(&rig, &["forget", &id]);
    assert!(
        code == Some(0) && forgotten.contains("(forgotten)") && !forgotten.contains("lost"),
        "{forgotten}"
    );
    assert_outcome(&rig.post(&comment("lost", "k")), "delivered", true);
}

#[test]
fn without_a_sidecar_the_command_opens_the_ledger_itself() {
    let (rig, id) = unknown_rig(&[]);
    let (ledger, url) = (rig.ledger(), rig.board.url.clone());
    let Rig { sidecar, board, directory, .. } = rig;
    assert!(sidecar.terminate().success());

    let (code, listed, _) = on_ledger(&ledger, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((code, listed.as_array().unwrap().len(), &listed[0]["id"]), (Some(0), 1, &json!(id)));
    // With the channel's settings, its time to settle is known.
    let channel = ["--channel", "generic", "--channel-url", &url];
    let early = [&["resolve", &id, "--outcome", "not_sent"][..], &channel].concat();
    let (code, _, refused) = on_ledger(&ledger, &early);
    assert!(code == Some(1) && refused.contains("30000 ms"), "{code:?} {refused}");
    let (code, shown, _) =
        on_ledger(&ledger, &[&["resolve", &id, "--outcome", "held", "--by", "Bob"][..], &channel].concat());
    assert!(code == Some(0) && shown.contains("held by Bob"), "{code:?} {shown}");

    let sidecar = Sidecar::for_channel("generic", &board.url, directory.path(), &[]);
    assert_outcome(&sidecar.client().comment(&comment("lost", "k")).json(), "held", true);
}

#[test]
fn the_command_says_what_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("none.db");
    let (code, _, says) = on_ledger(&nowhere, &["list"]);
    assert!(
        code == Some(2) && says.contains("none.db") && says.contains("--http-base-url"),
        "{code:?} {says}"
    );
    assert!(!nowhere.exists(), "a ledger is not made by looking for it");
    let (code, _, says) = on_ledger("memory".as_ref(), &["list"]);
    assert!(code == Some(2) && says.contains("in memory"), "{code:?} {says}");

    let (rig, id) = unknown_rig(&[]);
    let (code, _, says) = deliveries(&rig, &["show", "ffffffffffff"]);
    assert!(code == Some(1) && says.contains("no delivery starts with"), "{code:?} {says}");
    let (code, _, says) = deliveries(&rig, &["show", &"0".repeat(32)]);
    assert!(code == Some(1) && says.contains("no such delivery"), "{code:?} {says}");
    let (code, _, says) = deliveries(&rig, &["show", "what?"]);
    assert!(code == Some(2) && says.contains("ID"), "{code:?} {says}");
    let named = ["resolve", &id, "--outcome", "not_sent", "--comment-id", "1"];
    let (code, _, says) = deliveries(&rig, &named);
    assert!(code == Some(2) && says.contains("--comment-id"), "{code:?} {says}");
}

#[test]
fn the_command_takes_the_callers_of_the_sidecars_settings() {
    let auth = ["--auth-bearer", "bot=b0t,tool=t00l"];
    let rig = Rig::over("generic", CUT, &[], &auth);
    let headers = [("Authorization", "Bearer t00l"), ("Content-Type", "application/json")];
    let body = comment("lost", "k").to_string();
    let told = rig.client().request("POST", "/api/comment", &headers, body.as_bytes()).json();
    let id = at(&told, "data.delivery_id").as_str().unwrap();
    let (code, _, says) = deliveries(&rig, &["list"]);
    assert!(code == Some(2) && says.contains("credentials"), "{code:?} {says}");
    let (code, listed, _) = deliveries(&rig, &[&["list"][..], &auth].concat());
    assert!(code == Some(0) && listed.contains(id) && listed.contains("of tool"), "{code:?} {listed}");
    let settling = [&["resolve", id, "--outcome", "delivered"][..], &auth].concat();
    assert_eq!(deliveries(&rig, &settling).0, Some(0));
    let one = [&["show", id][..], &["--http-authorization", "Bearer b0t"]].concat();
    let (code, _, says) = deliveries(&rig, &one);
    assert!(code == Some(1) && says.contains("no such delivery"), "{code:?} {says}");
}
