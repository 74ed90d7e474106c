//! Each shape's own way to read a post and to answer it, by the shape.

use super::post::{ParsedPost, WireShape};
use super::{generic, native, wxbot};
use crate::refusal::PostRefusal;
use crate::response::BoardResponse;
use crate::store::{AddResult, NewComment};
use commentd_contract::limits::MAX_CONTENT_BYTES;
use commentd_contract::{IdempotencyKey, Intake};
use http::HeaderMap;

/// Longest target, author or marker, in bytes.
const MAX_FIELD_BYTES: usize = 2048;

impl ParsedPost {
    /// Reads a post; without `deduplicate` its key is left out.
    pub(crate) fn parse(
        shape: WireShape,
        headers: &HeaderMap,
        body: &[u8],
        deduplicate: bool,
    ) -> Result<Self, PostRefusal> {
        let mut post = match shape {
            WireShape::Native => Self::plain(shape, native::parse(body)?),
            WireShape::Wxbot => Self::plain(shape, wxbot::parse(body)?),
            WireShape::Generic => generic::parse(headers, body)?,
            WireShape::GenericBatch => generic::parse_batch(headers, body)?,
        };
        for comment in &post.comments {
            check_limits(comment)?;
        }
        if !deduplicate {
            post.key = None;
        } else if post.intake.is_none() {
            post.key = header_key(headers)?;
        }
        Ok(post)
    }

    /// What the shape says of these results.
    pub(crate) fn respond(&self, added: &[AddResult], latency_ms: u64) -> BoardResponse {
        match (self.shape, &self.intake) {
            (WireShape::Generic, Some(intake)) => generic::respond(intake, added, latency_ms),
            (WireShape::GenericBatch, Some(intake)) => generic::respond_batch(intake, added, latency_ms),
            (WireShape::Wxbot, _) => wxbot::respond(added),
            _ => native::respond(added),
        }
    }

    /// As [`ParsedPost::respond`], and what the v1 shape gives back of the request is another's as well.
    pub(crate) fn respond_for_another(&self, added: &[AddResult], latency_ms: u64) -> BoardResponse {
        let intake = self.intake.clone().map(|intake| Intake {
            task_id: "somebody-elses-task".into(),
            trace_id: None,
            key: IdempotencyKey::parse("somebody-elses-key").ok(),
            ..intake
        });
        Self { shape: self.shape, comments: Vec::new(), key: None, intake }.respond(added, latency_ms)
    }
}

impl WireShape {
    /// The refusal in this shape's words.
    pub(crate) fn refuse(self, refusal: &PostRefusal, task_id: &str, latency_ms: u64) -> BoardResponse {
        let response = match self {
            WireShape::Native => native::refuse(refusal),
            WireShape::Generic | WireShape::GenericBatch => generic::refuse(refusal, task_id, latency_ms),
            WireShape::Wxbot => wxbot::refuse(refusal),
        };
        BoardResponse { retry_after_s: refusal.retry_after_s, ..response }
    }
}

fn check_limits(comment: &NewComment) -> Result<(), PostRefusal> {
    if comment.text.len() > MAX_CONTENT_BYTES {
        return Err(PostRefusal::too_large(format!(
            "the text has {} bytes, at most {MAX_CONTENT_BYTES} are allowed",
            comment.text.len()
        )));
    }
    for (name, value) in [
        ("target", &comment.target),
        ("author", &comment.author),
        ("parent", &comment.parent),
        ("marker", &comment.marker),
    ] {
        if value.len() > MAX_FIELD_BYTES {
            return Err(PostRefusal::bad(
                "too_long",
                format!("{name}: {} bytes, at most {MAX_FIELD_BYTES} are allowed", value.len()),
            ));
        }
    }
    Ok(())
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, PostRefusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match IdempotencyKey::parse_header(value.as_bytes()) {
        Ok(key) => Ok(Some(key.into())),
        Err(error) => Err(PostRefusal::bad("bad_key", format!("Idempotency-Key header: {error}"))),
    }
}
