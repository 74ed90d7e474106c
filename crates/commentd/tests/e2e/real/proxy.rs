//! Stands between a sidecar and a server, and cuts requests after they were sent.

use super::counted;
use crate::misbehaving::Server;
use crate::support::at;
use crate::support::process::Served;
use crate::support::proxy::Upstream;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

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
/// Everything else passes.
pub fn before(server: &str, way: impl Fn(usize) -> Way + Send + Sync + 'static) -> Server {
    let upstream = Upstream::at(server);
    let sent = AtomicUsize::new(0);
    Server::start(move |talk| {
        let Some(request) = talk.request() else { return };
        match if is_comment(&request) { way(sent.fetch_add(1, Ordering::SeqCst)) } else { Way::Whole } {
            Way::Whole => talk.say(&upstream.forward(&request)),
            Way::ReplyLost => drop(upstream.forward(&request)),
            Way::RequestLost => {}
        }
    })
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
pub fn assert_all_settled(sidecar: &Served, proxy: &Server, target: &str, outcome: &str) {
    let batch = json!({"comments": texts(), "sns_id": target, "concurrency": 5, "deadline_ms": 120_000});
    let told = sidecar.client().post("/api/comment/batch", &batch).json();
    let results = at(&told, "data.results").as_array().unwrap();
    assert!(results.iter().all(|result| result["outcome"] == outcome), "{told:#}");
    let sent = proxy.seen().requests.iter().filter(|request| is_comment(request)).count();
    let lost = (0..sent).filter(|number| some_cut(*number) == Way::RequestLost).count();
    assert_eq!(sent, 20 + lost, "{told:#}");
}

/// That the server has those twenty comments, each once.
#[track_caller]
pub fn assert_each_there_once(on_server: &HashMap<String, u32>) {
    assert_eq!(*on_server, counted(texts().iter().map(String::as_str)));
}
