//! `/api/deliveries`: how a person or a program sees and settles what became of comments.
//!
//! Where callers have credentials, each sees and settles only its own deliveries; another's are not found. Where
//! nobody has, everybody sees all.

use super::access::CallerName;
use super::{App, Refusal, comments, json};
use crate::dispatch::deliveries::Refused;
use crate::dispatch::shown;
use crate::server::presence::Presence;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use commentd_contract::deliveries::{DeliveryList, ResolveRequest};
use commentd_contract::{Outcome, Reply};
use commentd_delivery::record::DeliveryRecord;
use commentd_delivery::time::whole_ms;
use commentd_delivery::{Clock, DeliveryId, Moment};
use commentd_ledger::{Filter, MAX_LISTED};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Deliveries that a list has if it isn't told how many.
const LISTED: u32 = 100;

/// Which deliveries to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    outcome: Option<String>,
    limit: Option<u32>,
    key: Option<String>,
}

/// How much of a delivery to show.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Much {
    candidates: Option<bool>,
}

type Parsed<T> = Result<Query<T>, QueryRejection>;

fn query<T>(parsed: Parsed<T>) -> Result<T, Refusal> {
    parsed
        .map(|Query(query)| query)
        .map_err(|error| Refusal::Malformed(format!("query: {}", error.body_text())))
}

/// What every request here starts from.
struct Asked {
    app: App,
    at: Moment,
    /// Whose deliveries it may see; `None` for everybody's.
    whose: Option<String>,
}

impl Asked {
    fn new(app: App, caller: CallerName) -> Self {
        let at = app.dispatcher.clock().now();
        let whose = (!app.surface.callers.is_empty()).then_some(caller.0);
        Self { app, at, whose }
    }

    fn answer(&self, data: Result<impl Serialize, Refusal>) -> Response {
        let latency_ms = whole_ms(self.app.dispatcher.clock().now() - self.at);
        match data {
            Ok(data) => json(StatusCode::OK, &Reply::ok(String::new(), latency_ms, data)),
            Err(refusal) => refusal.respond(String::new(), latency_ms),
        }
    }

    /// The delivery, if it is there and this caller's.
    async fn find(&self, id: &str) -> Result<DeliveryRecord, Refusal> {
        let id = DeliveryId::parse(id)
            .ok_or_else(|| Refusal::Malformed(format!("id: must have 32 hexadecimal digits, is {id:?}")))?;
        let record = self.app.dispatcher.delivery(id).await?;
        match &self.whose {
            Some(caller) if record.key.caller != *caller => Err(Refused::NotFound.into()),
            _ => Ok(record),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Refusal::NoSuchDelivery,
            Refused::Malformed(message) => Refusal::Malformed(message),
            Refused::Conflict(message) => Refusal::Conflict(message),
            Refused::Ledger(error) => Refusal::Overloaded(error.to_string()),
        }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Extension(caller): Extension<CallerName>,
    wanted: Parsed<Wanted>,
) -> Response {
    let key_of = caller.0.clone();
    let asked = Asked::new(app, caller);
    let listing = async {
        let wanted = query(wanted)?;
        let outcome = match &wanted.outcome {
            None => None,
            Some(word) => Some(Outcome::parse(word).ok_or_else(|| {
                Refusal::Malformed(format!("outcome: {word:?} is no outcome of a delivery"))
            })?),
        };
        let limit = wanted.limit.unwrap_or(if wanted.key.is_some() { MAX_LISTED } else { LISTED });
        if limit > MAX_LISTED {
            return Err(Refusal::Malformed(format!("limit: must be 0 to {MAX_LISTED}, is {limit}")));
        }
        let of_key = wanted.key.is_some();
        let key = wanted.key.map(|key| (key_of, key));
        let filter = Filter { outcome, caller: asked.whose.clone(), key, limit };
        let mut records = asked.app.dispatcher.deliveries(filter).await?;
        if of_key {
            records.sort_by_key(|record| record.key.item);
        }
        Ok(DeliveryList { deliveries: records.iter().map(shown).collect() })
    };
    let listed = listing.await;
    asked.answer(listed)
}

pub(super) async fn show(
    State(app): State<App>,
    Extension(caller): Extension<CallerName>,
    Path(id): Path<String>,
    much: Parsed<Much>,
) -> Response {
    let asked = Asked::new(app, caller);
    let showing = async {
        let much = query(much)?;
        let record = asked.find(&id).await?;
        let mut view = shown(&record);
        view.last_lookup = asked.app.dispatcher.last_lookup(record.id);
        if much.candidates == Some(true) {
            view.candidates = Some(asked.app.dispatcher.candidates(&record).await);
        }
        Ok(view)
    };
    let view = showing.await;
    asked.answer(view)
}

pub(super) async fn resolve(
    State(app): State<App>,
    Extension(caller): Extension<CallerName>,
    Extension(presence): Extension<Arc<Presence>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let asked = Asked::new(app, caller);
    let resolving = async {
        let (_, body, _held) = comments::read(&asked.app.dispatcher, request, &presence).await?;
        let said = ResolveRequest::parse(&body).map_err(Refusal::Malformed)?;
        let record = asked.find(&id).await?;
        Ok(shown(&asked.app.dispatcher.resolve(record.id, &said).await?))
    };
    let view = resolving.await;
    asked.answer(view)
}

pub(super) async fn forget(
    State(app): State<App>,
    Extension(caller): Extension<CallerName>,
    Path(id): Path<String>,
) -> Response {
    let asked = Asked::new(app, caller);
    let forgetting = async {
        let record = asked.find(&id).await?;
        Ok(shown(&asked.app.dispatcher.forget(record.id).await?))
    };
    let view = forgetting.await;
    asked.answer(view)
}
