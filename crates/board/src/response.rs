//! What is sent back: a response, whole or in halves, or nothing at all.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use hyper::body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A response in one of the three shapes.
#[derive(Clone, Debug)]
pub(crate) struct BoardResponse {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// In seconds.
    pub(crate) retry_after_s: Option<u64>,
}

impl BoardResponse {
    pub(crate) fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status, body: body.into(), retry_after_s: None },
            Err(error) => {
                tracing::error!(%error, "a response can't be written as JSON");
                Self { status: StatusCode::INTERNAL_SERVER_ERROR, body: Bytes::new(), retry_after_s: None }
            }
        }
    }

    /// A success that no client can read, and whose text gives nothing of the comment away.
    pub(crate) fn garbage() -> Self {
        let body = Bytes::from_static(b"<<< stored, but this is not a reply >>>");
        Self { status: StatusCode::OK, body, retry_after_s: None }
    }

    /// What a filter between the board and its client makes of a response. It keeps the board's content type, so that
    /// nobody can go by that.
    pub(crate) fn filtered() -> Self {
        let body = Bytes::from_static(
            b"<html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1>\n<p>This request was blocked by a \
              security rule.</p></body></html>\n",
        );
        Self { status: StatusCode::FORBIDDEN, body, retry_after_s: None }
    }

    /// The response with a body that stops halfway until `pause` is over. `guard` is dropped with the body: after its
    /// last byte, or when the client is gone.
    pub(crate) fn into_held(
        mut self,
        pause: impl Future<Output = ()> + Send + 'static,
        guard: impl Send + Unpin + 'static,
    ) -> Response {
        let mut rest = std::mem::take(&mut self.body);
        let first = rest.split_to(rest.len() / 2);
        let body = HeldBody { first: Some(first), pause: Box::pin(pause), rest: Some(rest), _guard: guard };
        let mut response = self.into_response();
        *response.body_mut() = Body::new(body);
        response
    }
}

impl IntoResponse for BoardResponse {
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

/// A body in two halves with a pause between them.
struct HeldBody<G> {
    first: Option<Bytes>,
    pause: Pin<Box<dyn Future<Output = ()> + Send>>,
    rest: Option<Bytes>,
    _guard: G,
}

impl<G: Unpin> hyper::body::Body for HeldBody<G> {
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
