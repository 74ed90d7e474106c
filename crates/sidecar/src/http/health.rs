//! What the sidecar says about itself and its providers.

use super::app::{App, HealthFacts, Sender};
use super::reply::json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::Response;
use commentd_contract::provider::{BreakerState, ProviderView, ProvidersData, ReadyData};
use commentd_contract::{Code, Reply};
use serde::Serialize;
use std::sync::atomic::Ordering;

#[derive(Debug, Serialize)]
pub(super) struct HealthData {
    #[serde(flatten)]
    facts: HealthFacts,
    in_flight: usize,
    /// Lines of the log that nobody took.
    lost_log_lines: u64,
    /// Whose keys a request with these credentials would use: empty where anybody may call, absent where the
    /// credentials are unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
}

pub(super) async fn health(State(app): State<App>, Extension(sender): Extension<Sender>) -> Response {
    let known = app.settings.callers.is_empty() || !sender.caller.is_empty();
    let health = HealthData {
        facts: app.settings.health.clone(),
        in_flight: app.dispatcher.in_flight(),
        lost_log_lines: app.settings.lost_lines.load(Ordering::Relaxed),
        caller: known.then(|| sender.caller.to_string()),
    };
    json(StatusCode::OK, &Reply::ok(String::new(), 0, health))
}

pub(super) async fn live() -> &'static str {
    "live\n"
}

pub(super) async fn providers(State(app): State<App>) -> Response {
    let data = ProvidersData { providers: app.dispatcher.providers(), lookups: app.dispatcher.lookups() };
    json(StatusCode::OK, &Reply::ok(String::new(), 0, data))
}

/// 200 if comments can be recorded and some provider can carry them, else 503 with what stands in the way.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let mut reasons = Vec::new();
    let mut code = Code::Ok;
    let (views, is_dry_run) = (app.dispatcher.providers(), app.settings.dry_run);
    if !views.iter().any(|view| why_not(view, is_dry_run).is_none()) {
        code = Code::ProviderUnavailable;
        reasons.extend(
            views
                .iter()
                .filter_map(|view| Some(format!("{}: {}", view.provider, why_not(view, is_dry_run)?))),
        );
    }
    if let Some(failed) = app.dispatcher.ledger_failure() {
        code = Code::Overloaded;
        reasons.insert(0, failed);
    }
    let ready = reasons.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reply = Reply {
        ok: ready,
        error_code: code,
        error_message: reasons.join("; "),
        ..Reply::ok(String::new(), 0, ReadyData { ready, reasons })
    };
    json(status, &reply)
}

/// Why a provider takes no comment now. A dry run asks no channel.
fn why_not(view: &ProviderView, is_dry_run: bool) -> Option<&str> {
    if view.able == Some(false) {
        return Some(&view.capability_reason);
    }
    if view.breaker.state == BreakerState::Open {
        return Some("its breaker is open after failures");
    }
    match view.recognized {
        _ if is_dry_run => None,
        Some(true) => None,
        Some(false) => Some(&view.identity_reason),
        None => Some("it hasn't answered yet"),
    }
}
