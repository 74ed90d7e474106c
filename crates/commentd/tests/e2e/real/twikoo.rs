//! Twikoo: its own engine (`twikoo-func`) behind a server and a database of the tests' own (`twikoo.js`).

use super::{
    Channel, Turn, assert_fifty_once, assert_goal_passed, assert_told, assert_verdict, counted, installed,
    post, proxy, turn, work,
};
use crate::support::{HttpClient, ServingProcess, at};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

struct Twikoo {
    server: ServingProcess,
    directory: TempDir,
    _turn: Turn,
}

impl Twikoo {
    /// With this configuration on top of one without limits; `None`, loudly, where it isn't installed and needn't be.
    fn start(configuration: &Value) -> Option<Self> {
        let modules = work("servers/node_modules");
        if !installed("Twikoo", &[(&modules.join("twikoo-func"), "scripts/test")]) {
            return None;
        }
        let turn = turn();
        let mut all =
            json!({"LIMIT_PER_MINUTE": "0", "LIMIT_PER_MINUTE_ALL": "0", "COMMENT_PAGE_SIZE": "100"});
        all.as_object_mut().unwrap().extend(configuration.as_object().unwrap().clone());
        let mut command = Command::new("node");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/real/twikoo.js"));
        command.arg(all.to_string()).env("NODE_PATH", modules).env("TWIKOO_THROTTLE", "1000000");
        Some(Self {
            server: ServingProcess::start(command),
            directory: tempfile::tempdir().unwrap(),
            _turn: turn,
        })
    }

    fn channel(&self) -> Channel {
        let url = self.server.url.clone();
        Channel { name: "twikoo", url, settings: Vec::new(), secrets: Vec::new() }.with("nick", "Ann")
    }

    fn serve(&self) -> ServingProcess {
        self.channel().serve(self.directory.path())
    }

    /// Everything that is stored, shown or not.
    fn comments(&self) -> Vec<Value> {
        HttpClient::new(&self.server.url).get("/comments").json().as_array().unwrap().clone()
    }

    fn texts(&self) -> HashMap<String, u32> {
        counted(self.comments().iter().map(|comment| comment["comment"].as_str().unwrap()))
    }
}

#[test]
fn fifty_of_fifty_comments_are_there_exactly_once() {
    let Some(twikoo) = Twikoo::start(&json!({})) else { return };
    let sidecar = twikoo.serve();
    assert_goal_passed(&twikoo.channel().accept(&sidecar, "/p/1", twikoo.directory.path(), &[]));
    assert_fifty_once(&twikoo.texts());
}

#[test]
fn lookups_settle_what_was_cut_by_each_deliverys_own_token() {
    let Some(twikoo) = Twikoo::start(&json!({})) else { return };
    let proxy = proxy::before(&twikoo.server.url, proxy::some_cut);
    let channel = twikoo.channel().by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let sidecar = channel.serve(twikoo.directory.path());
    proxy::assert_all_settled(&sidecar, &proxy, "/p/1", "delivered");
    proxy::assert_each_there_once(&twikoo.texts());
}

#[test]
fn a_lookup_tells_what_was_taken_for_spam_though_the_reply_does_not() {
    let Some(twikoo) = Twikoo::start(&json!({"FORBIDDEN_WORDS": "casino"})) else { return };
    let proxy = proxy::before(&twikoo.server.url, |_| proxy::Way::ReplyLost);
    let channel = twikoo.channel().by_way_of(&proxy.url()).with("settles_within_s", "0.5");
    let comment = json!({"content": "casino", "sns_id": "/p/1"});
    let told = post(&channel.serve(twikoo.directory.path()), &comment);
    assert_told(&told, "misplaced", 57);
    assert_eq!(twikoo.comments()[0]["isSpam"], true);
}

#[test]
fn answers_find_their_parent_and_refusals_are_told_as_what_they_are() {
    let Some(twikoo) = Twikoo::start(&json!({"LIMIT_LENGTH": "20", "BLOGGER_EMAIL": "o@example.org"})) else {
        return;
    };
    let sidecar = twikoo.serve();
    let say = |content: &str, reply_to: &str| {
        post(&sidecar, &json!({"content": content, "sns_id": "/p/1", "reply_to": reply_to}))
    };
    let first = say("the first", "");
    assert_told(&first, "delivered", 0);
    let root = at(&first, "data.comment_id").as_str().unwrap().to_owned();
    let answer = say("an answer", &root);
    assert_told(&answer, "delivered", 0);
    let parent = at(&answer, "data.comment_id").as_str().unwrap();
    assert_told(&say("an answer to it", &format!("{root}/{parent}")), "delivered", 0);
    let places: Vec<_> =
        twikoo.comments().iter().map(|one| (one["rid"].clone(), one["pid"].clone())).collect();
    let (none, root, parent) = (Value::Null, json!(root), json!(parent));
    assert_eq!(places, [(none.clone(), none), (root.clone(), root.clone()), (root, parent)]);

    assert_verdict(&say("over twenty characters", ""), "denied", "1000");
    let owner = twikoo.channel().with("mail", "o@example.org");
    let other = tempfile::tempdir().unwrap();
    let told = post(&owner.serve(other.path()), &json!({"content": "I am", "sns_id": "/p/1"}));
    assert_verdict(&told, "denied", "1000");
    assert_eq!(twikoo.comments().len(), 3);
}

#[test]
fn its_limits_are_told_as_throttling_with_their_hint() {
    for limit in ["LIMIT_PER_MINUTE", "LIMIT_PER_MINUTE_ALL"] {
        let Some(twikoo) = Twikoo::start(&json!({limit: "1"})) else { return };
        let sidecar = twikoo.serve();
        let say = |content: &str| post(&sidecar, &json!({"content": content, "sns_id": "/p/1"}));
        // Twikoo lets one more pass than its limit says.
        assert_told(&say("the first"), "delivered", 0);
        assert_told(&say("the second"), "delivered", 0);
        let third = say("the third");
        assert_verdict(&third, "throttled", "1000");
        assert_told(&third, "not_sent", 53);
        assert_eq!(twikoo.comments().len(), 2);
    }
}
