//! The board's own shape: `POST /api/comments`.

use super::post::bad_json;
use crate::refusal::PostRefusal;
use crate::response::BoardResponse;
use crate::store::{AddResult, NewComment, StoredComment};
use http::StatusCode;
use serde::{Deserialize, Serialize};

// A field that nobody reads would lose its meaning unnoticed, so unknown ones are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NativeComment {
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
struct NativeCreated<'a> {
    id: &'a str,
    target: &'a str,
    text: &'a str,
    author: &'a str,
    parent: &'a str,
    marker: &'a str,
    state: &'a str,
}

#[derive(Serialize)]
struct NativeError<'a> {
    error: &'a str,
    message: &'a str,
}

pub(super) fn parse(body: &[u8]) -> Result<NewComment, PostRefusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let request: NativeComment =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| bad_json(&error))?;
    reader.end().map_err(|error| PostRefusal::bad("bad_request", format!("body: {error}")))?;
    if request.text.is_empty() {
        return Err(PostRefusal::bad("empty_text", "text: must not be empty"));
    }
    if request.target.is_empty() {
        return Err(PostRefusal::bad("empty_target", "target: must not be empty"));
    }
    let NativeComment { target, text, author, parent, marker } = request;
    Ok(NewComment { target, text, author, parent, marker })
}

pub(super) fn respond(added: &[AddResult]) -> BoardResponse {
    match added.first() {
        Some(AddResult::Stored(comment)) => {
            BoardResponse::json(StatusCode::CREATED, &NativeCreated::from(comment))
        }
        Some(AddResult::Repeated(comment)) => {
            BoardResponse::json(StatusCode::OK, &NativeCreated::from(comment))
        }
        Some(AddResult::ParentMissing) => {
            let message = "parent: no comment of this target has that id; nothing was stored";
            let error = NativeError { error: "parent_not_found", message };
            BoardResponse::json(StatusCode::NOT_FOUND, &error)
        }
        Some(AddResult::Empty) | None => refuse(&PostRefusal::bad("empty_text", "text: must not be empty")),
    }
}

pub(super) fn refuse(refusal: &PostRefusal) -> BoardResponse {
    BoardResponse::json(refusal.status, &NativeError { error: refusal.error, message: &refusal.message })
}

impl<'a> From<&'a StoredComment> for NativeCreated<'a> {
    fn from(comment: &'a StoredComment) -> Self {
        let StoredComment { id, target, text, author, parent, marker, state, stored_at_ms: _ } = comment;
        Self { id, target, text, author, parent, marker, state }
    }
}
