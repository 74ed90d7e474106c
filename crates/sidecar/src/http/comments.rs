//! `POST /api/comment` and `POST /api/comment/batch`.

use super::access::CallerName;
use super::front::Answer;
use super::{App, Refusal, Surface, json, json_of};
use crate::dispatch::{Delivered, Dispatcher, HeldBytes, Order, Room, Told, is_success};
use crate::server::presence::Presence;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, Request, StatusCode, Version};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use commentd_contract::limits::MAX_BODY_BYTES;
use commentd_contract::{
    Addressing, BatchData, BatchRequest, Code, CommentRequest, Intake, ItemResult, KeyOwner, Outcome,
    ProviderName, Reply, RequestError, SingleData, StandIns,
};
use commentd_delivery::record::KeyRef;
use commentd_delivery::time::whole_ms;
use commentd_delivery::{Clock, Comment, Moment};
use commentd_providers::{Job, step_aside};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

/// A body that takes longer than this to arrive is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What all comments of one request share.
struct Receipt<'a> {
    app: &'a App,
    at: Moment,
    deadline: Moment,
    caller: String,
    task_id: String,
    key: Arc<str>,
    key_is_made: bool,
    trace_id: Arc<str>,
    batch_len: usize,
}

pub(super) async fn single(
    app: App,
    caller: CallerName,
    request: Request<Incoming>,
    presence: &Presence,
) -> Answer {
    let at = app.dispatcher.clock().now();
    let read = read(&app.dispatcher, request, presence).await;
    let (request, held) = match read.and_then(|read| parsed(read, CommentRequest::parse)) {
        Ok(read) => read,
        Err(refusal) => return Ok(refusal.respond(String::new(), since(&app, at))),
    };
    let task_id = request.intake.task_id.clone();
    let (receipt, addressing) = match receive(&app, at, caller, request.intake, 1) {
        Ok(received) => received,
        Err(refusal) => return Ok(refusal.respond(task_id, since(&app, at))),
    };
    let Some(room) = app.dispatcher.admit(1, held) else {
        return Ok(overloaded().respond(task_id, since(&app, at)));
    };
    let item = match receipt.item(0, Comment { content: request.content, addressing }, Some(room)).await {
        Ok(item) => item,
        Err(refusal) => return Ok(refusal.respond(task_id, since(&app, at))),
    };
    let reply = Reply {
        v: 1,
        ok: item.success,
        error_code: item.error_code,
        error_message: item.error_message,
        latency_ms: item.latency_ms,
        task_id,
        data: item.single,
    };
    in_a_row(json(StatusCode::OK, &reply)).await
}

pub(super) async fn batch(
    app: App,
    caller: CallerName,
    request: Request<Incoming>,
    presence: &Presence,
) -> Answer {
    let at = app.dispatcher.clock().now();
    let read = read(&app.dispatcher, request, presence).await;
    let (request, held) = match read.and_then(|read| parsed(read, BatchRequest::parse)) {
        Ok(read) => read,
        Err(refusal) => return Ok(refusal.respond(String::new(), since(&app, at))),
    };
    let task_id = request.intake.task_id.clone();
    let (receipt, addressing) = match receive(&app, at, caller, request.intake, request.comments.len()) {
        Ok(received) => received,
        Err(refusal) => return Ok(refusal.respond(task_id, since(&app, at))),
    };
    let most = app.dispatcher.most_in_flight();
    if request.comments.len() > most {
        return Ok(never_admitted(request.comments.len(), most).respond(task_id, since(&app, at)));
    }
    let Some(mut room) = app.dispatcher.admit(request.comments.len(), held) else {
        return Ok(overloaded().respond(task_id, since(&app, at)));
    };
    let lanes =
        usize::try_from(request.concurrency).unwrap_or(1).clamp(1, app.surface.max_batch_concurrency.max(1));
    let receipt = Arc::new(receipt);
    let items = request.comments.into_iter().enumerate().map(|(index, content)| {
        let (receipt, room) = (Arc::clone(&receipt), room.split());
        let comment = Comment { content, addressing: Arc::clone(&addressing) };
        async move {
            let item = receipt.item(index, comment, room).await;
            (index, item.unwrap_or_else(|refusal| receipt.refused(&refusal)))
        }
    });
    let deadline = app.dispatcher.clock().instant(receipt.deadline);
    let mut results: Vec<(usize, ItemResult)> = all(items, lanes, deadline).await;
    results.sort_unstable_by_key(|(index, _)| *index);
    let deliveries = results.len();
    let results = results.into_iter().map(|(_, item)| item).collect();
    let reply = receipt.batch_reply(results);
    in_a_row(json_of(deliveries, StatusCode::OK, &reply)).await
}

/// Carries out so many items at a time, started in order; unordered, so that a slow one doesn't keep a lane of its own
/// from the others. Past the deadline nothing is sent any more, so the rest is answered at once.
async fn all<F: Future>(items: impl Iterator<Item = F>, lanes: usize, deadline: Instant) -> Vec<F::Output> {
    let mut items = items.fuse();
    let mut running = FuturesUnordered::new();
    let mut done = Vec::new();
    let mut late = pin!(unconstrained(tokio::time::sleep_until(deadline)));
    let mut is_late = false;
    loop {
        while is_late || running.len() < lanes {
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

/// Answers leave in a row, for the same reason as comments do (see `NativeHttp`): what woke together is answered
/// together.
async fn in_a_row(response: Response) -> Answer {
    step_aside().await;
    Ok(response)
}

fn overloaded() -> Refusal {
    Refusal::Overloaded(
        "too much is in flight, nothing was sent; try again, or start with a higher --max-in-flight".into(),
    )
}

fn never_admitted(comments: usize, most: usize) -> Refusal {
    Refusal::TooLarge(format!(
        "comments: {comments} comments, and this sidecar takes at most {most} at a time (--max-in-flight); nothing was \
         sent, split the batch"
    ))
}

fn since(app: &App, at: Moment) -> u64 {
    whole_ms(app.dispatcher.clock().now() - at)
}

/// What the request says. What it was read from is given back here, and not kept until the answer.
fn parsed<T>(
    (headers, body, held): (HeaderMap, Bytes, HeldBytes),
    parse: impl FnOnce(&[u8], StandIns<'_>) -> Result<T, RequestError>,
) -> Result<(T, HeldBytes), Refusal> {
    let headers = StandIns::among(headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())))?;
    Ok((parse(&body, headers)?, held))
}

/// The body, read within its limits and those of all requests together.
pub(super) async fn read<B>(
    dispatcher: &Dispatcher,
    request: Request<B>,
    presence: &Presence,
) -> Result<(HeaderMap, Bytes, HeldBytes), Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    check_content_type(&head.headers)?;
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(Refusal::NotJson("Content-Encoding: the body must come as it is, without one".into()));
    }
    let held = dispatcher.hold(0).ok_or_else(overloaded)?;
    let mut reading = pin!(whole(body, held));
    let read = tokio::select! {
        biased;
        read = &mut reading => Ok(read),
        // Most bodies come with their heads and are here by now, before there is a timer for them.
        () = step_aside() => tokio::time::timeout(BODY_TIMEOUT, &mut reading).await,
    };
    match read {
        Ok(read) => {
            let (body, held) = read?;
            if head.version >= Version::HTTP_11 {
                presence.request_is_whole();
            }
            Ok((head.headers, body, held))
        }
        Err(_) => {
            Err(Refusal::Malformed(format!("the body didn't arrive within {} s", BODY_TIMEOUT.as_secs())))
        }
    }
}

/// A whole body; each byte of it is held before it is kept.
async fn whole<B>(body: B, mut held: HeldBytes) -> Result<(Bytes, HeldBytes), Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let too_large = || Refusal::TooLarge(format!("the body is longer than {MAX_BODY_BYTES} bytes"));
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let mut body = pin!(body);
    // Mostly it comes in one piece, which needn't be copied.
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refusal::Malformed(format!("the body broke off: {}", error.into())))?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len().max(more.len()) + piece.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        if !held.add(piece.len()) {
            return Err(overloaded());
        }
        if first.is_empty() {
            first = piece;
            continue;
        }
        if more.is_empty() {
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&piece);
    }
    Ok((if more.is_empty() { first } else { more.freeze() }, held))
}

/// JSON, or nothing said at all by a client that is no browser.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let not_json =
        |said: &str| Refusal::NotJson(format!("Content-Type must be application/json, is {said:?}"));
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return if headers.contains_key(ORIGIN) { Err(not_json("")) } else { Ok(()) };
    };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json") || {
        let essence = essence.to_ascii_lowercase();
        essence.starts_with("application/") && essence.ends_with("+json")
    };
    if is_json { Ok(()) } else { Err(not_json(text)) }
}

fn receive(
    app: &App,
    at: Moment,
    caller: CallerName,
    intake: Intake,
    batch_len: usize,
) -> Result<(Receipt<'_>, Arc<Addressing>), Refusal> {
    let primary = app.surface.facts.provider;
    if !intake.provider.is_empty() && ProviderName::parse(&intake.provider) != Some(primary) {
        return Err(Refusal::Malformed(format!(
            "provider mismatch: request={}, service={primary}",
            intake.provider
        )));
    }
    if intake.key.is_none() && app.surface.require_key {
        return Err(Refusal::Malformed(
            "idempotency_key: is missing, and this sidecar was started with --require-key".into(),
        ));
    }
    let random =
        || app.dispatcher.fresh_id().map(|id| id.digits().as_str().into()).map_err(Refusal::Overloaded);
    let deadline = intake.deadline_ms.map_or(app.surface.default_deadline, Duration::from_millis);
    let receipt = Receipt {
        at,
        deadline: at + deadline,
        caller: caller.0,
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
    Ok((receipt, intake.addressing))
}

impl Receipt<'_> {
    /// Delivers one comment and answers for it.
    async fn item(&self, index: usize, comment: Comment, room: Option<Room>) -> Result<ItemResult, Refusal> {
        if comment.content.is_empty() {
            let message = "content: is empty";
            return Ok(self.without_delivery(Outcome::Refused, Code::InvalidCommand, message));
        }
        if self.app.surface.dry_run {
            return Ok(self.rehearse(comment));
        }
        let Some(room) = room else { return Err(overloaded()) };
        let key = KeyRef {
            caller: self.caller.clone(),
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
            room,
        };
        match self.app.dispatcher.deliver(order).await {
            Delivered::Told(told) => Ok(self.told(&told)),
            Delivered::KeyReused(told) => Err(Refusal::KeyReused(told.as_deref().and_then(owner_of))),
            Delivered::KeyInFlight => Err(Refusal::KeyInFlight),
            Delivered::LedgerSilent => Err(Refusal::LedgerSilent),
            Delivered::NotRecorded(message) => Err(Refusal::Overloaded(message)),
            Delivered::NotReadable(message) => Err(Refusal::NotReadable(message)),
            Delivered::Broken => Ok(self.without_delivery(
                Outcome::Unknown,
                Code::Internal,
                "the sidecar failed while it delivered this comment; see its log, then ask again with the same key",
            )),
        }
    }

    fn told(&self, told: &Told) -> ItemResult {
        let answer = &told.answer;
        let speaking = told.speaking();
        let provider = speaking.map_or(self.primary(), |(provider, _)| provider);
        let verdict = speaking.map(|(_, verdict)| verdict);
        let last = told.attempts.last().and_then(|(_, verdict)| verdict.as_ref());
        let stored = answer.outcome.is_final() && answer.outcome != Outcome::Refused;
        ItemResult {
            success: self.is_success(answer.outcome),
            latency_ms: since(self.app, self.at),
            error_code: answer.code,
            error_message: answer.message.clone(),
            single: SingleData {
                provider,
                method: provider,
                outcome: answer.outcome,
                delivery_id: told.id.map(|id| id.text()).unwrap_or_default(),
                comment_id: verdict.filter(|_| stored).map(|v| v.comment_id.clone()).unwrap_or_default(),
                trace_id: told.trace_id.to_string(),
                idempotency_key: self.key.to_string(),
                replayed: told.replayed,
                raw_provider_latency_ms: last.map_or(0, |verdict| verdict.latency_ms),
                retry_count: u32::try_from(told.attempts.len().saturating_sub(1)).unwrap_or(u32::MAX),
                provider_error_code: verdict.map(|v| v.provider_error_code.clone()).unwrap_or_default(),
                provider_error_message: verdict.map(|v| v.provider_error_message.clone()).unwrap_or_default(),
                attempts: told.attempt_views(),
                rendered: None,
                key_belongs_to: None,
            },
        }
    }

    /// An item for which no delivery was made.
    fn without_delivery(&self, outcome: Outcome, code: Code, message: &str) -> ItemResult {
        ItemResult {
            success: self.is_success(outcome),
            latency_ms: since(self.app, self.at),
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

    /// What a refusal reads like on an item of a batch.
    fn refused(&self, refusal: &Refusal) -> ItemResult {
        let outcome = match refusal {
            Refusal::KeyInFlight | Refusal::LedgerSilent | Refusal::NotReadable(_) => Outcome::Unknown,
            Refusal::Overloaded(_) => Outcome::NotSent,
            _ => Outcome::Refused,
        };
        let mut item = self.without_delivery(outcome, refusal.code(), &refusal.message());
        // Whatever `--unknown-as` says: of these, this request has added none.
        item.success = false;
        if let Refusal::KeyReused(owner) = refusal {
            item.single.key_belongs_to.clone_from(owner);
        }
        item
    }

    fn rehearse(&self, comment: Comment) -> ItemResult {
        let mut item = self.without_delivery(Outcome::DryRun, Code::Ok, "");
        let Some(provider) = self.app.dispatcher.primary() else { return item };
        // A dry run records nothing, so any id serves to show where one would stand.
        let id = self.app.dispatcher.fresh_id().unwrap_or(commentd_delivery::DeliveryId::from_bytes([0; 16]));
        let job = Job {
            id,
            comment: Arc::new(comment),
            trace_id: self.trace_id.clone(),
            attempt: 1,
            began_ms: None,
            deadline: self.deadline,
        };
        match provider.rehearse(&job) {
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
        let latency_ms = since(self.app, self.at);
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
        self.app.surface.facts.provider
    }

    fn is_success(&self, outcome: Outcome) -> bool {
        succeeds(&self.app.surface, outcome)
    }
}

fn succeeds(surface: &Surface, outcome: Outcome) -> bool {
    is_success(outcome, surface.unknown_is_success)
}

/// What is known of the delivery that has the key.
fn owner_of(told: &Told) -> Option<KeyOwner> {
    let outcome = told.answer.outcome;
    let stored = outcome.is_final() && outcome != Outcome::Refused;
    let comment_id = told.speaking().filter(|_| stored).map(|(_, verdict)| verdict.comment_id.clone());
    Some(KeyOwner { outcome, delivery_id: told.id?.text(), comment_id: comment_id.unwrap_or_default() })
}
