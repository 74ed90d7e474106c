//! The body of a request, read within the limits of one request and of all together.

use super::error::ApiError;
use super::presence::Presence;
use crate::dispatch::{Dispatcher, HeldBytes};
use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, Request, Version};
use bytes::{Bytes, BytesMut};
use commentd_contract::limits::MAX_BODY_BYTES;
use commentd_providers::yield_once;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::pin::pin;
use std::time::Duration;

/// A body that takes longer than this to arrive is given up.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The whole body, with the headers and a hold on its bytes' share of the memory for requests. Dropping the future stops
/// reading.
pub(super) async fn read(
    dispatcher: &Dispatcher,
    request: Request<Body>,
    presence: &Presence,
) -> Result<(HeaderMap, Bytes, HeldBytes), ApiError> {
    let (head, body) = request.into_parts();
    check_content_type(&head.headers)?;
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(ApiError::NotJson("Content-Encoding: the body must come as it is, without one".into()));
    }
    let held = dispatcher.hold(0).ok_or(ApiError::Overloaded)?;
    let mut reading = pin!(whole(body, held));
    let read = tokio::select! {
        biased;
        read = &mut reading => Ok(read),
        // Most bodies come with their heads and are here by now, before there is a timer for them.
        () = yield_once() => tokio::time::timeout(BODY_TIMEOUT, &mut reading).await,
    };
    match read {
        Ok(read) => {
            let (body, held) = read?;
            if head.version >= Version::HTTP_11 {
                presence.request_is_whole();
            }
            Ok((head.headers, body, held))
        }
        Err(_) => {
            Err(ApiError::Malformed(format!("the body didn't arrive within {} s", BODY_TIMEOUT.as_secs())))
        }
    }
}

/// A whole body; each byte of it is held before it is kept.
async fn whole(body: Body, mut held: HeldBytes) -> Result<(Bytes, HeldBytes), ApiError> {
    let too_large = || ApiError::TooLarge(format!("the body is longer than {MAX_BODY_BYTES} bytes"));
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let mut body = pin!(body);
    // Mostly it comes in one piece, which needn't be copied.
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::Malformed(format!("the body broke off: {error}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len().max(more.len()) + piece.len() > MAX_BODY_BYTES {
            return Err(too_large());
        }
        if !held.add(piece.len()) {
            return Err(ApiError::Overloaded);
        }
        if first.is_empty() {
            first = piece;
            continue;
        }
        if more.is_empty() {
            more.extend_from_slice(&first);
        }
        more.extend_from_slice(&piece);
    }
    Ok((if more.is_empty() { first } else { more.freeze() }, held))
}

/// JSON, or nothing said at all by a client that is no browser.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let not_json =
        |said: &str| ApiError::NotJson(format!("Content-Type must be application/json, is {said:?}"));
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return if headers.contains_key(ORIGIN) { Err(not_json("")) } else { Ok(()) };
    };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json") || {
        let essence = essence.to_ascii_lowercase();
        essence.starts_with("application/") && essence.ends_with("+json")
    };
    if is_json { Ok(()) } else { Err(not_json(text)) }
}
