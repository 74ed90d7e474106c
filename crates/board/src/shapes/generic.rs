//! The v1 contract, the board standing in for an upstream that speaks it.

use super::post::{ParsedPost, WireShape};
use crate::refusal::PostRefusal;
use crate::response::BoardResponse;
use crate::store::{AddResult, NewComment};
use commentd_contract::{
    BatchData, BatchRequest, Code, CommentRequest, Intake, ItemResult, Outcome, ProviderName, Reply,
    RequestError, SingleData, StandIns,
};
use http::{HeaderMap, StatusCode};

pub(super) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<ParsedPost, PostRefusal> {
    let request = CommentRequest::parse(body, stand_ins(headers).map_err(refusal)?).map_err(refusal)?;
    Ok(post(WireShape::Generic, vec![request.content], request.intake))
}

pub(super) fn parse_batch(headers: &HeaderMap, body: &[u8]) -> Result<ParsedPost, PostRefusal> {
    let request = BatchRequest::parse(body, stand_ins(headers).map_err(refusal)?).map_err(refusal)?;
    Ok(post(WireShape::GenericBatch, request.comments, request.intake))
}

fn post(shape: WireShape, texts: Vec<String>, intake: Intake) -> ParsedPost {
    let key = intake.key.clone().map(String::from);
    let comment = |text| NewComment {
        target: intake.addressing.sns_id.clone(),
        text,
        author: intake.addressing.author.clone(),
        parent: intake.addressing.reply_to.clone(),
        // The contract has no marker of its own; the key is what a caller can recognise its comment by.
        marker: key.clone().unwrap_or_default(),
    };
    let comments = texts.into_iter().map(comment).collect();
    ParsedPost { shape, comments, key, intake: Some(intake) }
}

fn stand_ins(headers: &HeaderMap) -> Result<StandIns<'_>, RequestError> {
    StandIns::among(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))
}

fn refusal(error: RequestError) -> PostRefusal {
    match error {
        RequestError::Malformed(message) => PostRefusal::bad("bad_request", message),
        RequestError::TooLarge(message) => PostRefusal::too_large(message),
    }
}

pub(super) fn refuse(refusal: &PostRefusal, task_id: &str, latency_ms: u64) -> BoardResponse {
    let reply = Reply::error(refusal.code, refusal.message.as_str(), task_id.to_owned(), latency_ms);
    BoardResponse::json(refusal.status, &reply)
}

pub(super) fn respond(intake: &Intake, added: &[AddResult], latency_ms: u64) -> BoardResponse {
    let item = item(intake, added.first().unwrap_or(&AddResult::Empty), latency_ms);
    let reply = Reply {
        v: 1,
        ok: item.success,
        error_code: item.error_code,
        error_message: item.error_message,
        latency_ms,
        task_id: intake.task_id.clone(),
        data: item.single,
    };
    BoardResponse::json(StatusCode::OK, &reply)
}

pub(super) fn respond_batch(intake: &Intake, added: &[AddResult], latency_ms: u64) -> BoardResponse {
    let results: Vec<ItemResult> = added.iter().map(|added| item(intake, added, latency_ms)).collect();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let total = count(results.len());
    let succeeded = count(results.iter().filter(|item| item.success).count());
    let failed = total - succeeded;
    let code = results.iter().find(|item| !item.success).map_or(Code::Ok, |item| item.error_code);
    let message = if failed == 0 { String::new() } else { format!("{failed} of {total} comments failed") };
    let data = BatchData {
        provider: provider(intake),
        total,
        succeeded,
        failed,
        total_latency_ms: latency_ms,
        fallback_count: 0,
        raw_batch_total: total,
        raw_batch_succeeded: succeeded,
        raw_batch_failed: failed,
        trace_id: intake.trace_id.clone().unwrap_or_default(),
        idempotency_key: key(intake),
        results,
    };
    let reply = Reply {
        v: 1,
        ok: failed == 0,
        error_code: code,
        error_message: message,
        latency_ms,
        task_id: intake.task_id.clone(),
        data,
    };
    BoardResponse::json(StatusCode::OK, &reply)
}

fn item(intake: &Intake, added: &AddResult, latency_ms: u64) -> ItemResult {
    let (outcome, code, message, comment_id, replayed) = match added {
        AddResult::Stored(comment) => (Outcome::Delivered, Code::Ok, "", comment.id.as_str(), false),
        AddResult::Repeated(comment) => (Outcome::Delivered, Code::Ok, "", comment.id.as_str(), true),
        AddResult::ParentMissing => {
            let message = "reply_to: no comment of this target has that id; nothing was stored";
            (Outcome::Refused, Code::UpstreamRefused, message, "", false)
        }
        AddResult::Empty => (Outcome::Refused, Code::InvalidCommand, "content: must not be empty", "", false),
    };
    ItemResult {
        success: outcome.is_success(),
        latency_ms,
        error_code: code,
        error_message: message.to_owned(),
        single: SingleData {
            provider: provider(intake),
            method: provider(intake),
            outcome,
            delivery_id: String::new(),
            comment_id: comment_id.to_owned(),
            trace_id: intake.trace_id.clone().unwrap_or_default(),
            idempotency_key: key(intake),
            replayed,
            raw_provider_latency_ms: latency_ms,
            retry_count: 0,
            provider_error_code: String::new(),
            provider_error_message: String::new(),
            attempts: Vec::new(),
            rendered: None,
            key_belongs_to: None,
        },
    }
}

/// The board has no providers; it goes by the name that the caller expects.
fn provider(intake: &Intake) -> ProviderName {
    ProviderName::parse(&intake.provider).unwrap_or(ProviderName::NativeHttp)
}

fn key(intake: &Intake) -> String {
    intake.key.clone().map(String::from).unwrap_or_default()
}
