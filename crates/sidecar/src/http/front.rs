//! What every request meets first: who may call, then where to.

use super::{App, comments};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request};
use hyper::body::Incoming;
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
        let app = || Arc::clone(&self.app);
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/comment") => Box::pin(comments::single(app(), caller, request)),
            (&Method::POST, "/api/comment/batch") => Box::pin(comments::batch(app(), caller, request)),
            _ => {
                request.extensions_mut().insert(caller);
                Box::pin(self.others.call(request.map(Body::new)))
            }
        }
    }
}
