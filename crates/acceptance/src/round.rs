//! One round: a batch sent, its reply read, every item judged.

use crate::options::{AcceptOptions, SIDECAR_DEFAULT_DEADLINE_MS};
use crate::verify::PresenceTally;
use commentd_contract::client::{CallError, ContractClient, HttpResponse};
use commentd_contract::report::{FailedItem, FallbackItem, Round};
use commentd_contract::{Code, Outcome, ProviderName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wire::{AnyBatchData, AnyBatchReply, AnyItem};

mod wire;

pub(crate) use wire::shown as word;

/// Longest message that is kept from a reply, in characters.
const MAX_MESSAGE_CHARS: usize = 500;
/// How much earlier than our timeout a sidecar is asked to answer, in milliseconds.
const ANSWER_MARGIN_MS: u64 = 50;

/// `POST /api/comment/batch`, as it is written.
#[derive(Serialize)]
struct BatchBody<'a> {
    v: u8,
    cmd: &'static str,
    task_id: &'a str,
    sns_id: &'a str,
    author: &'a str,
    content_hash: &'a str,
    reply_to: &'a str,
    comments: &'a [String],
    concurrency: u32,
    idempotency_key: &'a str,
    provider: ProviderName,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
}

/// The part of a reply that errors have too.
#[derive(Deserialize)]
struct ReplyHead {
    ok: bool,
    error_code: i64,
    #[serde(default)]
    error_message: String,
}

/// What a batch came to as a whole.
pub(crate) enum BatchResult {
    /// A reply with a result for every comment.
    Answered(AnyBatchData),
    /// No such reply: no item is known to have succeeded.
    Failed {
        /// Stands in every failed item.
        code: Code,
        /// Likewise.
        message: String,
    },
}

/// Sends the batch once and reads its reply.
pub(crate) async fn send(options: &AcceptOptions, key: &str, comments: &[String]) -> BatchResult {
    let client = ContractClient {
        base_url: &options.base_url,
        timeout_ms: options.timeout_ms,
        authorization: options.authorization.as_ref(),
    };
    let body = match body(options, key, comments) {
        Ok(body) => body,
        Err(error) => {
            return BatchResult::Failed {
                code: Code::Internal,
                message: format!("no request was made: {error}"),
            };
        }
    };
    match client.post(&options.batch_path, body).await {
        Ok(response) => read(&response, comments.len()),
        Err(CallError::NotSent(message)) => BatchResult::Failed {
            code: Code::UpstreamUnavailable,
            message: format!("nothing was sent to the sidecar: {message}"),
        },
        Err(CallError::Unknown(message)) => BatchResult::Failed {
            code: Code::OutcomeUnknown,
            message: format!("the sidecar gave no answer: {message}"),
        },
    }
}

fn body(options: &AcceptOptions, key: &str, comments: &[String]) -> serde_json::Result<Vec<u8>> {
    let to = &options.addressing;
    // A sidecar that would answer only after we left is asked to answer before.
    let deadline_ms = (options.timeout_ms <= SIDECAR_DEFAULT_DEADLINE_MS)
        .then(|| options.timeout_ms.saturating_sub(ANSWER_MARGIN_MS).max(1));
    serde_json::to_vec(&BatchBody {
        v: 1,
        cmd: "batch_comment",
        task_id: key,
        sns_id: &to.sns_id,
        author: &to.author,
        content_hash: &to.content_hash,
        reply_to: &to.reply_to,
        comments,
        concurrency: options.concurrency,
        idempotency_key: key,
        provider: options.provider,
        deadline_ms,
    })
}

/// Reads a reply. Positions are all that ties results to comments, so a reply of another length says nothing
/// about any of them.
fn read(response: &HttpResponse, comments: usize) -> BatchResult {
    let status = response.status;
    let bad = |message: String| BatchResult::Failed { code: Code::UpstreamBadReply, message };
    let head = serde_json::from_slice::<ReplyHead>(&response.body);
    if !status.is_success() {
        return match head {
            Ok(head) => refusal(&format!("HTTP {}: ", status.as_u16()), head),
            Err(_) if status.is_redirection() => {
                bad(format!("HTTP {}: redirects are not followed; name the final address", status.as_u16()))
            }
            Err(_) => bad(format!("HTTP {} without a v1 reply", status.as_u16())),
        };
    }
    match serde_json::from_slice::<AnyBatchReply>(&response.body) {
        Ok(reply) if reply.v == 1 && reply.data.results.len() == comments => {
            BatchResult::Answered(reply.data)
        }
        Ok(reply) if reply.v != 1 => bad(format!("the reply speaks version {}, not 1", reply.v)),
        Ok(reply) => {
            bad(format!("the reply has {} results for {comments} comments", reply.data.results.len()))
        }
        Err(error) => match head {
            Ok(head) if !head.ok && head.error_code != 0 => refusal("", head),
            _ => bad(format!("HTTP {} with a body that is no v1 batch reply: {error}", status.as_u16())),
        },
    }
}

/// A reply that refuses the request as a whole, in its own words.
fn refusal(prefix: &str, head: ReplyHead) -> BatchResult {
    let message = shortened(&head.error_message);
    match Code::from_number(head.error_code) {
        Some(code) if code != Code::Ok => BatchResult::Failed { code, message: format!("{prefix}{message}") },
        _ => BatchResult::Failed {
            code: Code::UpstreamBadReply,
            message: format!("{prefix}error_code {}, {message}", head.error_code),
        },
    }
}

/// Turns a batch into its entry in the report, not yet verified. `sidecar` is the primary by `/health`.
pub(crate) fn judge(
    options: &AcceptOptions,
    round: u32,
    elapsed_ms: u64,
    batch: BatchResult,
    sidecar: &str,
) -> Round {
    let total = options.count;
    let mut entry = Round {
        round,
        elapsed_ms,
        // Without the sidecar's own figure: at least that long did its caller wait.
        batch_latency_ms: elapsed_ms,
        total,
        succeeded: 0,
        failed: total,
        strict_success: false,
        under_target: elapsed_ms < options.target_ms,
        mode: "http".into(),
        raw_batch_total: 0,
        raw_batch_succeeded: 0,
        raw_batch_failed: 0,
        fallback_count: 0,
        method_counts: BTreeMap::new(),
        failed_items: Vec::new(),
        fallback_items: Vec::new(),
        provider: sidecar.to_owned(),
        verified_once: None,
        verified_missing: None,
        verified_duplicate: None,
    };
    match batch {
        BatchResult::Failed { code, message } => {
            let item = |index| unanswered(index, code, &message, elapsed_ms);
            entry.failed_items = (1..=total).map(item).collect();
        }
        BatchResult::Answered(data) => {
            for (index, item) in (1..).zip(&data.results) {
                *entry.method_counts.entry(item.method.clone()).or_insert(0) += 1;
                if is_stored(item) && item.provider != data.provider {
                    entry.fallback_items.push(carried(index, &data.provider, item));
                }
                match failure(options, item) {
                    None => entry.succeeded += 1,
                    Some((code, message)) => entry.failed_items.push(answered(index, code, message, item)),
                }
            }
            entry.failed = total - entry.succeeded;
            entry.strict_success = entry.failed == 0;
            entry.batch_latency_ms = data.total_latency_ms.unwrap_or(elapsed_ms);
            entry.under_target = entry.batch_latency_ms < options.target_ms;
            entry.raw_batch_total = data.raw_batch_total;
            entry.raw_batch_succeeded = data.raw_batch_succeeded;
            entry.raw_batch_failed = data.raw_batch_failed;
            entry.fallback_count = data.fallback_count;
            entry.provider = data.provider;
        }
    }
    entry
}

/// Adds what was found at the target.
pub(crate) fn set_verified(round: &mut Round, tally: PresenceTally) {
    round.verified_once = Some(tally.once);
    round.verified_missing = Some(tally.missing);
    round.verified_duplicate = Some(tally.duplicate);
    round.strict_success = round.failed == 0 && tally.once == round.total;
}

/// Whether the comment is there. Where an outcome is told, `success` is not asked: `--unknown-as` may bend it. The
/// original sidecar tells nothing else.
fn is_stored(item: &AnyItem) -> bool {
    match &item.outcome {
        Some(outcome) => matches!(Outcome::parse(outcome), Some(Outcome::Delivered | Outcome::Held)),
        None => item.success,
    }
}

/// Why an item counts as failed; `None` if it doesn't.
fn failure(options: &AcceptOptions, item: &AnyItem) -> Option<(Code, String)> {
    if is_stored(item) {
        let asked = options.provider.as_str();
        return (options.require_provider_match && item.provider != asked).then(|| {
            (Code::Misplaced, format!("provider mismatch: asked for {asked}, {} answered", item.provider))
        });
    }
    let outcome = item.outcome.as_deref().and_then(Outcome::parse);
    let told = Code::from_number(item.error_code);
    let code = match (told, outcome) {
        (None, _) => Code::UpstreamBadReply,
        (Some(Code::Ok), Some(Outcome::Misplaced)) => Code::Misplaced,
        // Without an outcome, nobody can tell.
        (Some(Code::Ok), None | Some(Outcome::Unknown)) => Code::OutcomeUnknown,
        (Some(Code::Ok), _) => Code::UpstreamUnavailable,
        (Some(code), _) => code,
    };
    let mut parts = Vec::new();
    parts.push(match &item.outcome {
        Some(outcome) => format!("outcome {}", word(outcome)),
        None => "no outcome, not a success".to_owned(),
    });
    if told.is_none() {
        parts.push(format!("error_code {}", item.error_code));
    }
    if !item.error_message.is_empty() {
        parts.push(shortened(&item.error_message));
    }
    Some((code, parts.join(": ")))
}

/// An item that another provider than the primary carried, with what the primary came to at last.
fn carried(index: u32, primary: &str, item: &AnyItem) -> FallbackItem {
    let failed = item.attempts.iter().rfind(|attempt| attempt.provider == primary);
    FallbackItem {
        index,
        error_code: failed.and_then(|attempt| Code::from_number(attempt.error_code)).unwrap_or(Code::Ok),
        error_message: failed.map(|attempt| shortened(&attempt.error_message)).unwrap_or_default(),
        latency_ms: item.latency_ms.unwrap_or_default(),
        method: item.method.clone(),
        provider: item.provider.clone(),
    }
}

fn answered(index: u32, error_code: Code, error_message: String, item: &AnyItem) -> FailedItem {
    FailedItem {
        index,
        error_code,
        error_message,
        latency_ms: item.latency_ms.unwrap_or_default(),
        method: item.method.clone(),
        provider: item.provider.clone(),
        provider_error_code: shortened(&item.provider_error_code),
        provider_error_message: shortened(&item.provider_error_message),
    }
}

fn unanswered(index: u32, error_code: Code, message: &str, latency_ms: u64) -> FailedItem {
    FailedItem {
        index,
        error_code,
        error_message: message.to_owned(),
        latency_ms,
        method: String::new(),
        provider: String::new(),
        provider_error_code: String::new(),
        provider_error_message: String::new(),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
