//! Deliveries as `/api/deliveries` tells them: what was recorded, and what a person may say about it.
//!
//! Times are wall times in milliseconds since 1970 (UTC).

use crate::code::Code;
use crate::outcome::{Outcome, ProviderName, VerdictKind};
use crate::request::Addressing;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `data` of `GET /api/deliveries`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryList {
    /// The newest first; of one key, in the order of the batch.
    pub deliveries: Vec<DeliveryView>,
}

/// A delivery as it is recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeliveryView {
    /// 32 hexadecimal digits.
    pub id: String,
    /// What it comes to by now.
    pub outcome: Outcome,
    /// Whether an attempt is running.
    pub open: bool,
    /// The caller's configured name; empty for an anonymous one.
    pub caller: String,
    /// The caller's key, or the one that was made for it.
    pub idempotency_key: String,
    /// The place in the batch, from 0.
    pub item: u32,
    /// The trace of the request that made it.
    pub trace_id: String,
    /// When it was first to be sent.
    pub created_ms: u64,
    /// When it was last settled; null while it is open.
    pub settled_ms: Option<u64>,
    /// The channel's id of the comment; empty if none is known.
    pub comment_id: String,
    /// The comment; null after it was forgotten.
    pub comment: Option<CommentView>,
    /// In order.
    pub attempts: Vec<AttemptDetail>,
    /// What the channel shows that reads like the comment; there if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// What the last lookup came to; there if it is one of the latest since the sidecar's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_lookup: Option<LastLook>,
}

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastLook {
    /// Wall time, in milliseconds since 1970.
    pub at_ms: u64,
    /// `found`, `not_found`, `undetermined` or `failed`.
    pub finding: String,
    /// Why it leaves the question open; empty if it doesn't.
    pub said: String,
}

/// A comment and where it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommentView {
    /// The text.
    pub content: String,
    /// Where it goes.
    #[serde(flatten, with = "crate::shared")]
    pub addressing: Arc<Addressing>,
}

/// One try of one provider, in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptDetail {
    /// From 1.
    pub number: u32,
    /// Who tried.
    pub provider: ProviderName,
    /// The channel's name; empty for a provider without one.
    pub channel: String,
    /// Its base URL, without credentials and query.
    pub base_url: String,
    /// Who comments there, as far as it is known.
    pub account: String,
    /// The version of the channel's manifest.
    pub manifest_version: u32,
    /// What the channel carries of the delivery's id; empty if nothing.
    pub marker: String,
    /// When its intent was recorded.
    pub started_ms: u64,
    /// What it came to by itself; null while it is running.
    pub verdict: Option<VerdictDetail>,
    /// What made it certain after it had ended unknown.
    pub resolution: Option<ResolutionDetail>,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictDetail {
    /// The row of the rule table.
    pub verdict: VerdictKind,
    /// Its code; 0 for success.
    pub error_code: Code,
    /// For people; empty for success.
    pub error_message: String,
    /// The channel's own code; empty if it gave none.
    pub provider_error_code: String,
    /// The channel's own text; empty if it gave none.
    pub provider_error_message: String,
    /// The comment id that the channel's reply names; empty if it named none.
    pub comment_id: String,
    /// Time at the provider, in milliseconds.
    pub latency_ms: u64,
}

/// What made an unknown attempt certain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolutionDetail {
    /// `lookup`, or `person`.
    pub by: String,
    /// Who, if it was a person; empty otherwise.
    pub name: String,
    /// When.
    pub at_ms: u64,
    /// What it came to after all.
    #[serde(flatten)]
    pub verdict: VerdictDetail,
}

/// What the channel shows that reads like a delivery's comment. A text proves nothing: it is for a person to judge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    /// Those with the comment's words, markup and blanks aside.
    pub comments: Vec<Candidate>,
    /// Why the channel couldn't be asked, or why these may not be all; empty if it was, and they are.
    pub error: String,
}

/// A comment that the channel shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The channel's id of it.
    pub comment_id: String,
    /// Its text, as the channel keeps it.
    pub text: String,
}

/// The body of `POST /api/deliveries/{id}/resolve`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResolveRequest {
    /// `delivered`, `held`, `misplaced` or `not_sent`.
    pub outcome: Outcome,
    /// The channel's id of the comment, where it is there and the id is known.
    #[serde(default)]
    pub comment_id: String,
    /// Who says so, for the record: 1 to 200 bytes.
    pub by: String,
}

/// Longest name in [`ResolveRequest::by`], in bytes.
const MAX_BY_BYTES: usize = 200;
/// Longest comment id, in bytes.
const MAX_COMMENT_ID_BYTES: usize = 1000;

impl ResolveRequest {
    /// Reads a body and checks it.
    ///
    /// # Errors
    /// Names the field and what is allowed there.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let request: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            format!("{path}: {}", error.into_inner())
        })?;
        reader.end().map_err(|error| format!("the body goes on after its JSON value: {error}"))?;
        request.check()?;
        Ok(request)
    }

    /// What it says about the attempt.
    ///
    /// # Errors
    /// Names the field and what is allowed there.
    pub fn check(&self) -> Result<VerdictKind, String> {
        let kind = match self.outcome {
            Outcome::Delivered => VerdictKind::Delivered,
            Outcome::Held => VerdictKind::Held,
            Outcome::Misplaced => VerdictKind::Misplaced,
            Outcome::NotSent => VerdictKind::NotSent,
            other => {
                return Err(format!("outcome: must be delivered, held, misplaced or not_sent, is {other}"));
            }
        };
        if self.by.trim().is_empty() || self.by.len() > MAX_BY_BYTES {
            return Err(format!("by: must say who settles it, in 1 to {MAX_BY_BYTES} bytes"));
        }
        if self.comment_id.len() > MAX_COMMENT_ID_BYTES {
            return Err(format!("comment_id: must have at most {MAX_COMMENT_ID_BYTES} bytes"));
        }
        if kind == VerdictKind::NotSent && !self.comment_id.is_empty() {
            return Err("comment_id: a comment that isn't there has none".into());
        }
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolve_request_is_checked_field_by_field() {
        let good = ResolveRequest::parse(br#"{"outcome":"held","comment_id":"7","by":"Ann"}"#).unwrap();
        assert_eq!((good.outcome, good.comment_id.as_str(), good.by.as_str()), (Outcome::Held, "7", "Ann"));
        assert!(ResolveRequest::parse(br#"{"outcome":"not_sent","by":"Ann"}"#).is_ok());
        for (body, names) in [
            (r#"{"outcome":"held"}"#, "by"),
            (r#"{"outcome":"held","by":" "}"#, "by"),
            (r#"{"outcome":"lost","by":"Ann"}"#, "outcome"),
            (r#"{"outcome":"unknown","by":"Ann"}"#, "outcome"),
            (r#"{"outcome":"refused","by":"Ann"}"#, "outcome"),
            (r#"{"outcome":"not_sent","comment_id":"7","by":"Ann"}"#, "comment_id"),
            (r#"{"outcome":"held","comment_id":7,"by":"Ann"}"#, "comment_id"),
            (r#"{"outcome":"held","by":"Ann"} x"#, "body"),
            ("", "EOF"),
        ] {
            let error = ResolveRequest::parse(body.as_bytes()).unwrap_err();
            assert!(error.contains(names), "{body}: {error}");
        }
        let long = format!(r#"{{"outcome":"held","by":"{}"}}"#, "x".repeat(201));
        assert!(ResolveRequest::parse(long.as_bytes()).unwrap_err().contains("by"));
    }
}
