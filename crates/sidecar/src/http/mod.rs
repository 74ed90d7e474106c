//! The v1 contract as an HTTP surface.

mod access;
mod comments;
mod deliveries;
mod front;
mod health;
mod providers;
mod refusal;

use crate::config::Caller;
use crate::dispatch::Dispatcher;
use access::Access;
use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub use front::Front;
pub use health::Facts;
pub use refusal::Refusal;

/// Room for most replies to a single comment, in bytes.
const TYPICAL_REPLY: usize = 1024;

/// What the surface needs to know beside the dispatcher.
#[derive(Clone, Debug)]
pub struct Surface {
    /// Who may call; empty for anybody.
    pub callers: Vec<Caller>,
    /// Host names, beside IP addresses and `localhost`, under which requests may come.
    pub allowed_hosts: Vec<String>,
    /// The deadline of requests that name none.
    pub default_deadline: Duration,
    /// Most comments of a batch at a time.
    pub max_batch_concurrency: usize,
    /// Whether `unknown` and `misplaced` report success.
    pub unknown_is_success: bool,
    /// Whether a request without a key is refused.
    pub require_key: bool,
    /// Whether comments are rendered instead of sent.
    pub dry_run: bool,
    /// Lines of the log that were lost by now.
    pub lost_lines: Arc<AtomicU64>,
    /// What `/health` says.
    pub facts: Facts,
}

/// What every request is answered with.
type App = Arc<Served>;

struct Served {
    dispatcher: Dispatcher,
    surface: Surface,
    access: Access,
}

/// The surface over this dispatcher.
pub fn front(dispatcher: Dispatcher, surface: Surface) -> Front {
    let access = Access::new(surface.callers.clone(), surface.allowed_hosts.clone());
    let app = Arc::new(Served { dispatcher, surface, access });
    let others = Router::new()
        .route("/api/deliveries", get(deliveries::list))
        .route("/api/deliveries/{id}", get(deliveries::show))
        .route("/api/deliveries/{id}/resolve", post(deliveries::resolve))
        .route("/api/deliveries/{id}/forget", post(deliveries::forget))
        .route("/health", get(health::health))
        .route("/live", get(health::live))
        .route("/ready", get(providers::ready))
        .route("/api/providers", get(providers::providers))
        .fallback(refusal::not_served)
        .method_not_allowed_fallback(refusal::not_served)
        .with_state(Arc::clone(&app));
    Front { app, others: TowerToHyperService::new(others), presence: Arc::default() }
}

/// A reply as JSON.
fn json(status: StatusCode, reply: &impl Serialize) -> Response {
    json_of(1, status, reply)
}

/// The same for a reply that tells of so many deliveries.
fn json_of(deliveries: usize, status: StatusCode, reply: &impl Serialize) -> Response {
    let mut body = Vec::with_capacity(TYPICAL_REPLY.saturating_mul(deliveries));
    if let Err(error) = serde_json::to_writer(&mut body, reply) {
        tracing::error!(%error, "a reply can't be written as JSON");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
