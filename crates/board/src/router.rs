//! The board's paths.

use crate::error::BoardError;
use crate::page;
use crate::posts::post;
use crate::refusal::PostRefusal;
use crate::response::BoardResponse;
use crate::serving::Serving;
use crate::shapes::WireShape;
use crate::store::StoredComment;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use commentd_contract::{Code, Reply};
use http::StatusCode;
use serde::{Deserialize, Serialize};

const DEFAULT_LIMIT: usize = 1000;
const MAX_LIMIT: usize = 10_000;

pub(crate) fn router(serving: Serving) -> Router {
    let posts = |shape: WireShape| {
        axum::routing::post(move |State(serving): State<Serving>, request: Request| {
            post(serving, shape, request)
        })
    };
    Router::new()
        .route("/", get(show_page))
        .route("/health", get(health))
        .route("/api/requests", get(requests))
        .route("/api/comments", posts(WireShape::Native).get(list))
        .route("/api/comment", posts(WireShape::Generic))
        .route("/api/comment/batch", posts(WireShape::GenericBatch))
        .route("/api/sendtxtmsg", posts(WireShape::Wxbot))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "not_found", "the board has no such path") })
        .with_state(serving)
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
    message: String,
}

fn error(status: StatusCode, error: &'static str, message: impl Into<String>) -> BoardResponse {
    BoardResponse::json(status, &ErrorBody { error, message: message.into() })
}

fn store_failed(failure: &BoardError) -> Response {
    tracing::error!(error = %failure, "the board can't read its comments");
    let PostRefusal { status, error: word, message, .. } = PostRefusal::internal();
    error(status, word, message).into_response()
}

#[derive(Deserialize)]
struct ListQuery {
    target: String,
    marker: Option<String>,
    /// Whether comments without any marker are shown beside those with `marker`.
    #[serde(default)]
    unmarked: bool,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct ListBody {
    total: u64,
    complete: bool,
    comments: Vec<StoredComment>,
}

async fn list(State(serving): State<Serving>, query: Result<Query<ListQuery>, QueryRejection>) -> Response {
    let query = match query {
        Ok(Query(query)) => query,
        Err(rejection) => {
            return error(StatusCode::BAD_REQUEST, "bad_query", rejection.body_text()).into_response();
        }
    };
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        let message = format!("limit: must be 1 to {MAX_LIMIT}, is {limit}");
        return error(StatusCode::BAD_REQUEST, "bad_query", message).into_response();
    }
    match serving.state.store().list(query.target, query.marker, query.unmarked, limit).await {
        Ok(listing) => {
            let complete = listing.comments.len() as u64 == listing.total;
            let body = ListBody { total: listing.total, complete, comments: listing.comments };
            BoardResponse::json(StatusCode::OK, &body).into_response()
        }
        Err(failure) => store_failed(&failure),
    }
}

async fn requests(State(serving): State<Serving>) -> BoardResponse {
    BoardResponse::json(StatusCode::OK, &*serving.state.counters().borrow())
}

#[derive(Serialize)]
struct HealthData {
    mode: &'static str,
    provider: &'static str,
    upstream_kind: &'static str,
    upstream_base_url: &'static str,
}

async fn health() -> BoardResponse {
    let data = HealthData {
        mode: "native_http",
        provider: "native_http",
        upstream_kind: "board",
        upstream_base_url: "",
    };
    let reply = Reply {
        v: 1,
        ok: true,
        error_code: Code::Ok,
        error_message: String::new(),
        latency_ms: 0,
        task_id: String::new(),
        data,
    };
    BoardResponse::json(StatusCode::OK, &reply)
}

async fn show_page(State(serving): State<Serving>) -> Response {
    match serving.state.store().newest(page::MAX_SHOWN).await {
        Ok(listing) => page::response(&listing.comments, listing.total),
        Err(failure) => store_failed(&failure),
    }
}
