//! The three shapes in which a comment arrives and is answered.

mod generic;
mod native;
mod wxbot;

use crate::answer::{Answer, Refusal};
use crate::store::{Added, NewComment};
use commentd_contract::limits::MAX_CONTENT_BYTES;
use commentd_contract::{IdempotencyKey, Intake};
use http::HeaderMap;

/// Longest target, author or marker, in bytes.
const MAX_FIELD_BYTES: usize = 2048;

/// How a path speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shape {
    Native,
    Generic,
    GenericBatch,
    Wxbot,
}

/// A well-formed post of any shape.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) shape: Shape,
    pub(crate) comments: Vec<NewComment>,
    /// The idempotency key, where keys are to be heeded.
    pub(crate) key: Option<String>,
    /// What the v1 shape gives back.
    intake: Option<Intake>,
}

impl Post {
    pub(crate) fn parse(
        shape: Shape,
        headers: &HeaderMap,
        body: &[u8],
        deduplicate: bool,
    ) -> Result<Self, Refusal> {
        let mut post = match shape {
            Shape::Native => Self::plain(shape, native::parse(body)?),
            Shape::Wxbot => Self::plain(shape, wxbot::parse(body)?),
            Shape::Generic => generic::parse(headers, body)?,
            Shape::GenericBatch => generic::parse_batch(headers, body)?,
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

    fn plain(shape: Shape, comment: NewComment) -> Self {
        Self { shape, comments: vec![comment], key: None, intake: None }
    }

    pub(crate) fn task_id(&self) -> &str {
        self.intake.as_ref().map_or("", |intake| &intake.task_id)
    }

    pub(crate) fn answer(&self, added: &[Added], latency_ms: u64) -> Answer {
        match (self.shape, &self.intake) {
            (Shape::Generic, Some(intake)) => generic::answer(intake, added, latency_ms),
            (Shape::GenericBatch, Some(intake)) => generic::answer_batch(intake, added, latency_ms),
            (Shape::Wxbot, _) => wxbot::answer(added),
            _ => native::answer(added),
        }
    }

    /// As [`Post::answer`], and what the v1 shape gives back of the request is another's as well.
    pub(crate) fn answer_for_another(&self, added: &[Added], latency_ms: u64) -> Answer {
        let intake = self.intake.clone().map(|intake| Intake {
            task_id: "somebody-elses-task".into(),
            trace_id: None,
            key: IdempotencyKey::parse("somebody-elses-key").ok(),
            ..intake
        });
        Self { shape: self.shape, comments: Vec::new(), key: None, intake }.answer(added, latency_ms)
    }
}

impl Shape {
    /// The refusal in this shape's words.
    pub(crate) fn refuse(self, refusal: &Refusal, task_id: &str, latency_ms: u64) -> Answer {
        let answer = match self {
            Shape::Native => native::refuse(refusal),
            Shape::Generic | Shape::GenericBatch => generic::refuse(refusal, task_id, latency_ms),
            Shape::Wxbot => wxbot::refuse(refusal),
        };
        Answer { retry_after_s: refusal.retry_after_s, ..answer }
    }
}

fn check_limits(comment: &NewComment) -> Result<(), Refusal> {
    if comment.text.len() > MAX_CONTENT_BYTES {
        return Err(Refusal::too_large(format!(
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
            return Err(Refusal::bad(
                "too_long",
                format!("{name}: {} bytes, at most {MAX_FIELD_BYTES} are allowed", value.len()),
            ));
        }
    }
    Ok(())
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match IdempotencyKey::parse_header(value.as_bytes()) {
        Ok(key) => Ok(Some(key.into())),
        Err(error) => Err(Refusal::bad("bad_key", format!("Idempotency-Key header: {error}"))),
    }
}

fn bad_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Refusal {
    let path = error.path().to_string();
    let place = if path == "." { "body".to_owned() } else { path };
    Refusal::bad("bad_request", format!("{place}: {}", error.inner()))
}
