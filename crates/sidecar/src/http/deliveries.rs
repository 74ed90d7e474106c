//! `/api/deliveries`: how a person or a program sees and settles what became of comments.
//!
//! Where callers have credentials, each sees and settles only its own deliveries; another's are not found. Where
//! nobody has, everybody sees all.

use super::app::{App, Sender};
use super::body;
use super::error::ApiError;
use super::reply::json;
use crate::dispatch::deliveries::Refused;
use crate::dispatch::delivery_view;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use commentd_contract::deliveries::{DeliveryList, ResolveRequest};
use commentd_contract::{Outcome, Reply};
use commentd_delivery::record::DeliveryRecord;
use commentd_delivery::{Clock, DeliveryId, Moment};
use commentd_ledger::{MAX_LISTED, RecordFilter};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Deliveries that a list has if it isn't told how many.
const LISTED: u32 = 100;

/// Which deliveries to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    outcome: Option<String>,
    limit: Option<u32>,
    key: Option<String>,
}

/// How much of a delivery to show.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShowQuery {
    candidates: Option<bool>,
}

type ParsedQuery<T> = Result<Query<T>, QueryRejection>;

fn query<T>(parsed: ParsedQuery<T>) -> Result<T, ApiError> {
    parsed
        .map(|Query(query)| query)
        .map_err(|error| ApiError::Malformed(format!("query: {}", error.body_text())))
}

/// What one request may see.
struct DeliveryAccess {
    app: App,
    at: Moment,
    /// The caller whose deliveries it may see; `None` for everybody's.
    only_of: Option<Arc<str>>,
}

impl DeliveryAccess {
    fn new(app: App, sender: &Sender) -> Self {
        let at = app.dispatcher.clock().now();
        let only_of = (!app.settings.callers.is_empty()).then(|| Arc::clone(&sender.caller));
        Self { app, at, only_of }
    }

    fn respond(&self, data: Result<impl Serialize, ApiError>) -> Response {
        let latency_ms = self.app.ms_since(self.at);
        match data {
            Ok(data) => json(StatusCode::OK, &Reply::ok(String::new(), latency_ms, data)),
            Err(error) => error.respond(String::new(), latency_ms),
        }
    }

    /// The delivery, if it is there and this caller's.
    async fn find(&self, id: &str) -> Result<DeliveryRecord, ApiError> {
        let id = DeliveryId::parse(id)
            .ok_or_else(|| ApiError::Malformed(format!("id: must have 32 hexadecimal digits, is {id:?}")))?;
        let record = self.app.dispatcher.delivery(id).await?;
        match &self.only_of {
            Some(caller) if *record.key.caller != **caller => Err(Refused::NotFound.into()),
            _ => Ok(record),
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Extension(sender): Extension<Sender>,
    wanted: ParsedQuery<ListQuery>,
) -> Response {
    let access = DeliveryAccess::new(app, &sender);
    let listing = async {
        let wanted = query(wanted)?;
        let outcome = match &wanted.outcome {
            None => None,
            Some(word) => Some(Outcome::parse(word).ok_or_else(|| {
                ApiError::Malformed(format!("outcome: {word:?} is no outcome of a delivery"))
            })?),
        };
        let limit = wanted.limit.unwrap_or(if wanted.key.is_some() { MAX_LISTED } else { LISTED });
        if limit > MAX_LISTED {
            return Err(ApiError::Malformed(format!("limit: must be 0 to {MAX_LISTED}, is {limit}")));
        }
        let of_key = wanted.key.is_some();
        let key = wanted.key.map(|key| (sender.caller.to_string(), key));
        let filter =
            RecordFilter { outcome, caller: access.only_of.as_deref().map(str::to_owned), key, limit };
        let mut records = access.app.dispatcher.deliveries(filter).await?;
        if of_key {
            records.sort_by_key(|record| record.key.item);
        }
        Ok(DeliveryList { deliveries: records.iter().map(delivery_view).collect() })
    };
    let listed = listing.await;
    access.respond(listed)
}

pub(super) async fn show(
    State(app): State<App>,
    Extension(sender): Extension<Sender>,
    Path(id): Path<String>,
    wanted: ParsedQuery<ShowQuery>,
) -> Response {
    let access = DeliveryAccess::new(app, &sender);
    let showing = async {
        let wanted = query(wanted)?;
        let record = access.find(&id).await?;
        let mut view = delivery_view(&record);
        view.last_lookup = access.app.dispatcher.last_lookup(record.id);
        if wanted.candidates == Some(true) {
            view.candidates = Some(access.app.dispatcher.candidates(&record).await);
        }
        Ok(view)
    };
    let view = showing.await;
    access.respond(view)
}

pub(super) async fn resolve(
    State(app): State<App>,
    Extension(sender): Extension<Sender>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let access = DeliveryAccess::new(app, &sender);
    let resolving = async {
        let (_, body, _held) = body::read(&access.app.dispatcher, request, &sender.presence).await?;
        let said = ResolveRequest::parse(&body).map_err(ApiError::Malformed)?;
        let record = access.find(&id).await?;
        Ok(delivery_view(&access.app.dispatcher.resolve(record.id, &said).await?))
    };
    let view = resolving.await;
    access.respond(view)
}

pub(super) async fn forget(
    State(app): State<App>,
    Extension(sender): Extension<Sender>,
    Path(id): Path<String>,
) -> Response {
    let access = DeliveryAccess::new(app, &sender);
    let forgetting = async {
        let record = access.find(&id).await?;
        Ok(delivery_view(&access.app.dispatcher.forget(record.id).await?))
    };
    let view = forgetting.await;
    access.respond(view)
}
