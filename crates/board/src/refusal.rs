//! Why a comment is refused, before a shape puts it in its own words.

use commentd_contract::Code;
use http::StatusCode;

/// Why a comment isn't taken, before a shape puts it in its words.
#[derive(Clone, Debug)]
pub(crate) struct PostRefusal {
    pub(crate) status: StatusCode,
    /// The native shape's word.
    pub(crate) error: &'static str,
    /// The v1 shape's code.
    pub(crate) code: Code,
    pub(crate) message: String,
    /// In seconds.
    pub(crate) retry_after_s: Option<u64>,
}

impl PostRefusal {
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
