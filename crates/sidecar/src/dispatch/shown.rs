//! A record as the API tells it.

use commentd_contract::deliveries::{
    AttemptDetail, CommentView, DeliveryView, ResolutionDetail, VerdictDetail,
};
use commentd_delivery::Verdict;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, Resolution, ResolvedBy, speaking_verdict};
use commentd_delivery::verdict::Effect;

/// The whole record; candidates and the last lookup are left to whoever asks for them.
#[must_use]
pub fn shown(record: &DeliveryRecord) -> DeliveryView {
    let stored = speaking_verdict(&record.attempts).filter(|verdict| verdict.rule().effect == Effect::One);
    DeliveryView {
        id: record.id.to_string(),
        outcome: record.outcome(),
        open: record.is_open(),
        caller: record.key.caller.clone(),
        idempotency_key: record.key.key.to_string(),
        item: record.key.item,
        trace_id: record.trace_id.to_string(),
        created_ms: record.created_ms,
        settled_ms: record.settled_ms,
        comment_id: stored.map(|verdict| verdict.comment_id.clone()).unwrap_or_default(),
        comment: record.comment.as_ref().map(|comment| CommentView {
            content: comment.content.clone(),
            addressing: comment.addressing.clone(),
        }),
        attempts: record.attempts.iter().map(attempt).collect(),
        candidates: None,
        last_lookup: None,
    }
}

fn attempt(record: &AttemptRecord) -> AttemptDetail {
    let to = &record.destination;
    AttemptDetail {
        number: record.number,
        provider: to.provider,
        channel: to.channel.clone(),
        base_url: to.base_url.clone(),
        account: to.account.clone(),
        manifest_version: to.manifest_version,
        marker: record.marker.clone(),
        started_ms: record.started_ms,
        verdict: record.verdict.as_ref().map(verdict),
        resolution: record.resolution.as_deref().map(resolution),
    }
}

fn verdict(verdict: &Verdict) -> VerdictDetail {
    VerdictDetail {
        verdict: verdict.kind,
        error_code: verdict.code,
        error_message: verdict.message.clone(),
        provider_error_code: verdict.provider_error_code.clone(),
        provider_error_message: verdict.provider_error_message.clone(),
        comment_id: verdict.comment_id.clone(),
        latency_ms: verdict.latency_ms,
    }
}

fn resolution(resolution: &Resolution) -> ResolutionDetail {
    let (by, name) = match &resolution.by {
        ResolvedBy::Lookup => ("lookup", String::new()),
        ResolvedBy::Person { name } => ("person", name.clone()),
    };
    ResolutionDetail { by: by.into(), name, at_ms: resolution.at_ms, verdict: verdict(&resolution.verdict) }
}
