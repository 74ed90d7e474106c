//! Why a request can't be accepted.

/// Why a request can't be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// HTTP 400; the message names the field.
    #[error("{0}")]
    Malformed(String),
    /// HTTP 413; the message names the limit.
    #[error("{0}")]
    TooLarge(String),
}

/// Whether a field of this name keeps its limit.
pub(super) fn at_most(most: usize, name: &str, bytes: usize) -> Result<(), RequestError> {
    if bytes > most {
        return Err(RequestError::TooLarge(format!("{name}: {bytes} bytes, at most {most}")));
    }
    Ok(())
}
