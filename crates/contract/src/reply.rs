//! Replies in the shape that existing clients read.

use crate::code::Code;
use crate::outcome::{Outcome, ProviderName, VerdictKind};
use serde::{Deserialize, Serialize};

/// The envelope of every reply, errors included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply<D> {
    /// Always 1.
    pub v: u8,
    /// A real JSON boolean: an existing client calls `bool()` on it.
    pub ok: bool,
    /// 0 when nothing went wrong.
    pub error_code: Code,
    /// For people; empty when nothing went wrong.
    pub error_message: String,
    /// From receipt to reply, in milliseconds.
    pub latency_ms: u64,
    /// The caller's `task_id`.
    pub task_id: String,
    /// What was asked for.
    pub data: D,
}

/// One attempt, as a reply tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    /// Who tried.
    pub provider: ProviderName,
    /// What it came to.
    pub verdict: VerdictKind,
    /// Time at the provider, in milliseconds.
    pub latency_ms: u64,
    /// The verdict's code; 0 for success.
    pub error_code: Code,
    /// The verdict's message; empty for success.
    pub error_message: String,
}

/// `data` of a single reply; also a part of each batch result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SingleData {
    /// The provider that answered; the primary if none did.
    pub provider: ProviderName,
    /// The same, under the name that older clients read.
    pub method: ProviderName,
    /// What the delivery came to.
    pub outcome: Outcome,
    /// The delivery's id, 32 hexadecimal digits; empty where no delivery was made.
    pub delivery_id: String,
    /// The channel's id of the comment; empty if none is known to be ours.
    pub comment_id: String,
    /// The caller's trace, or one made for this request.
    pub trace_id: String,
    /// The caller's key, or the one made for this request.
    pub idempotency_key: String,
    /// Whether this answers from the record, without an attempt of its own.
    pub replayed: bool,
    /// The last attempt's time at the provider, in milliseconds.
    pub raw_provider_latency_ms: u64,
    /// Attempts beyond the first.
    pub retry_count: u32,
    /// The channel's own code; empty if it gave none.
    pub provider_error_code: String,
    /// The channel's own text; empty if it gave none.
    pub provider_error_message: String,
    /// All attempts of the delivery, in order.
    pub attempts: Vec<AttemptView>,
    /// The request that a dry run would have sent, secrets as `***`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rendered: Option<serde_json::Value>,
    /// What is known of the comment that the key belongs to, where that is another one (code 63).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key_belongs_to: Option<KeyOwner>,
}

/// What is known of the delivery that a key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyOwner {
    /// What it came to.
    pub outcome: Outcome,
    /// Its id, 32 hexadecimal digits.
    pub delivery_id: String,
    /// The channel's id of its comment; empty if none is known to be its.
    pub comment_id: String,
}

impl std::fmt::Display for KeyOwner {
    /// For example `delivery 0123… is delivered as comment 7`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "delivery {} is {}", self.delivery_id, self.outcome)?;
        if !self.comment_id.is_empty() {
            write!(f, " as comment {}", self.comment_id)?;
        }
        Ok(())
    }
}

/// One comment of a batch reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemResult {
    /// As `ok` of a single reply.
    pub success: bool,
    /// From the batch's receipt to this item's answer, in milliseconds.
    pub latency_ms: u64,
    /// 0 when nothing went wrong.
    pub error_code: Code,
    /// For people.
    pub error_message: String,
    /// The fields of a single reply's `data`.
    #[serde(flatten)]
    pub single: SingleData,
}

/// `data` of a batch reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchData {
    /// The primary provider.
    pub provider: ProviderName,
    /// How many comments were asked for.
    pub total: u32,
    /// How many of them have `success`.
    pub succeeded: u32,
    /// The others.
    pub failed: u32,
    /// From receipt to the last item's answer, in milliseconds.
    pub total_latency_ms: u64,
    /// Items answered by another provider than the primary.
    pub fallback_count: u32,
    /// Items that the primary tried.
    pub raw_batch_total: u32,
    /// Of those, the ones that the primary brought to success by itself.
    pub raw_batch_succeeded: u32,
    /// The others of those.
    pub raw_batch_failed: u32,
    /// The caller's trace, or one made for this request.
    pub trace_id: String,
    /// The key that all items share.
    pub idempotency_key: String,
    /// `results[i]` answers `comments[i]`.
    pub results: Vec<ItemResult>,
}

/// `data` of a reply that carries nothing but an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ErrorData {}

impl<D> Reply<D> {
    /// A reply that says yes.
    pub fn ok(task_id: String, latency_ms: u64, data: D) -> Self {
        Self { v: 1, ok: true, error_code: Code::Ok, error_message: String::new(), latency_ms, task_id, data }
    }
}

impl Reply<ErrorData> {
    /// A reply that refuses the request itself.
    pub fn error(code: Code, message: impl Into<String>, task_id: String, latency_ms: u64) -> Self {
        Self {
            v: 1,
            ok: false,
            error_code: code,
            error_message: message.into(),
            latency_ms,
            task_id,
            data: ErrorData {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_shape_of_every_reply() {
        let json = serde_json::to_value(Reply::error(Code::InvalidCommand, "v: no", "t".into(), 3)).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"v":1,"ok":false,"error_code":10,"error_message":"v: no","latency_ms":3,
                "task_id":"t","data":{}})
        );
    }
}
