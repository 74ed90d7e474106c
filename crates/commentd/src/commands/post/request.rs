//! One comment's request, and what its answer means.

use super::file::KeyedComment;
use crate::commands::client::client;
use commentd_acceptance::Address;
use commentd_contract::client::CallError;
use commentd_contract::{Code, Outcome, Reply, SingleData};
use serde_json::Value;

/// What an answer may take beyond the deadline that was asked for, in milliseconds.
const GRACE_MS: u64 = 5000;

/// What became of a comment, as far as this run knows.
#[derive(Clone, Debug)]
pub(super) struct Posted {
    pub(super) item: KeyedComment,
    pub(super) outcome: Outcome,
    pub(super) code: Code,
    pub(super) message: String,
    /// What the sidecar tells of the delivery, where it tells anything.
    pub(super) data: Option<SingleData>,
    /// Whether there was a connection to the sidecar at all.
    pub(super) connected: bool,
}

/// Why no further comment is worth a try; the text is for people.
#[derive(Debug)]
pub(super) struct GiveUp(pub(super) String);

/// Posts the comment once. Asking again with its key is always safe.
pub(super) async fn send(address: &Address, item: KeyedComment, deadline_ms: u64) -> Result<Posted, GiveUp> {
    let answer = match body(&item, deadline_ms) {
        Ok(body) => client(address, deadline_ms + GRACE_MS).post("/api/comment", body).await,
        Err(error) => Err(CallError::NotSent(format!("the request can't be made: {error}"))),
    };
    match answer {
        Ok(answer) => read(item, answer.status.as_u16(), &answer.body),
        Err(CallError::NotSent(message)) => {
            let posted = without_data(item, Outcome::NotSent, Code::UpstreamUnavailable, message);
            Ok(Posted { connected: false, ..posted })
        }
        Err(CallError::Unknown(message)) => {
            Ok(without_data(item, Outcome::Unknown, Code::OutcomeUnknown, message))
        }
    }
}

fn body(item: &KeyedComment, deadline_ms: u64) -> serde_json::Result<Vec<u8>> {
    let mut json = serde_json::to_value(&item.comment)?;
    if let Value::Object(fields) = &mut json {
        for (name, value) in [
            ("v", 1.into()),
            ("cmd", "comment".into()),
            ("idempotency_key", item.key.as_str().into()),
            ("deadline_ms", deadline_ms.into()),
        ] {
            fields.insert(name.into(), value);
        }
    }
    serde_json::to_vec(&json)
}

fn without_data(item: KeyedComment, outcome: Outcome, code: Code, message: String) -> Posted {
    Posted { item, outcome, code, message, data: None, connected: true }
}

fn read(item: KeyedComment, status: u16, body: &[u8]) -> Result<Posted, GiveUp> {
    if status == 200 {
        return Ok(match serde_json::from_slice::<Reply<SingleData>>(body) {
            Ok(reply) => Posted {
                item,
                outcome: reply.data.outcome,
                code: reply.error_code,
                message: reply.error_message,
                data: Some(reply.data),
                connected: true,
            },
            Err(error) => {
                let message = format!("the sidecar's reply can't be read: {error}");
                without_data(item, Outcome::Unknown, Code::UpstreamBadReply, message)
            }
        });
    }
    let reply = serde_json::from_slice::<Reply<Value>>(body).ok();
    let (code, message) = match reply {
        Some(reply) => (reply.error_code, reply.error_message),
        None => (Code::UpstreamBadReply, String::new()),
    };
    let message = format!("HTTP {status}: {message}");
    let outcome = match status {
        // Too large, or its key belongs to another comment: nothing of this one was sent.
        413 | 422 => Outcome::Refused,
        503 => Outcome::NotSent,
        400..=408 | 410..=499 => return Err(GiveUp(message)),
        _ => Outcome::Unknown,
    };
    Ok(without_data(item, outcome, code, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use commentd_delivery::Comment;

    fn item() -> KeyedComment {
        KeyedComment {
            line: 1,
            comment: Comment { content: "hi".into(), ..Comment::default() },
            key: "k".into(),
        }
    }

    #[test]
    fn the_request_is_one_that_the_contract_takes() {
        let body = body(&item(), 7000).unwrap();
        let request = commentd_contract::CommentRequest::parse(&body, Default::default()).unwrap();
        assert_eq!((request.content.as_str(), request.intake.deadline_ms), ("hi", Some(7000)));
        assert_eq!(request.intake.key.unwrap().as_str(), "k");
    }

    #[test]
    fn a_status_says_what_is_known() {
        let outcome = |status| read(item(), status, b"{}").map(|posted| posted.outcome).ok();
        assert_eq!(outcome(409), Some(Outcome::Unknown), "somebody else's request is under way");
        assert_eq!(outcome(503), Some(Outcome::NotSent));
        assert_eq!((outcome(413), outcome(422)), (Some(Outcome::Refused), Some(Outcome::Refused)));
        for unclear in [200, 204, 302, 500, 502] {
            assert_eq!(outcome(unclear), Some(Outcome::Unknown), "{unclear}");
        }
        for hopeless in [400, 401, 403, 404, 405, 415] {
            assert_eq!(outcome(hopeless), None, "{hopeless}");
        }
    }
}
