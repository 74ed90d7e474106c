//! Lookups over sockets: by the receipt of a reply that nobody could judge, page by page, past caches, with
//! credentials of their own.

use crate::support::rig::comment;
use crate::support::{Sidecar, at};
use commentd_test_support::server::{ScriptedServer, reply};
use serde_json::json;

const PAGED: &str = r#"
manifest = 1
name = "paged"
version = 1
summary = "a list in pages; no marker"
target = "a thread"
reply = "none"
receipt = "at('id')"
echo = "at('text') == content"
settles_within_s = 30
[settings.reader]
type = "text"
default = ""
help = "who reads"
[send]
method = "POST"
path = "/new"
headers = { Authorization = "'Bearer poster'" }
body = { text = "content" }
[[verdict]]
is = "delivered"
when = "status == 201"
[lookup]
answers = "status == 200"
items = "at('items')"
complete = "true"
next = "at('next')"
ours = "item.marker == marker"
id = "item.id"
text = "item.text"
sees_every_state = "settings.reader != ''"
[lookup.request]
method = "GET"
path = "/list"
query = { after = "page or omit" }
headers = { Authorization = "'Bearer ' ~ settings.reader" }
[[example]]
name = "published"
comment = { content = "hi" }
reply = { status = 201, body = '{"id":"1","text":"hi"}' }
verdict = "delivered"
"#;

#[test]
fn a_comment_is_found_by_the_receipt_of_a_reply_that_nobody_could_judge() {
    let server = ScriptedServer::start(|talk| {
        while let Some(request) = talk.request() {
            let page = |next: &str, id: &str| {
                format!(r#"{{"next":{next},"items":[{{"id":"{id}","text":"+1","marker":null}}]}}"#)
            };
            let (status, body) = match request.split_whitespace().nth(1).unwrap() {
                "/new" => ("500 Oops", r#"{"id":"c7","text":"+1","error":"mail"}"#.to_owned()),
                "/list" => ("200 OK", page("\"c6\"", "c6")),
                "/list?after=c6" => ("200 OK", page("null", "c7")),
                other => panic!("{other}"),
            };
            talk.say(&reply(status, "", &body));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("paged.toml"), PAGED).unwrap();
    let channels = directory.path().to_str().unwrap();
    let args = ["--channels-dir", channels, "--set", "reader=moderator"];
    let sidecar = Sidecar::for_channel("paged", &server.url(), directory.path(), &args);
    let told = sidecar.client().comment(&comment("+1", "k")).json();
    assert_eq!(at(&told, "data.outcome"), "delivered", "{told:#}");
    assert_eq!(at(&told, "data.comment_id"), "c7", "not the one with the same words");

    let seen = server.seen();
    let requests: Vec<String> = seen.requests.iter().map(|request| request.to_ascii_lowercase()).collect();
    assert_eq!(requests.len(), 3, "{requests:#?}");
    assert!(requests[0].contains("bearer poster") && !requests[0].contains("cache-control"), "{requests:#?}");
    for reading in &requests[1..] {
        assert!(reading.contains("authorization: bearer moderator"), "{reading}");
        assert!(reading.contains("cache-control: no-cache"), "{reading}");
    }
    // The id is claimed: a comment of the same words whose reply names it isn't this one's.
    let other = sidecar.client().comment(&json!({"content": "+1", "sns_id": "t", "deadline_ms": 500})).json();
    assert_eq!(at(&other, "data.outcome"), "unknown", "{other:#}");
    assert_eq!(at(&other, "data.comment_id"), "");
}
