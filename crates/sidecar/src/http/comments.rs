//! `POST /api/comment` and `POST /api/comment/batch`.

use super::app::{App, Sender};
use super::body;
use super::error::ApiError;
use super::reply::{json, json_of};
use crate::dispatch::{AdmissionPermit, HeldBytes, Order};
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use commentd_contract::{
    Addressing, BatchData, BatchRequest, Code, CommentRequest, Intake, ItemResult, KeyOwner, Outcome,
    ProviderName, Reply, RequestError, SingleData, StandIns,
};
use commentd_delivery::outcome::is_success;
use commentd_delivery::record::KeyRef;
use commentd_delivery::reply::{DeliverError, DeliveryReply};
use commentd_delivery::{Clock, Comment, Moment};
use commentd_providers::{ProviderJob, yield_once};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

/// What all comments of one request share.
struct RequestContext<'a> {
    app: &'a App,
    at: Moment,
    deadline: Moment,
    caller: Arc<str>,
    task_id: String,
    key: Arc<str>,
    key_is_made: bool,
    trace_id: Arc<str>,
    batch_len: usize,
}

pub(super) async fn single(
    State(app): State<App>,
    Extension(sender): Extension<Sender>,
    request: Request<Body>,
) -> Response {
    let at = app.dispatcher.clock().now();
    let mut task_id = String::new();
    let replied = reply_to_single(&app, at, sender, request, &mut task_id).await;
    respond(&app, at, task_id, replied).await
}

/// `task_id` is set once it is known, for the reply to an error, too.
async fn reply_to_single(
    app: &App,
    at: Moment,
    sender: Sender,
    request: Request<Body>,
    task_id: &mut String,
) -> Result<Response, ApiError> {
    let read = body::read(&app.dispatcher, request, &sender.presence).await?;
    let (request, held) = parsed(read, CommentRequest::parse)?;
    task_id.clone_from(&request.intake.task_id);
    let (context, addressing) = receive(app, at, sender.caller, request.intake, 1)?;
    let permit = app.dispatcher.admit(1, held).ok_or(ApiError::Overloaded)?;
    let item = context.item(0, Comment { content: request.content, addressing }, Some(permit)).await?;
    let reply = Reply {
        v: 1,
        ok: item.success,
        error_code: item.error_code,
        error_message: item.error_message,
        latency_ms: item.latency_ms,
        task_id: context.task_id,
        data: item.single,
    };
    Ok(json(StatusCode::OK, &reply))
}

pub(super) async fn batch(
    State(app): State<App>,
    Extension(sender): Extension<Sender>,
    request: Request<Body>,
) -> Response {
    let at = app.dispatcher.clock().now();
    let mut task_id = String::new();
    let replied = reply_to_batch(&app, at, sender, request, &mut task_id).await;
    respond(&app, at, task_id, replied).await
}

/// As [`reply_to_single`].
async fn reply_to_batch(
    app: &App,
    at: Moment,
    sender: Sender,
    request: Request<Body>,
    task_id: &mut String,
) -> Result<Response, ApiError> {
    let read = body::read(&app.dispatcher, request, &sender.presence).await?;
    let (request, held) = parsed(read, BatchRequest::parse)?;
    task_id.clone_from(&request.intake.task_id);
    let count = request.comments.len();
    let (context, addressing) = receive(app, at, sender.caller, request.intake, count)?;
    let most = app.dispatcher.most_in_flight();
    if count > most {
        return Err(ApiError::TooLarge(format!(
            "comments: {count} comments, and this sidecar takes at most {most} at a time (--max-in-flight); nothing was \
             sent, split the batch"
        )));
    }
    let mut permit = app.dispatcher.admit(count, held).ok_or(ApiError::Overloaded)?;
    let concurrency =
        usize::try_from(request.concurrency).unwrap_or(1).clamp(1, app.settings.max_batch_concurrency.max(1));
    let context = &context;
    let items = request.comments.into_iter().enumerate().map(|(index, content)| {
        let comment = Comment { content, addressing: Arc::clone(&addressing) };
        let permit = permit.split();
        async move {
            let item = context.item(index, comment, permit).await;
            (index, item.unwrap_or_else(|error| context.failed(&error)))
        }
    });
    let deadline = app.dispatcher.clock().instant(context.deadline);
    let mut results = all(items, concurrency, deadline).await;
    results.sort_unstable_by_key(|(index, _)| *index);
    let reply = context.batch_reply(results.into_iter().map(|(_, item)| item).collect());
    Ok(json_of(count, StatusCode::OK, &reply))
}

/// Runs so many items at a time, started in order, and gives their results as they come, so that a slow one doesn't
/// hold back the others. Past the deadline nothing is sent any more, so the rest is started at once.
async fn all<F: Future>(
    items: impl Iterator<Item = F>,
    concurrency: usize,
    deadline: Instant,
) -> Vec<F::Output> {
    let mut items = items.fuse();
    let mut running = FuturesUnordered::new();
    let mut done = Vec::new();
    let mut late = pin!(unconstrained(tokio::time::sleep_until(deadline)));
    let mut is_late = false;
    loop {
        while is_late || running.len() < concurrency {
            let Some(item) = items.next() else { break };
            running.push(item);
        }
        tokio::select! {
            biased;
            () = &mut late, if !is_late => is_late = true,
            next = running.next() => match next {
                Some(item) => done.push(item),
                None => return done,
            },
        }
    }
}

/// The reply, or its error's. Lets the other tasks of this thread come as far first, so that replies that are ready
/// together are written together (as comments are, see `NativeHttp`).
async fn respond(app: &App, at: Moment, task_id: String, replied: Result<Response, ApiError>) -> Response {
    let response = replied.unwrap_or_else(|error| error.respond(task_id, app.ms_since(at)));
    yield_once().await;
    response
}

/// What the request says. Headers and body are dropped here instead of being kept until the reply.
fn parsed<T>(
    (headers, body, held): (HeaderMap, Bytes, HeldBytes),
    parse: impl FnOnce(&[u8], StandIns<'_>) -> Result<T, RequestError>,
) -> Result<(T, HeldBytes), ApiError> {
    let headers = StandIns::among(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    Ok((parse(&body, headers)?, held))
}

fn receive(
    app: &App,
    at: Moment,
    caller: Arc<str>,
    intake: Intake,
    batch_len: usize,
) -> Result<(RequestContext<'_>, Arc<Addressing>), ApiError> {
    let primary = app.settings.health.provider;
    if !intake.provider.is_empty() && ProviderName::parse(&intake.provider) != Some(primary) {
        return Err(ApiError::Malformed(format!(
            "provider mismatch: request={}, service={primary}",
            intake.provider
        )));
    }
    if intake.key.is_none() && app.settings.require_key {
        return Err(ApiError::Malformed(
            "idempotency_key: is missing, and this sidecar was started with --require-key".into(),
        ));
    }
    let random =
        || app.dispatcher.fresh_id().map(|id| id.digits().as_str().into()).map_err(ApiError::NotRecorded);
    let deadline = intake.deadline_ms.map_or(app.settings.default_deadline, Duration::from_millis);
    let context = RequestContext {
        at,
        deadline: at + deadline,
        caller,
        task_id: intake.task_id,
        key_is_made: intake.key.is_none(),
        key: match intake.key {
            Some(key) => key.as_str().into(),
            None => random()?,
        },
        trace_id: match intake.trace_id {
            Some(trace_id) => trace_id.into(),
            None => random()?,
        },
        batch_len,
        app,
    };
    Ok((context, intake.addressing))
}

impl RequestContext<'_> {
    /// Delivers one comment.
    async fn item(
        &self,
        index: usize,
        comment: Comment,
        permit: Option<AdmissionPermit>,
    ) -> Result<ItemResult, ApiError> {
        if comment.content.is_empty() {
            let message = "content: is empty";
            return Ok(self.without_delivery(Outcome::Refused, Code::InvalidCommand, message));
        }
        if self.app.settings.dry_run {
            return Ok(self.rehearse(comment));
        }
        let Some(permit) = permit else { return Err(ApiError::Overloaded) };
        let key = KeyRef {
            caller: self.caller.to_string(),
            key: Arc::clone(&self.key),
            item: u32::try_from(index).unwrap_or(u32::MAX),
        };
        let order = Order {
            key,
            key_is_made: self.key_is_made,
            comment,
            batch_len: self.batch_len,
            trace_id: Arc::clone(&self.trace_id),
            deadline: self.deadline,
            permit,
        };
        match self.app.dispatcher.deliver(order).await {
            Ok(reply) => Ok(self.item_result(&reply)),
            Err(DeliverError::KeyReused(known)) => {
                Err(ApiError::KeyReused(known.as_deref().and_then(owner_of)))
            }
            Err(DeliverError::KeyInFlight) => Err(ApiError::KeyInFlight),
            Err(DeliverError::LedgerSilent) => Err(ApiError::LedgerSilent),
            Err(DeliverError::NotRecorded(message)) => Err(ApiError::NotRecorded(message)),
            Err(DeliverError::NotReadable(message)) => Err(ApiError::NotReadable(message)),
            Err(DeliverError::Failed) => Ok(self.without_delivery(
                Outcome::Unknown,
                Code::Internal,
                "the sidecar failed while it delivered this comment; see its log, then ask again with the same key",
            )),
        }
    }

    fn item_result(&self, reply: &DeliveryReply) -> ItemResult {
        let speaking = reply.speaking();
        let provider = speaking.map_or(self.primary(), |(provider, _)| provider);
        let verdict = speaking.map(|(_, verdict)| verdict);
        let last = reply.attempts.last().and_then(|(_, verdict)| verdict.as_ref());
        ItemResult {
            success: self.is_success(reply.outcome),
            latency_ms: self.app.ms_since(self.at),
            error_code: reply.code,
            error_message: reply.message.clone(),
            single: SingleData {
                provider,
                method: provider,
                outcome: reply.outcome,
                delivery_id: reply.id.map(|id| id.text()).unwrap_or_default(),
                comment_id: reply.comment_id().to_owned(),
                trace_id: reply.trace_id.to_string(),
                idempotency_key: self.key.to_string(),
                replayed: reply.replayed,
                raw_provider_latency_ms: last.map_or(0, |verdict| verdict.latency_ms),
                retry_count: u32::try_from(reply.attempts.len().saturating_sub(1)).unwrap_or(u32::MAX),
                provider_error_code: verdict.map(|v| v.provider_error_code.clone()).unwrap_or_default(),
                provider_error_message: verdict.map(|v| v.provider_error_message.clone()).unwrap_or_default(),
                attempts: reply.attempt_views(),
                rendered: None,
                key_belongs_to: None,
            },
        }
    }

    /// An item for which no delivery was made.
    fn without_delivery(&self, outcome: Outcome, code: Code, message: &str) -> ItemResult {
        ItemResult {
            success: self.is_success(outcome),
            latency_ms: self.app.ms_since(self.at),
            error_code: code,
            error_message: message.to_owned(),
            single: SingleData {
                provider: self.primary(),
                method: self.primary(),
                outcome,
                delivery_id: String::new(),
                comment_id: String::new(),
                trace_id: self.trace_id.to_string(),
                idempotency_key: self.key.to_string(),
                replayed: false,
                raw_provider_latency_ms: 0,
                retry_count: 0,
                provider_error_code: String::new(),
                provider_error_message: String::new(),
                attempts: Vec::new(),
                rendered: None,
                key_belongs_to: None,
            },
        }
    }

    /// An item of a batch that failed.
    fn failed(&self, error: &ApiError) -> ItemResult {
        let mut item = self.without_delivery(error.outcome(), error.code(), &error.to_string());
        // Whatever `--unknown-as` says: this request has added no comment.
        item.success = false;
        if let ApiError::KeyReused(owner) = error {
            item.single.key_belongs_to.clone_from(owner);
        }
        item
    }

    fn rehearse(&self, comment: Comment) -> ItemResult {
        let mut item = self.without_delivery(Outcome::DryRun, Code::Ok, "");
        let Some(provider) = self.app.dispatcher.primary() else { return item };
        // A dry run records nothing; any id shows where one would stand.
        let id = self.app.dispatcher.fresh_id().unwrap_or(commentd_delivery::DeliveryId::from_bytes([0; 16]));
        let job = ProviderJob {
            id,
            comment: Arc::new(comment),
            trace_id: self.trace_id.clone(),
            attempt: 1,
            began_ms: None,
            deadline: self.deadline,
        };
        match provider.dry_run(&job) {
            Ok(rendered) => item.single.rendered = serde_json::to_value(rendered).ok(),
            Err(verdict) => {
                item.success = false;
                item.single.outcome = Outcome::NotSent;
                item.error_code = verdict.code;
                item.error_message = verdict.message;
            }
        }
        item
    }

    fn batch_reply(&self, results: Vec<ItemResult>) -> Reply<BatchData> {
        let count = |holds: &dyn Fn(&ItemResult) -> bool| {
            u32::try_from(results.iter().filter(|item| holds(item)).count()).unwrap_or(u32::MAX)
        };
        let primary = self.primary();
        let tried =
            |item: &ItemResult| item.single.attempts.iter().any(|attempt| attempt.provider == primary);
        let by_primary = |item: &ItemResult| tried(item) && item.success && item.single.provider == primary;
        let total = count(&|_| true);
        let succeeded = count(&|item| item.success);
        let (raw_total, raw_succeeded) = (count(&tried), count(&by_primary));
        let first_failure = results.iter().find(|item| !item.success);
        let latency_ms = self.app.ms_since(self.at);
        Reply {
            v: 1,
            ok: succeeded == total,
            error_code: first_failure.map_or(Code::Ok, |item| item.error_code),
            error_message: first_failure
                .map(|item| {
                    format!("{} of {total} failed; the first: {}", total - succeeded, item.error_message)
                })
                .unwrap_or_default(),
            latency_ms,
            task_id: self.task_id.clone(),
            data: BatchData {
                provider: primary,
                total,
                succeeded,
                failed: total - succeeded,
                total_latency_ms: latency_ms,
                fallback_count: count(&|item| {
                    !item.single.attempts.is_empty() && item.single.provider != primary
                }),
                raw_batch_total: raw_total,
                raw_batch_succeeded: raw_succeeded,
                raw_batch_failed: raw_total - raw_succeeded,
                trace_id: self.trace_id.to_string(),
                idempotency_key: self.key.to_string(),
                results,
            },
        }
    }

    fn primary(&self) -> ProviderName {
        self.app.settings.health.provider
    }

    fn is_success(&self, outcome: Outcome) -> bool {
        is_success(outcome, self.app.settings.unknown_is_success)
    }
}

/// What is known of the delivery that has the key.
fn owner_of(reply: &DeliveryReply) -> Option<KeyOwner> {
    let (delivery_id, comment_id) = (reply.id?.text(), reply.comment_id().to_owned());
    Some(KeyOwner { outcome: reply.outcome, delivery_id, comment_id })
}
