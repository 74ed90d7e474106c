//! What the sidecar says about itself.

use super::App;
use axum::Json;
use axum::extract::State;
use commentd_contract::{ProviderName, Reply};
use commentd_ledger::Description;
use serde::Serialize;

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
    /// How comments go out: `live`, `dry-run`.
    pub exchange: String,
    /// The ledger.
    pub ledger: Description,
    /// This program's version.
    pub version: &'static str,
}

#[derive(Debug, Serialize)]
pub(super) struct Health {
    #[serde(flatten)]
    facts: Facts,
    in_flight: usize,
}

pub(super) async fn health(State(app): State<App>) -> Json<Reply<Health>> {
    let health = Health { facts: app.surface.facts.clone(), in_flight: app.dispatcher.in_flight() };
    Json(Reply::ok(String::new(), 0, health))
}

pub(super) async fn live() -> &'static str {
    "live\n"
}
