//! What every request meets first: who may call, then where to.

use super::access::CallerName;
use super::{App, comments};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

/// The HTTP surface. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    pub(super) app: App,
    /// Every path but those that deliver.
    pub(super) others: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = self.clone();
        Box::pin(async move { front.answer(request).await })
    }
}

impl Front {
    async fn answer(self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let caller = match self.app.access.check(request.uri().path(), request.headers()) {
            Ok(caller) => caller,
            Err(refusal) => return Ok(refusal.into_response()),
        };
        // The router's boxed layers are for paths that aren't asked thousands of times a second.
        let reply = match (request.method(), request.uri().path()) {
            (&Method::POST, "/api/comment") => Ok(comments::single(self.app, caller, request).await),
            (&Method::POST, "/api/comment/batch") => Ok(comments::batch(self.app, caller, request).await),
            _ => self.others(caller, request).await,
        };
        // Answers leave in a row too, for the same reason as comments (see `Wire::send`): what woke together is
        // answered together.
        tokio::task::yield_now().await;
        reply
    }

    async fn others(
        &self,
        caller: CallerName,
        mut request: Request<Incoming>,
    ) -> Result<Response, Infallible> {
        request.extensions_mut().insert(caller);
        self.others.call(request.map(Body::new)).await
    }
}
