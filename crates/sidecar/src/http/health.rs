//! What the sidecar says about itself.

use super::access::CallerName;
use super::{App, json};
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use commentd_contract::{ProviderName, Reply};
use commentd_ledger::Description;
use serde::Serialize;
use std::sync::atomic::Ordering;

/// What `/health` tells.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// The primary provider, under its old name.
    pub mode: ProviderName,
    /// The primary provider.
    pub provider: ProviderName,
    /// The chain, in order.
    pub chain: Vec<ProviderName>,
    /// The channel; empty without one.
    pub upstream_kind: String,
    /// The channel's base URL, without userinfo and query; empty without one.
    pub upstream_base_url: String,
    /// How comments go out: `live`, `dry-run`, `record`, `replay`.
    pub exchange: String,
    /// The ledger.
    pub ledger: Description,
    /// How long a settled delivery is kept, in milliseconds: until then its key is safe to send again.
    pub retention_ms: u64,
    /// This program's version.
    pub version: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Health {
    #[serde(flatten)]
    facts: Facts,
    in_flight: usize,
    /// Lines of the log that nobody took.
    lost_log_lines: u64,
    /// Whose keys a request with these credentials would use: empty where anybody may call, absent where the
    /// credentials are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
}

pub(super) async fn health(State(app): State<App>, Extension(caller): Extension<CallerName>) -> Response {
    let known = app.surface.callers.is_empty() || !caller.0.is_empty();
    let health = Health {
        facts: app.surface.facts.clone(),
        in_flight: app.dispatcher.in_flight(),
        lost_log_lines: app.surface.lost_lines.load(Ordering::Relaxed),
        caller: known.then_some(caller.0),
    };
    json(StatusCode::OK, &Reply::ok(String::new(), 0, health))
}

pub(super) async fn live() -> &'static str {
    "live\n"
}
