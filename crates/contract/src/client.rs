//! An HTTP client that speaks the contract. Each request has a connection of its own, and nothing is retried,
//! redirected or sent through a proxy, so that what a caller measures and risks is exactly what it asked for.

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use url::{Host, Url};

/// Largest reply that is read, in bytes: enough for a thousand results with long messages.
const MAX_REPLY_BYTES: usize = 16 << 20;

/// Why a request has no complete response. What counts is whether the request had been handed to a connection, not
/// the kind of error. The texts are for people.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The request was not handed to a connection.
    #[error("{0}")]
    NotSent(String),
    /// It was, and may have had an effect.
    #[error("{0}")]
    Unknown(String),
}

/// A complete response.
pub struct HttpResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its body, 16 MiB at most.
    pub body: Bytes,
}

/// Where requests go, and how they are sent.
pub struct ContractClient<'a> {
    /// The sidecar's address: http, without credentials, query or fragment.
    pub base_url: &'a Url,
    /// The longest that a request may take from connecting to the reply's last byte, in milliseconds.
    pub timeout_ms: u64,
    /// The value of the `Authorization` header, if one is sent.
    pub authorization: Option<&'a SecretString>,
}

impl ContractClient<'_> {
    /// `GET` this path, with a leading slash. Dropping the future closes the connection. Must run within a tokio
    /// runtime.
    ///
    /// # Errors
    /// When there is no complete response; any status is one.
    pub async fn get(&self, path: &str) -> Result<HttpResponse, CallError> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    /// `POST` this body of JSON to this path, as [`ContractClient::get`].
    ///
    /// # Errors
    /// When there is no complete response; any status is one.
    pub async fn post(&self, path: &str, json: Vec<u8>) -> Result<HttpResponse, CallError> {
        self.call(Method::POST, path, json.into()).await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<HttpResponse, CallError> {
        let request = self
            .request(method, path, body)
            .map_err(|error| CallError::NotSent(format!("the request can't be made: {error}")))?;
        let sent = AtomicBool::new(false);
        let exchange = self.exchange(request, &sent);
        match tokio::time::timeout(Duration::from_millis(self.timeout_ms), exchange).await {
            Ok(ended) => ended,
            Err(_) if sent.load(Ordering::Relaxed) => {
                Err(CallError::Unknown(format!("no complete reply within {} ms", self.timeout_ms)))
            }
            Err(_) => Err(CallError::NotSent(format!("no connection within {} ms", self.timeout_ms))),
        }
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let target = format!("{}{path}", self.base_url.path().trim_end_matches('/'));
        let host = self.base_url.host_str().unwrap_or_default();
        let authority = match self.base_url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let mut request = Request::builder()
            .method(&method)
            .uri(target)
            .header(header::HOST, authority)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("commentd/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(secret) = self.authorization {
            let mut value = http::HeaderValue::from_str(secret.expose_secret())?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(Full::new(body))
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let port = self.base_url.port_or_known_default().unwrap_or(80);
        let stream = match self.base_url.host() {
            Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
            Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
            Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
            None => Err(std::io::Error::other("the address names no host")),
        }?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        sent: &AtomicBool,
    ) -> Result<HttpResponse, CallError> {
        let not_sent = |error: &dyn std::fmt::Display| CallError::NotSent(format!("no connection: {error}"));
        let stream = self.connect().await.map_err(|error| not_sent(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| not_sent(&error))?;
        // The set ends the connection's task with this future.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        sent.store(true, Ordering::Relaxed);
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| CallError::Unknown(format!("the connection failed: {}", with_causes(&error))))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_REPLY_BYTES).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                CallError::Unknown(format!("the reply is over {MAX_REPLY_BYTES} bytes"))
            } else {
                CallError::Unknown(format!("the reply broke off: {}", with_causes(error.as_ref())))
            }
        })?;
        Ok(HttpResponse { status, body: body.to_bytes() })
    }
}

/// An error with its causes; hyper's own texts leave out what happened.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
