//! Requests as callers write them, checked here and nowhere later: limits hold, and headers and fields agree. An empty
//! comment counts as well-formed, because a batch must answer it by position.

mod addressing;
mod error;
mod fields;
mod json;
mod stand_ins;

use crate::key::IdempotencyKey;
use crate::limits::{MAX_BATCH_COMMENTS, MAX_CONTENT_BYTES, MAX_DEADLINE_MS, MIN_DEADLINE_MS};
use error::at_most;
use fields::RequestFields;
use json::part;
use stand_ins::{agreed_key, agreed_trace};
use std::sync::Arc;

pub use addressing::{Addressing, Var};
pub use error::RequestError;
pub use fields::TextOrNumber;
pub use stand_ins::StandIns;

/// What single and batch requests have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Intake {
    /// Echoed in the reply.
    pub task_id: String,
    /// The provider that the caller expects, trimmed and in lower case; empty for any.
    pub provider: String,
    /// Where the comments go; all comments of a batch share it in memory, too.
    pub addressing: Arc<Addressing>,
    /// The caller's trace, from the field or `traceparent`.
    pub trace_id: Option<String>,
    /// The caller's name for this delivery, from the field or `Idempotency-Key`.
    pub key: Option<IdempotencyKey>,
    /// From receipt to answer, in milliseconds, 1–600000; absent: the server's default.
    pub deadline_ms: Option<u64>,
}

/// `POST /api/comment`.
#[derive(Clone, Debug, PartialEq)]
pub struct CommentRequest {
    /// What single and batch requests share.
    pub intake: Intake,
    /// The comment's text; may be empty, which is answered with code 10.
    pub content: String,
}

/// `POST /api/comment/batch`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchRequest {
    /// What single and batch requests share.
    pub intake: Intake,
    /// The comments; answered by position, empty ones included. 1–1000.
    pub comments: Vec<String>,
    /// How many at a time, as asked for; 1 when absent. The server clamps it.
    pub concurrency: i64,
}

impl CommentRequest {
    /// Reads the body of `POST /api/comment`.
    ///
    /// # Errors
    /// `Malformed` for broken JSON, wrong types, a missing `content`, values out of range and a header that
    /// disagrees with its field; `TooLarge` for content over 64 KiB and for another field over its limit.
    pub fn parse(body: &[u8], headers: StandIns<'_>) -> Result<Self, RequestError> {
        let raw = RequestFields::read(body)?;
        let content: String = part("content", raw.content)?.ok_or_else(|| missing("content"))?;
        check_content("content", &content)?;
        Ok(Self { intake: raw.into_intake("comment", headers)?, content })
    }
}

impl BatchRequest {
    /// Reads the body of `POST /api/comment/batch`.
    ///
    /// # Errors
    /// As [`CommentRequest::parse`]; also `Malformed` for an empty batch and `TooLarge` for over 1000 comments.
    pub fn parse(body: &[u8], headers: StandIns<'_>) -> Result<Self, RequestError> {
        let raw = RequestFields::read(body)?;
        let comments: Vec<String> = part("comments", raw.comments)?.ok_or_else(|| missing("comments"))?;
        let concurrency: i64 = part("concurrency", raw.concurrency)?.unwrap_or(1);
        if comments.is_empty() {
            return Err(RequestError::Malformed("comments: must have at least one comment, is empty".into()));
        }
        if comments.len() > MAX_BATCH_COMMENTS {
            return Err(RequestError::TooLarge(format!(
                "comments: {} comments, at most {MAX_BATCH_COMMENTS} in a batch",
                comments.len()
            )));
        }
        for (index, content) in comments.iter().enumerate() {
            check_content(&format!("comments[{index}]"), content)?;
        }
        Ok(Self { intake: raw.into_intake("batch_comment", headers)?, comments, concurrency })
    }
}

impl RequestFields<'_> {
    fn into_intake(self, command: &str, headers: StandIns<'_>) -> Result<Intake, RequestError> {
        if let Some(v) = self.v.filter(|v| *v != 1) {
            return Err(RequestError::Malformed(format!(
                "v: this server speaks version 1, the request says {v}"
            )));
        }
        if let Some(cmd) = self.cmd.filter(|cmd| cmd != command) {
            return Err(RequestError::Malformed(format!(
                "cmd: must be \"{command}\" on this path, is {cmd:?}"
            )));
        }
        let deadline_ms = match self.deadline_ms {
            None => None,
            Some(asked) => Some(
                u64::try_from(asked)
                    .ok()
                    .filter(|ms| (MIN_DEADLINE_MS..=MAX_DEADLINE_MS).contains(ms))
                    .ok_or_else(|| {
                        RequestError::Malformed(format!(
                            "deadline_ms: must be {MIN_DEADLINE_MS} to {MAX_DEADLINE_MS}, is {asked}"
                        ))
                    })?,
            ),
        };
        let text = |field: Option<TextOrNumber>| field.map(|field| field.0).unwrap_or_default();
        let sns_id = match (self.sns_id, self.target) {
            (Some(sns_id), Some(target)) if sns_id != target => {
                return Err(RequestError::Malformed(
                    "target: is another name of sns_id, and the two disagree".into(),
                ));
            }
            (sns_id, target) => text(sns_id.or(target)),
        };
        let addressing = Addressing {
            sns_id,
            author: self.author.unwrap_or_default(),
            content_hash: self.content_hash.unwrap_or_default(),
            reply_to: text(self.reply_to),
            wxid: self.wxid.unwrap_or_default(),
            vars: self.vars.unwrap_or_default(),
        };
        addressing.check()?;
        Ok(Intake {
            task_id: self.task_id.unwrap_or_default(),
            provider: self.provider.map(|name| name.trim().to_ascii_lowercase()).unwrap_or_default(),
            addressing: Arc::new(addressing),
            trace_id: agreed_trace(self.trace_id, headers.traceparent)?,
            key: agreed_key(self.idempotency_key, &headers.idempotency_keys)?,
            deadline_ms,
        })
    }
}

fn missing(name: &str) -> RequestError {
    RequestError::Malformed(format!("{name}: is missing"))
}

fn check_content(name: &str, content: &str) -> Result<(), RequestError> {
    at_most(MAX_CONTENT_BYTES, name, content.len())
}

#[cfg(test)]
mod tests;
