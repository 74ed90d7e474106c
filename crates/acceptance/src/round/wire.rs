//! A batch reply as any sidecar of the contract writes it. The original one names its providers as it likes and tells
//! no outcomes, so all that isn't needed to tell results apart may be absent.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Longest word for a provider that is kept, in characters.
const MAX_WORD_CHARS: usize = 64;

#[derive(Debug, Deserialize)]
pub(super) struct AnyBatchReply {
    pub(super) v: u64,
    pub(super) data: AnyBatchData,
}

/// `data` of a batch reply.
#[derive(Debug, Deserialize)]
pub(crate) struct AnyBatchData {
    /// The primary provider.
    #[serde(default, deserialize_with = "word")]
    pub(super) provider: String,
    #[serde(default, deserialize_with = "whole_ms")]
    pub(super) total_latency_ms: Option<u64>,
    #[serde(default)]
    pub(super) fallback_count: u32,
    #[serde(default)]
    pub(super) raw_batch_total: u32,
    #[serde(default)]
    pub(super) raw_batch_succeeded: u32,
    #[serde(default)]
    pub(super) raw_batch_failed: u32,
    /// `results[i]` answers `comments[i]`.
    pub(super) results: Vec<AnyItem>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AnyItem {
    #[serde(default)]
    pub(super) success: bool,
    #[serde(default)]
    pub(super) outcome: Option<String>,
    #[serde(default, deserialize_with = "whole_ms")]
    pub(super) latency_ms: Option<u64>,
    #[serde(default)]
    pub(super) error_code: i64,
    #[serde(default, deserialize_with = "text")]
    pub(super) error_message: String,
    #[serde(default, deserialize_with = "word")]
    pub(super) provider: String,
    #[serde(default, deserialize_with = "word")]
    pub(super) method: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) provider_error_code: String,
    #[serde(default, deserialize_with = "text")]
    pub(super) provider_error_message: String,
    #[serde(default)]
    pub(super) attempts: Vec<AnyAttempt>,
}

#[derive(Debug, Deserialize)]
pub(super) struct AnyAttempt {
    #[serde(default, deserialize_with = "word")]
    pub(super) provider: String,
    #[serde(default)]
    pub(super) error_code: i64,
    #[serde(default, deserialize_with = "text")]
    pub(super) error_message: String,
}

/// A text; whatever else stands there, as JSON.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    })
}

/// A provider's name, whatever a sidecar calls it.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(shown(&text(from)?))
}

/// Whole milliseconds; a part of one counts as none.
fn whole_ms<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let value = Value::deserialize(from)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is 0 or more, and saturates"
    )]
    let floored = || value.as_f64().filter(|number| *number >= 0.0).map(|number| number as u64);
    Ok(value.as_u64().or_else(floored))
}

/// A provider's name from elsewhere, short and safe to print.
pub(crate) fn shown(text: &str) -> String {
    commentd_contract::terminal::one_line(text.trim()).chars().take(MAX_WORD_CHARS).collect()
}
