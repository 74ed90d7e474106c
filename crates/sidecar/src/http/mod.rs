//! The v1 contract as an HTTP surface.

mod access;
mod comments;
mod deliveries;
mod health;
mod providers;
mod refusal;

use crate::config::Caller;
use crate::dispatch::Dispatcher;
use access::Access;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use std::sync::Arc;
use std::time::Duration;

pub use health::Facts;
pub use refusal::Refusal;

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
    /// What `/health` says.
    pub facts: Facts,
}

#[derive(Clone)]
struct App {
    dispatcher: Dispatcher,
    surface: Arc<Surface>,
    access: Arc<Access>,
}

/// The routes over this dispatcher.
pub fn router(dispatcher: Dispatcher, surface: Surface) -> Router {
    let access = Arc::new(Access::new(surface.callers.clone(), surface.allowed_hosts.clone()));
    let app = App { dispatcher, surface: Arc::new(surface), access };
    Router::new()
        .route("/api/comment", post(comments::single))
        .route("/api/comment/batch", post(comments::batch))
        .route("/api/deliveries", get(deliveries::list))
        .route("/api/deliveries/{id}", get(deliveries::show))
        .route("/api/deliveries/{id}/resolve", post(deliveries::resolve))
        .route("/api/deliveries/{id}/forget", post(deliveries::forget))
        .route("/health", get(health::health))
        .route("/live", get(health::live))
        .route("/ready", get(providers::ready))
        .route("/api/providers", get(providers::providers))
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(axum::middleware::from_fn_with_state(app.clone(), access::guard))
        // Bodies are read by hand, with a limit and a reply of the contract's shape.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}
