//! Requests that aren't carried out. Status, code and outcome of each error are decided here and nowhere else.

use super::reply::json;
use crate::dispatch::deliveries::Refused;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use commentd_contract::{Code, KeyOwner, Outcome, Reply, RequestError};

/// Why a request isn't carried out; the text is for people. Unless it says otherwise, nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    #[error("{0}")]
    Malformed(String),
    #[error(
        "credentials are missing or wrong: send the Authorization header that this sidecar was started with"
    )]
    Unauthorized,
    #[error("{0}")]
    Forbidden(String),
    #[error("{0}")]
    NoSuchPath(String),
    /// There is none, or it is another caller's.
    #[error("there is no such delivery of yours")]
    NoSuchDelivery,
    #[error("{message}")]
    NoSuchMethod { message: String, allowed: &'static str },
    /// The deadline came before the delivery that has the key was certain.
    #[error("a request with this idempotency key is still in flight; ask again with the same key")]
    KeyInFlight,
    #[error(
        "the ledger doesn't answer in time, so nothing was sent now, and what became of this idempotency key earlier \
         isn't known; ask again with the same key"
    )]
    LedgerSilent,
    /// What is recorded, or the time that has passed, forbids it.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("{0}")]
    NotJson(String),
    /// The key belongs to another comment, of which this is known.
    #[error(
        "this idempotency key was used with another comment, or with a batch of another length{}; take a new key for a \
         new comment, and send nothing again that is there",
        .0.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default()
    )]
    KeyReused(Option<KeyOwner>),
    #[error("too much is in flight, nothing was sent; try again, or start with a higher --max-in-flight")]
    Overloaded,
    /// Nothing was sent, because nothing could be recorded.
    #[error("{0}")]
    NotRecorded(String),
    /// Nothing was sent now, and what became of the key earlier can't be read.
    #[error("{0}")]
    NotReadable(String),
}

/// Seconds after which a caller may try again.
const RETRY_AFTER_S: u32 = 1;

impl ApiError {
    /// The status of a response, the contract's code, and the outcome of an item of a batch.
    fn parts(&self) -> (StatusCode, Code, Outcome) {
        use ApiError as E;
        use Code::{InvalidCommand, Unauthorized};
        use Outcome::{NotSent, Refused, Unknown};
        match self {
            E::Malformed(_) => (StatusCode::BAD_REQUEST, InvalidCommand, Refused),
            E::Unauthorized => (StatusCode::UNAUTHORIZED, Unauthorized, Refused),
            E::Forbidden(_) => (StatusCode::FORBIDDEN, Unauthorized, Refused),
            E::NoSuchPath(_) | E::NoSuchDelivery => (StatusCode::NOT_FOUND, InvalidCommand, Refused),
            E::NoSuchMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, InvalidCommand, Refused),
            E::KeyInFlight | E::LedgerSilent => (StatusCode::CONFLICT, Code::KeyInFlight, Unknown),
            E::Conflict(_) => (StatusCode::CONFLICT, InvalidCommand, Refused),
            E::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, InvalidCommand, Refused),
            E::NotJson(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, InvalidCommand, Refused),
            E::KeyReused(_) => (StatusCode::UNPROCESSABLE_ENTITY, Code::KeyReused, Refused),
            E::Overloaded | E::NotRecorded(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded, NotSent),
            E::NotReadable(_) => (StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded, Unknown),
        }
    }

    /// The contract's code.
    pub(super) fn code(&self) -> Code {
        self.parts().1
    }

    /// What an item of a batch came to that failed with this.
    pub(super) fn outcome(&self) -> Outcome {
        self.parts().2
    }

    /// The whole response, with the caller's task id and the time since receipt.
    pub(super) fn respond(&self, task_id: String, latency_ms: u64) -> Response {
        let (status, code, _) = self.parts();
        let mut response = json(status, &Reply::error(code, self.to_string(), task_id, latency_ms));
        let header = match self {
            ApiError::Unauthorized => {
                (WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"commentd\""))
            }
            ApiError::NoSuchMethod { allowed, .. } => (ALLOW, HeaderValue::from_static(allowed)),
            ApiError::KeyInFlight
            | ApiError::LedgerSilent
            | ApiError::Overloaded
            | ApiError::NotRecorded(_)
            | ApiError::NotReadable(_) => (RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S)),
            _ => return response,
        };
        response.headers_mut().insert(header.0, header.1);
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.respond(String::new(), 0)
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Malformed(message) => ApiError::Malformed(message),
            RequestError::TooLarge(message) => ApiError::TooLarge(message),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => ApiError::NoSuchDelivery,
            Refused::Malformed(message) => ApiError::Malformed(message),
            Refused::Conflict(message) => ApiError::Conflict(message),
            Refused::Ledger(error) => ApiError::NotRecorded(error.to_string()),
        }
    }
}
