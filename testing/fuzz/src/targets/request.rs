//! Requests and the headers that stand in for their fields. Parts: `Idempotency-Key`, `traceparent`, body.

use crate::parts;
use commentd_contract::limits::{MAX_BATCH_COMMENTS, MAX_CONTENT_BYTES, MAX_DEADLINE_MS, MIN_DEADLINE_MS};
use commentd_contract::{BatchRequest, CommentRequest, Intake, StandIns};

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let parts = parts(input);
    let header = |index: usize| parts.get(index).map(String::as_bytes).filter(|bytes| !bytes.is_empty());
    let idempotency_keys = header(0).map(|key| ("idempotency-key", key)).into_iter().collect();
    let headers = StandIns { idempotency_keys, traceparent: header(1) };
    let body = parts.get(2..).unwrap_or_default().join("\n%%\n");
    if let Ok(request) = CommentRequest::parse(body.as_bytes(), headers.clone()) {
        check(&request.intake, std::slice::from_ref(&request.content))?;
    }
    if let Ok(request) = BatchRequest::parse(body.as_bytes(), headers) {
        check(&request.intake, &request.comments)?;
    }
    Ok(())
}

/// What was accepted keeps the limits.
fn check(intake: &Intake, comments: &[String]) -> Result<(), String> {
    if comments.is_empty() || comments.len() > MAX_BATCH_COMMENTS {
        return Err(format!("{} comments were accepted", comments.len()));
    }
    if let Some(comment) = comments.iter().find(|comment| comment.len() > MAX_CONTENT_BYTES) {
        return Err(format!("a comment of {} bytes was accepted", comment.len()));
    }
    if let Some(deadline_ms) = intake.deadline_ms
        && !(MIN_DEADLINE_MS..=MAX_DEADLINE_MS).contains(&deadline_ms)
    {
        return Err(format!("a deadline of {deadline_ms} ms was accepted"));
    }
    let key = intake.key.as_ref().map(ToString::to_string);
    match key {
        Some(key)
            if key.is_empty() || key.len() > 255 || !key.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Err(format!("the key {key:?} was accepted"))
        }
        _ => Ok(()),
    }
}
