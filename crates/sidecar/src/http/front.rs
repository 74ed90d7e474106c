//! What every request meets first: who may call, then where to.

use super::{App, comments};
use crate::server::presence::Presence;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::{self, Future};
use std::pin::Pin;
use std::sync::Arc;

/// What a request comes to. Whatever fails is answered, too.
pub(super) type Answer = Result<Response, Infallible>;

/// The HTTP surface. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    pub(super) app: App,
    /// Every path but those that deliver: the router's boxed layers are for what isn't asked thousands of times a
    /// second.
    pub(super) others: TowerToHyperService<Router>,
    /// The connection that requests come by.
    pub(super) presence: Arc<Presence>,
}

impl Front {
    /// The same for the requests of one connection.
    pub(crate) fn for_connection(self, presence: Arc<Presence>) -> Self {
        Self { presence, ..self }
    }
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let caller = match self.app.access.check(request.uri().path(), request.version(), request.headers()) {
            Ok(caller) => caller,
            Err(refusal) => return Box::pin(future::ready(Ok(refusal.into_response()))),
        };
        let (app, presence) = (Arc::clone(&self.app), Arc::clone(&self.presence));
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/comment") => Box::pin(async move {
                answered(&presence, comments::single(app, caller, request, &presence).await)
            }),
            (&Method::POST, "/api/comment/batch") => Box::pin(async move {
                answered(&presence, comments::batch(app, caller, request, &presence).await)
            }),
            _ => {
                if request.body().is_end_stream() && request.version() >= Version::HTTP_11 {
                    presence.request_is_whole();
                }
                request.extensions_mut().insert(caller);
                request.extensions_mut().insert(Arc::clone(&presence));
                let answering = self.others.call(request.map(Body::new));
                Box::pin(async move { answered(&presence, answering.await) })
            }
        }
    }
}

/// Who has closed its half can't ask again, and sees by the end of the connection that this was all.
fn answered(presence: &Presence, answer: Answer) -> Answer {
    let is_last = presence.is_answered();
    answer.map(|mut response| {
        if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    })
}
