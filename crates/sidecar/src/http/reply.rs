//! Replies as JSON.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Bytes that suffice for most replies about one delivery.
const TYPICAL_REPLY: usize = 1024;

pub(super) fn json(status: StatusCode, reply: &impl Serialize) -> Response {
    json_of(1, status, reply)
}

/// The same for a reply about so many deliveries.
pub(super) fn json_of(deliveries: usize, status: StatusCode, reply: &impl Serialize) -> Response {
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
