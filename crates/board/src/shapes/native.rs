//! The board's own shape: `POST /api/comments`.

use super::bad_json;
use crate::answer::{Answer, Refusal};
use crate::store::{Added, NewComment, StoredComment};
use http::StatusCode;
use serde::{Deserialize, Serialize};

// A field that nobody reads would lose its meaning unnoticed, so unknown ones are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    target: String,
    text: String,
    #[serde(default)]
    author: String,
    #[serde(default)]
    parent: String,
    #[serde(default)]
    marker: String,
}

#[derive(Serialize)]
struct Created<'a> {
    id: &'a str,
    target: &'a str,
    text: &'a str,
    author: &'a str,
    parent: &'a str,
    marker: &'a str,
    state: &'a str,
}

#[derive(Serialize)]
struct Error<'a> {
    error: &'a str,
    message: &'a str,
}

pub(super) fn parse(body: &[u8]) -> Result<NewComment, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let request: Request = serde_path_to_error::deserialize(&mut reader).map_err(|error| bad_json(&error))?;
    reader.end().map_err(|error| Refusal::bad("bad_request", format!("body: {error}")))?;
    if request.text.is_empty() {
        return Err(Refusal::bad("empty_text", "text: must not be empty"));
    }
    if request.target.is_empty() {
        return Err(Refusal::bad("empty_target", "target: must not be empty"));
    }
    let Request { target, text, author, parent, marker } = request;
    Ok(NewComment { target, text, author, parent, marker })
}

pub(super) fn answer(added: &[Added]) -> Answer {
    match added.first() {
        Some(Added::Stored(comment)) => Answer::json(StatusCode::CREATED, &Created::from(comment)),
        Some(Added::Repeated(comment)) => Answer::json(StatusCode::OK, &Created::from(comment)),
        Some(Added::ParentMissing) => {
            let message = "parent: no comment of this target has that id; nothing was stored";
            let error = Error { error: "parent_not_found", message };
            Answer::json(StatusCode::NOT_FOUND, &error)
        }
        Some(Added::Empty) | None => refuse(&Refusal::bad("empty_text", "text: must not be empty")),
    }
}

pub(super) fn refuse(refusal: &Refusal) -> Answer {
    Answer::json(refusal.status, &Error { error: refusal.error, message: &refusal.message })
}

impl<'a> From<&'a StoredComment> for Created<'a> {
    fn from(comment: &'a StoredComment) -> Self {
        let StoredComment { id, target, text, author, parent, marker, state, stored_at_ms: _ } = comment;
        Self { id, target, text, author, parent, marker, state }
    }
}
