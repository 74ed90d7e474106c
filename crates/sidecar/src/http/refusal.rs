//! Requests that are answered without a delivery: the one place where a refusal gets its status.

use super::json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use commentd_contract::{Code, KeyOwner, Reply, RequestError};

/// Why a request isn't taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400.
    Malformed(String),
    /// 401.
    Unauthorized,
    /// 403.
    Forbidden(String),
    /// 404.
    NoSuchPath(String),
    /// 404: there is no such delivery, or it is another caller's.
    NoSuchDelivery,
    /// 405.
    NoSuchMethod(String),
    /// 409: the key is in flight and the deadline came first.
    KeyInFlight,
    /// 409: the ledger hasn't said in time what stands under the key.
    LedgerSilent,
    /// 409: what is recorded, or the time that has passed, forbids it.
    Conflict(String),
    /// 413.
    TooLarge(String),
    /// 415.
    NotJson(String),
    /// 422: the key belongs to another comment, of which this is known.
    KeyReused(Option<KeyOwner>),
    /// 503: nothing was sent.
    Overloaded(String),
    /// 503: nothing was sent now, and what became of the key earlier can't be read.
    NotReadable(String),
}

/// Seconds after which a caller may try again.
const RETRY_AFTER_S: u32 = 1;

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::Malformed(_) => StatusCode::BAD_REQUEST,
            Refusal::Unauthorized => StatusCode::UNAUTHORIZED,
            Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
            Refusal::NoSuchPath(_) | Refusal::NoSuchDelivery => StatusCode::NOT_FOUND,
            Refusal::NoSuchMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::KeyInFlight | Refusal::LedgerSilent | Refusal::Conflict(_) => StatusCode::CONFLICT,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NotJson(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::KeyReused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::Overloaded(_) | Refusal::NotReadable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The code of the contract.
    pub fn code(&self) -> Code {
        match self {
            Refusal::Unauthorized | Refusal::Forbidden(_) => Code::Unauthorized,
            Refusal::KeyInFlight | Refusal::LedgerSilent => Code::KeyInFlight,
            Refusal::KeyReused(_) => Code::KeyReused,
            Refusal::Overloaded(_) | Refusal::NotReadable(_) => Code::Overloaded,
            _ => Code::InvalidCommand,
        }
    }

    /// The text for people.
    pub fn message(&self) -> String {
        match self {
            Refusal::Unauthorized => {
                "credentials are missing or wrong: send the Authorization header that this sidecar was started with"
                    .into()
            }
            Refusal::KeyInFlight => {
                "a request with this idempotency key is still in flight; ask again with the same key".into()
            }
            Refusal::LedgerSilent => {
                "the ledger doesn't answer in time, so nothing was sent now, and what became of this idempotency key \
                 earlier isn't known; ask again with the same key"
                    .into()
            }
            Refusal::NoSuchDelivery => "there is no such delivery of yours".into(),
            Refusal::KeyReused(owner) => {
                let owner = owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
                format!(
                    "this idempotency key was used with another comment, or with a batch of another length{owner}; \
                     take a new key for a new comment, and send nothing again that is there"
                )
            }
            Refusal::Malformed(message)
            | Refusal::Forbidden(message)
            | Refusal::Conflict(message)
            | Refusal::NoSuchPath(message)
            | Refusal::NoSuchMethod(message)
            | Refusal::TooLarge(message)
            | Refusal::NotJson(message)
            | Refusal::Overloaded(message)
            | Refusal::NotReadable(message) => message.clone(),
        }
    }

    /// The whole response, with the caller's task id and the time since receipt.
    pub fn respond(&self, task_id: String, latency_ms: u64) -> Response {
        let reply = Reply::error(self.code(), self.message(), task_id, latency_ms);
        let mut headers = HeaderMap::new();
        match self {
            Refusal::Unauthorized => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"commentd\""));
            }
            Refusal::KeyInFlight
            | Refusal::LedgerSilent
            | Refusal::Overloaded(_)
            | Refusal::NotReadable(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            _ => {}
        }
        (headers, json(self.status(), &reply)).into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.respond(String::new(), 0)
    }
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Malformed(message) => Refusal::Malformed(message),
            RequestError::TooLarge(message) => Refusal::TooLarge(message),
        }
    }
}

const PATHS: [(&str, &str); 10] = [
    ("/api/comment", "POST"),
    ("/api/comment/batch", "POST"),
    ("/api/deliveries", "GET"),
    ("/api/deliveries/{id}", "GET"),
    ("/api/deliveries/{id}/resolve", "POST"),
    ("/api/deliveries/{id}/forget", "POST"),
    ("/api/providers", "GET"),
    ("/health", "GET"),
    ("/live", "GET"),
    ("/ready", "GET"),
];

/// Whether this is a path of that pattern, whose `{…}` stands for any one part.
fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.split('/');
    pattern
        .split('/')
        .all(|wanted| parts.next().is_some_and(|part| wanted.starts_with('{') || wanted == part))
        && parts.next().is_none()
}

pub(super) async fn not_served(method: Method, uri: Uri) -> Response {
    match PATHS.iter().find(|(path, _)| matches(path, uri.path())) {
        None => no_such_path(&uri),
        Some((_, allowed)) => no_such_method(&method, &uri, allowed),
    }
}

fn no_such_path(uri: &Uri) -> Response {
    let paths: Vec<&str> = PATHS.iter().map(|(path, _)| *path).collect();
    let message = format!("there is no {}; there are {}", uri.path(), paths.join(", "));
    Refusal::NoSuchPath(message).into_response()
}

fn no_such_method(method: &Method, uri: &Uri, allowed: &'static str) -> Response {
    let message = format!("{} takes {allowed}, not {method}", uri.path());
    let mut response = Refusal::NoSuchMethod(message).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}
