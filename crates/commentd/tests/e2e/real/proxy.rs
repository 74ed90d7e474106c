//! Stands between a sidecar and a server, and cuts requests after they were sent.

use super::counted;
use crate::support::ServingProcess;
use crate::support::at;
use crate::support::proxy::Upstream;
use commentd_test_support::server::ScriptedServer;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It reaches the server, and the reply its client.
    Whole,
    /// The server gets it whole and handles it; the client's connection ends without a reply.
    ReplyLost,
    /// It never reaches the server; the client's connection ends without a reply. To the client that looks the same.
    RequestLost,
}

/// A proxy before `server` (`http://host:port`) that asks `way` about each comment that is sent, numbered from 0.
/// Everything else passes, and so does a comment that is sent again: however slow the server is, none is cut so often
/// that its attempts are used up.
pub fn before(server: &str, way: impl Fn(usize) -> Way + Send + Sync + 'static) -> ScriptedServer {
    let upstream = Upstream::at(server);
    let sent = Mutex::new(HashSet::new());
    ScriptedServer::start(move |talk| {
        let Some(request) = talk.request() else { return };
        let number =
            is_comment(&request).then(|| number_of_new(&mut sent.lock().unwrap(), &request)).flatten();
        match number.map_or(Way::Whole, &way) {
            Way::Whole => talk.say(&upstream.forward(&request)),
            Way::ReplyLost => drop(upstream.forward(&request)),
            Way::RequestLost => {}
        }
    })
}

/// The number of a comment that is sent for the first time.
fn number_of_new(sent: &mut HashSet<String>, request: &str) -> Option<usize> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let number = sent.len();
    sent.insert(body.to_owned()).then_some(number)
}

/// Twikoo's reads are posted, too.
fn is_comment(request: &str) -> bool {
    request.starts_with("POST ") && !request.contains("COMMENT_GET")
}

/// Two of five are cut, each in its own way. That few, because a provider that mostly fails isn't asked any more.
pub fn some_cut(sent: usize) -> Way {
    match sent % 5 {
        1 => Way::ReplyLost,
        3 => Way::RequestLost,
        _ => Way::Whole,
    }
}

fn texts() -> Vec<String> {
    (0..20).map(|number| format!("comment {number} of those that are cut")).collect()
}

/// Sends twenty comments through such a proxy, and asserts that all come to this, certainly, and that exactly those
/// were sent again that had not reached the server.
#[track_caller]
pub fn assert_all_settled(sidecar: &ServingProcess, proxy: &ScriptedServer, target: &str, outcome: &str) {
    let batch = json!({"comments": texts(), "sns_id": target, "concurrency": 5, "deadline_ms": 120_000});
    let told = sidecar.client().post("/api/comment/batch", &batch).json();
    let results = at(&told, "data.results").as_array().unwrap();
    assert!(results.iter().all(|result| result["outcome"] == outcome), "{told:#}");
    let sent = proxy.seen().requests.iter().filter(|request| is_comment(request)).count();
    let lost = (0..20).filter(|number| some_cut(*number) == Way::RequestLost).count();
    assert_eq!(sent, 20 + lost, "{told:#}");
}

/// That the server has those twenty comments, each once.
#[track_caller]
pub fn assert_each_there_once(on_server: &HashMap<String, u32>) {
    assert_eq!(*on_server, counted(texts().iter().map(String::as_str)));
}
