//! What is sent back: an answer, whole or in halves, or nothing at all.

use crate::board::InFlight;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use commentd_contract::Code;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// An answer of one of the three shapes.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// In seconds.
    pub(crate) retry_after_s: Option<u64>,
}

impl Answer {
    pub(crate) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status, body: body.into(), retry_after_s: None },
            Err(error) => {
                tracing::error!(%error, "an answer can't be written as JSON");
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, body: Bytes::new(), retry_after_s: None }
            }
        }
    }

    /// A success that no client can read, and whose text gives nothing of the comment away.
    pub(crate) fn garbage() -> Self {
        let body = Bytes::from_static(b"<<< stored, but this is not a reply >>>");
        Self { status: StatusCode::OK, body, retry_after_s: None }
    }

    /// What a filter before the board makes of an answer. The content type stays that of the board: who goes by it is
    /// wrong.
    pub(crate) fn filtered() -> Self {
        let body = Bytes::from_static(
            b"<html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1>\n<p>This request was blocked by a \
              security rule.</p></body></html>\n",
        );
        Self { status: StatusCode::FORBIDDEN, body, retry_after_s: None }
    }

    /// The answer with a body that stops halfway until `pause` is over.
    pub(crate) fn into_held(
        mut self,
        pause: impl Future<Output = ()> + Send + 'static,
        in_flight: InFlight,
    ) -> Response {
        let mut rest = std::mem::take(&mut self.body);
        let first = rest.split_to(rest.len() / 2);
        let body =
            HeldBody { first: Some(first), pause: Box::pin(pause), rest: Some(rest), _in_flight: in_flight };
        let mut response = self.into_response();
        *response.body_mut() = Body::new(body);
        response
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// On a response: close the connection instead of sending it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

/// A response that is never sent.
pub(crate) fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

/// Why a comment isn't taken, before a shape puts it in its words.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The native shape's word.
    pub(crate) error: &'static str,
    /// The v1 shape's code.
    pub(crate) code: Code,
    pub(crate) message: String,
    /// In seconds.
    pub(crate) retry_after_s: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        error: &'static str,
        code: Code,
        message: impl Into<String>,
    ) -> Self {
        Self { status, error, code, message: message.into(), retry_after_s: None }
    }

    /// The comment itself is bad.
    pub(crate) fn bad(error: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, Code::InvalidCommand, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", Code::InvalidCommand, message)
    }

    pub(crate) fn internal() -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "internal", Code::Internal, "the board failed on this request")
    }

    pub(crate) fn throttled(retry_after_s: u64) -> Self {
        let message = format!("too many requests; come back in {retry_after_s} s");
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", Code::Overloaded, message);
        Self { retry_after_s: Some(retry_after_s), ..refusal }
    }

    pub(crate) fn overloaded() -> Self {
        let message = "too many requests are in flight; come back in 1 s";
        let refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", Code::Overloaded, message);
        Self { retry_after_s: Some(1), ..refusal }
    }

    pub(crate) fn refused() -> Self {
        let message = "the board refuses this comment";
        Self::new(StatusCode::BAD_REQUEST, "refused", Code::UpstreamRefused, message)
    }
}

/// A body in two halves with a pause between them.
struct HeldBody {
    first: Option<Bytes>,
    pause: Pin<Box<dyn Future<Output = ()> + Send>>,
    rest: Option<Bytes>,
    /// The request is in flight until its last byte or until its client is gone.
    _in_flight: InFlight,
}

impl hyper::body::Body for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.rest.is_none() {
            return Poll::Ready(None);
        }
        ready!(self.pause.as_mut().poll(cx));
        Poll::Ready(self.rest.take().map(|rest| Ok(Frame::data(rest))))
    }

    fn size_hint(&self) -> SizeHint {
        let length = |half: &Option<Bytes>| half.as_ref().map_or(0, |bytes| bytes.len() as u64);
        SizeHint::with_exact(length(&self.first) + length(&self.rest))
    }
}
