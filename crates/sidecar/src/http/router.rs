//! A request's way, from the top down: who sends it ([`Access`]), its route, its handler's reply or its error's
//! ([`ApiError`]), and whether its connection ends with it.

use super::access::Access;
use super::app::{ApiSettings, App, AppState, Sender};
use super::error::ApiError;
use super::presence::Presence;
use super::{comments, deliveries, health};
use crate::dispatch::Dispatcher;
use axum::Router;
use axum::body::Body;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Every route, and what it takes.
fn routes() -> [Route; 10] {
    [
        post("/api/comment", comments::single),
        post("/api/comment/batch", comments::batch),
        get("/api/deliveries", deliveries::list),
        get("/api/deliveries/{id}", deliveries::show),
        post("/api/deliveries/{id}/resolve", deliveries::resolve),
        post("/api/deliveries/{id}/forget", deliveries::forget),
        get("/api/providers", health::providers),
        get("/health", health::health),
        get("/live", health::live),
        get("/ready", health::ready),
    ]
}

/// The HTTP API for the requests of one connection. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    app: App,
    router: TowerToHyperService<Router>,
    presence: Arc<Presence>,
}

impl Api {
    /// The API over this dispatcher.
    pub fn new(dispatcher: Dispatcher, settings: ApiSettings) -> Self {
        let access = Access::new(settings.callers.clone(), settings.allowed_hosts.clone());
        let app = Arc::new(AppState { dispatcher, settings, access });
        let paths = routes().map(|route| route.path).join(", ");
        let no_such_path = |uri: Uri| async move {
            ApiError::NoSuchPath(format!("there is no {}; there are {paths}", uri.path()))
        };
        let router = routes()
            .into_iter()
            .fold(Router::new().fallback(no_such_path), |router, route| {
                router.route(route.path, route.handler)
            })
            .with_state(Arc::clone(&app));
        Self { app, router: TowerToHyperService::new(router), presence: Arc::default() }
    }

    /// The same for the requests of one connection.
    pub(crate) fn for_connection(&self, presence: Arc<Presence>) -> Self {
        Self { presence, ..self.clone() }
    }
}

impl Service<Request<Incoming>> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let presence = Arc::clone(&self.presence);
        let caller = match self.app.access.check(request.uri().path(), request.version(), request.headers()) {
            Ok(caller) => caller,
            Err(error) => return Box::pin(async move { Ok(error.into_response()) }),
        };
        if request.body().is_end_stream() && request.version() >= Version::HTTP_11 {
            presence.request_is_whole();
        }
        request.extensions_mut().insert(Sender { caller, presence: Arc::clone(&presence) });
        let replying = self.router.call(request.map(Body::new));
        Box::pin(async move { Ok(close_if_last(&presence, replying.await?)) })
    }
}

/// Who has closed its half can't ask again, and sees by the end of the connection that this was all.
fn close_if_last(presence: &Presence, mut response: Response) -> Response {
    if presence.is_answered() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

struct Route {
    path: &'static str,
    handler: MethodRouter<App>,
}

fn get<T: 'static>(path: &'static str, handler: impl Handler<T, App>) -> Route {
    route(path, "GET", routing::get(handler))
}

fn post<T: 'static>(path: &'static str, handler: impl Handler<T, App>) -> Route {
    route(path, "POST", routing::post(handler))
}

fn route(path: &'static str, allowed: &'static str, handler: MethodRouter<App>) -> Route {
    let other_method = move |method: Method, uri: Uri| async move {
        let message = format!("{} takes {allowed}, not {method}", uri.path());
        ApiError::NoSuchMethod { message, allowed }
    };
    Route { path, handler: handler.fallback(other_method) }
}
