//! Requests as callers write them, checked once and for all.
//!
//! What leaves this module is well-formed: limits hold, header and field agree, and nothing later has to ask
//! again. An empty comment is well-formed here, because a batch must answer it by position.

use crate::key::IdempotencyKey;
use crate::limits::{MAX_BATCH_COMMENTS, MAX_CONTENT_BYTES, MAX_DEADLINE_MS, MIN_DEADLINE_MS};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

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
    /// Where the comments go.
    pub addressing: Addressing,
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

/// The two request headers that stand in for fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandIns<'a> {
    /// The value of `Idempotency-Key`.
    pub idempotency_key: Option<&'a [u8]>,
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

#[derive(Deserialize)]
struct Raw<'a> {
    v: Option<i64>,
    cmd: Option<String>,
    task_id: Option<String>,
    sns_id: Option<String>,
    author: Option<String>,
    content_hash: Option<String>,
    reply_to: Option<String>,
    wxid: Option<String>,
    provider: Option<String>,
    trace_id: Option<String>,
    idempotency_key: Option<String>,
    deadline_ms: Option<i64>,
    vars: Option<BTreeMap<String, Var>>,
    // Read in a second step, so that each endpoint ignores the other's fields.
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    comments: Option<&'a RawValue>,
    #[serde(borrow)]
    concurrency: Option<&'a RawValue>,
}

impl CommentRequest {
    /// Reads the body of `POST /api/comment`.
    ///
    /// # Errors
    /// `Malformed` for broken JSON, wrong types, a missing `content`, values out of range and a header that
    /// disagrees with its field; `TooLarge` for content over 64 KiB.
    pub fn parse(body: &[u8], headers: StandIns<'_>) -> Result<Self, RequestError> {
        let raw: Raw<'_> = read_bytes("body", body)?;
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
        let raw: Raw<'_> = read_bytes("body", body)?;
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
        Ok(Intake {
            task_id: self.task_id.unwrap_or_default(),
            provider: self.provider.map(|name| name.trim().to_ascii_lowercase()).unwrap_or_default(),
            addressing: Addressing {
                sns_id: self.sns_id.unwrap_or_default(),
                author: self.author.unwrap_or_default(),
                content_hash: self.content_hash.unwrap_or_default(),
                reply_to: self.reply_to.unwrap_or_default(),
                wxid: self.wxid.unwrap_or_default(),
                vars: self.vars.unwrap_or_default(),
            },
            trace_id: agreed_trace(self.trace_id, headers.traceparent)?,
            key: agreed_key(self.idempotency_key, headers.idempotency_key)?,
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
    if content.len() > MAX_CONTENT_BYTES {
        return Err(RequestError::TooLarge(format!(
            "{name}: {} bytes, at most {MAX_CONTENT_BYTES} in a comment",
            content.len()
        )));
    }
    Ok(())
}

fn agreed_key(field: Option<String>, header: Option<&[u8]>) -> Result<Option<IdempotencyKey>, RequestError> {
    let field = match field {
        None => None,
        Some(text) => Some(
            IdempotencyKey::parse(&text)
                .map_err(|error| RequestError::Malformed(format!("idempotency_key: {error}")))?,
        ),
    };
    let header = match header {
        None => None,
        Some(value) => Some(
            IdempotencyKey::parse_header(value)
                .map_err(|error| RequestError::Malformed(format!("Idempotency-Key header: {error}")))?,
        ),
    };
    match (field, header) {
        (Some(field), Some(header)) if field != header => Err(RequestError::Malformed(
            "idempotency_key: the field and the Idempotency-Key header disagree".into(),
        )),
        (field, header) => Ok(field.or(header)),
    }
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
mod tests {
    use super::*;

    fn single(body: &str) -> Result<CommentRequest, RequestError> {
        CommentRequest::parse(body.as_bytes(), StandIns::default())
    }

    fn message(body: &str) -> String {
        single(body).unwrap_err().to_string()
    }

    #[test]
    fn the_smallest_request_has_only_content() {
        let request = single(r#"{"content":"hi","unknown":{"ignored":true},"comments":7}"#).unwrap();
        assert_eq!(request.content, "hi");
        assert_eq!(request.intake.provider, "");
        assert_eq!(request.intake.key, None);
    }

    #[test]
    fn messages_name_the_field() {
        for (body, field) in [
            (r#"{"content":7}"#, "content: "),
            (r#"{"content":"a","sns_id":[]}"#, "sns_id: "),
            (r#"{"content":"a","vars":{"x":true}}"#, "vars.x: "),
            (r#"{"content":"a","v":2}"#, "v: "),
            (r#"{"content":"a","deadline_ms":0}"#, "deadline_ms: "),
            (r#"{"content":"a","deadline_ms":600001}"#, "deadline_ms: "),
            (r#"{"content":"a","cmd":"batch_comment"}"#, "cmd: "),
            (r#"{}"#, "content: is missing"),
            (r#"{"content":"a"} x"#, "body: "),
            (r#"{"content":"#, "content"),
            ("", "body: "),
            ("[]", "body: "),
        ] {
            assert!(message(body).starts_with(field), "{body} → {}", message(body));
        }
        let long_key = format!(r#"{{"content":"a","idempotency_key":"{}"}}"#, "k".repeat(256));
        assert!(message(&long_key).starts_with("idempotency_key: "));
        let batch = BatchRequest::parse(br#"{"comments":["a",3]}"#, StandIns::default()).unwrap_err();
        assert!(batch.to_string().starts_with("comments[1]: "), "{batch}");
    }

    #[test]
    fn header_and_field_must_agree() {
        let headers = StandIns { idempotency_key: Some(b"\"k1\""), traceparent: None };
        let agreed = CommentRequest::parse(br#"{"content":"a","idempotency_key":"k1"}"#, headers).unwrap();
        assert_eq!(agreed.intake.key.unwrap().as_str(), "k1");
        assert!(CommentRequest::parse(br#"{"content":"a","idempotency_key":"k2"}"#, headers).is_err());

        let trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = StandIns { idempotency_key: None, traceparent: Some(trace) };
        let request = CommentRequest::parse(br#"{"content":"a"}"#, headers).unwrap();
        assert_eq!(request.intake.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        assert!(CommentRequest::parse(br#"{"content":"a","trace_id":"other"}"#, headers).is_err());
        let headers = StandIns { idempotency_key: None, traceparent: Some(b"nonsense") };
        assert_eq!(CommentRequest::parse(br#"{"content":"a"}"#, headers).unwrap().intake.trace_id, None);
    }

    #[test]
    fn limits_are_exact() {
        let batch = |n: usize| serde_json::json!({"comments": vec!["x"; n]}).to_string();
        assert!(BatchRequest::parse(batch(1000).as_bytes(), StandIns::default()).is_ok());
        let over = BatchRequest::parse(batch(1001).as_bytes(), StandIns::default()).unwrap_err();
        assert!(matches!(over, RequestError::TooLarge(_)));
        let content = |n: usize| serde_json::json!({"content": "x".repeat(n)}).to_string();
        assert!(single(&content(65536)).is_ok());
        assert!(matches!(single(&content(65537)).unwrap_err(), RequestError::TooLarge(_)));
    }

    #[test]
    fn numbers_in_vars_keep_all_their_digits() {
        let request = single(r#"{"content":"a","vars":{"snsId":14287710653886042616,"s":"t"}}"#).unwrap();
        let Var::Number(number) = &request.intake.addressing.vars["snsId"] else { panic!("not a number") };
        assert_eq!(number.as_u64(), Some(14_287_710_653_886_042_616));
    }

    #[test]
    fn a_batch_keeps_empty_comments_and_absent_concurrency_is_one() {
        let batch = BatchRequest::parse(br#"{"comments":["a","","b"]}"#, StandIns::default()).unwrap();
        assert_eq!((batch.comments.len(), batch.concurrency), (3, 1));
        assert!(BatchRequest::parse(br#"{"comments":[]}"#, StandIns::default()).is_err());
    }
}
