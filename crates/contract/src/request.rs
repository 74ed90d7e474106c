//! Requests as callers write them, checked once and for all.
//!
//! What leaves this module is well-formed: limits hold, header and field agree, and nothing later has to ask
//! again. An empty comment is well-formed here, because a batch must answer it by position.

mod raw;

use crate::key::IdempotencyKey;
use crate::limits::{
    MAX_ADDRESS_BYTES, MAX_BATCH_COMMENTS, MAX_CONTENT_BYTES, MAX_DEADLINE_MS, MAX_VARS_BYTES,
    MIN_DEADLINE_MS,
};
use raw::Raw;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use raw::TextOrNumber;

/// A value of `vars`: what a channel's templates may use beside the comment itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Var {
    /// A number, kept as it was written.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

/// Where a comment goes: everything of a request that all comments of a batch share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Addressing {
    /// The target; what that is, the channel's manifest says.
    pub sns_id: String,
    /// Who wrote the target (a hint to find it), never who comments.
    pub author: String,
    /// A hash of the target's content (a hint to find it).
    pub content_hash: String,
    /// The comment that this one answers; empty for none.
    pub reply_to: String,
    /// The account of the older gateways' contract.
    pub wxid: String,
    /// Values for the channel's templates, sorted by name.
    pub vars: BTreeMap<String, Var>,
}

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

/// The request headers that stand in for fields.
#[derive(Clone, Debug, Default)]
pub struct StandIns<'a> {
    /// The values of `Idempotency-Key` and `X-Idempotency-Key`, with the name that each came under. They must all name
    /// the same key.
    pub idempotency_keys: Vec<(&'a str, &'a [u8])>,
    /// The value of `traceparent`.
    pub traceparent: Option<&'a [u8]>,
}

/// Why a request can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// HTTP 400; the message names the field.
    Malformed(String),
    /// HTTP 413; the message names the limit.
    TooLarge(String),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Malformed(message) | RequestError::TooLarge(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for RequestError {}

impl<'a> StandIns<'a> {
    /// The stand-ins among these headers, whose names are in lower case.
    ///
    /// # Errors
    /// `Malformed` for a header that reads like the key's and isn't: its sender believes in a key that wouldn't be
    /// there.
    pub fn among(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Self, RequestError> {
        let mut found = Self::default();
        for (name, value) in headers {
            match name {
                "idempotency-key" => found.idempotency_keys.push(("Idempotency-Key", value)),
                "x-idempotency-key" => found.idempotency_keys.push(("X-Idempotency-Key", value)),
                "traceparent" => found.traceparent = found.traceparent.or(Some(value)),
                other if reads_like_the_key(other.strip_prefix("x-").unwrap_or(other)) => {
                    return Err(RequestError::Malformed(format!(
                        "{other} header: isn't known; the header of the key is Idempotency-Key"
                    )));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Whether a name is the key's once case, `-` and `_` are gone.
fn reads_like_the_key(name: &str) -> bool {
    let letters =
        name.bytes().filter(|byte| !matches!(byte, b'-' | b'_')).map(|byte| byte.to_ascii_lowercase());
    letters.eq(*b"idempotencykey")
}

impl Addressing {
    /// Whether each field keeps its limit.
    ///
    /// # Errors
    /// `TooLarge` names the field that is too long.
    pub fn check(&self) -> Result<(), RequestError> {
        for (name, text) in [
            ("sns_id (target)", &self.sns_id),
            ("author", &self.author),
            ("content_hash", &self.content_hash),
            ("reply_to", &self.reply_to),
            ("wxid", &self.wxid),
        ] {
            at_most(MAX_ADDRESS_BYTES, name, text.len())?;
        }
        let value = |var: &Var| match var {
            Var::Text(text) => text.len(),
            Var::Number(number) => number.to_string().len(),
        };
        at_most(MAX_VARS_BYTES, "vars", self.vars.iter().map(|(name, var)| name.len() + value(var)).sum())
    }
}

fn at_most(most: usize, name: &str, bytes: usize) -> Result<(), RequestError> {
    if bytes > most {
        return Err(RequestError::TooLarge(format!("{name}: {bytes} bytes, at most {most}")));
    }
    Ok(())
}

impl CommentRequest {
    /// Reads the body of `POST /api/comment`.
    ///
    /// # Errors
    /// `Malformed` for broken JSON, wrong types, a missing `content`, values out of range and a header that
    /// disagrees with its field; `TooLarge` for content over 64 KiB and for another field over its limit.
    pub fn parse(body: &[u8], headers: StandIns<'_>) -> Result<Self, RequestError> {
        let raw = Raw::read(body)?;
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
        let raw = Raw::read(body)?;
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

impl Raw<'_> {
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

/// Reads a part of a request, or all of it; `root` is what stands for it in messages.
fn read<'a, T: Deserialize<'a>>(root: &str, json: &'a str) -> Result<T, RequestError> {
    // Keeping track of the place doubles the time of reading, so only what can't be read is read that way.
    serde_json::from_str(json).or_else(|_| read_with_place(root, json.as_bytes()))
}

/// The same of what may be no text, which is found out once and not for each of its strings.
fn read_bytes<'a, T: Deserialize<'a>>(root: &str, json: &'a [u8]) -> Result<T, RequestError> {
    match std::str::from_utf8(json) {
        Ok(json) => read(root, json),
        Err(_) => read_with_place(root, json),
    }
}

fn read_with_place<'a, T: Deserialize<'a>>(root: &str, json: &'a [u8]) -> Result<T, RequestError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| named(root, &error))?;
    reader.end().map_err(|error| RequestError::Malformed(format!("{root}: {error}")))?;
    Ok(read)
}

/// Reads one field whose path in messages starts with its name.
fn part<'a, T: Deserialize<'a>>(name: &str, raw: Option<&'a RawValue>) -> Result<Option<T>, RequestError> {
    raw.map_or(Ok(None), |raw| read(name, raw.get()))
}

fn named(root: &str, error: &serde_path_to_error::Error<serde_json::Error>) -> RequestError {
    let path = error.path().to_string();
    let place = match (root, path.as_str()) {
        (root, ".") => root.to_owned(),
        ("body", path) => path.to_owned(),
        (root, path) => format!("{root}{path}"),
    };
    RequestError::Malformed(format!("{place}: {}", error.inner()))
}

fn missing(name: &str) -> RequestError {
    RequestError::Malformed(format!("{name}: is missing"))
}

fn check_content(name: &str, content: &str) -> Result<(), RequestError> {
    at_most(MAX_CONTENT_BYTES, name, content.len())
}

fn agreed_key(
    field: Option<String>,
    headers: &[(&str, &[u8])],
) -> Result<Option<IdempotencyKey>, RequestError> {
    let mut agreed: Option<(&str, IdempotencyKey)> = None;
    if let Some(text) = field {
        let key = IdempotencyKey::parse(&text)
            .map_err(|error| RequestError::Malformed(format!("idempotency_key: {error}")))?;
        agreed = Some(("the field", key));
    }
    for (name, value) in headers {
        let key = IdempotencyKey::parse_header(value)
            .map_err(|error| RequestError::Malformed(format!("{name} header: {error}")))?;
        match &agreed {
            Some((other, known)) if *known != key => {
                return Err(RequestError::Malformed(format!(
                    "idempotency_key: {other} and the {name} header disagree"
                )));
            }
            Some(_) => {}
            None => agreed = Some(("another header", key)),
        }
    }
    Ok(agreed.map(|(_, key)| key))
}

fn agreed_trace(field: Option<String>, header: Option<&[u8]>) -> Result<Option<String>, RequestError> {
    let field = field.filter(|text| !text.is_empty());
    // W3C Trace Context says to go on without a traceparent that can't be read.
    let header = header.and_then(trace_of_traceparent);
    match (field, header) {
        (Some(field), Some(header)) if !field.eq_ignore_ascii_case(&header) => Err(RequestError::Malformed(
            "trace_id: the field and the trace id of the traceparent header disagree".into(),
        )),
        (Some(field), _) if field.len() > 256 || field.chars().any(char::is_control) => {
            Err(RequestError::Malformed("trace_id: at most 256 bytes and no control characters".into()))
        }
        (field, header) => Ok(field.or(header)),
    }
}

/// The trace id of a `traceparent` (W3C Trace Context, `version-traceid-parentid-flags`).
fn trace_of_traceparent(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
    let well_formed = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && trace.bytes().any(|b| b != b'0')
        && hex(parent, 16)
        && hex(flags, 2);
    well_formed.then(|| trace.to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
