//! `GET /api/providers`, and `/ready`.

use super::{App, json};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use commentd_contract::provider::{BreakerState, ProviderView, ProvidersData, ReadyData};
use commentd_contract::{Code, Reply};

pub(super) async fn providers(State(app): State<App>) -> Response {
    let data = ProvidersData { providers: app.dispatcher.providers(), lookups: app.dispatcher.lookups() };
    json(StatusCode::OK, &Reply::ok(String::new(), 0, data))
}

/// 200 if comments can be recorded and some provider can carry them, else 503 with what stands in the way.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let mut reasons = Vec::new();
    let mut code = Code::Ok;
    let (views, is_dry_run) = (app.dispatcher.providers(), app.surface.dry_run);
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
