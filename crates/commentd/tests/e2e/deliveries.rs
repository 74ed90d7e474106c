//! `/api/deliveries`: seeing, settling and forgetting.

use crate::support::rig::{assert_outcome, comment};
use crate::support::{Answer, Client, Rig, at};
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

fn resolve(client: &Client, id: &str, said: &Value) -> Answer {
    client.post(&format!("/api/deliveries/{id}/resolve"), said)
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: u64, says: &str) {
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
