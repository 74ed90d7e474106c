//! Why a run can't go on.

/// Why a run can't go on; the text is for people.
#[derive(Debug)]
pub struct ChaosError(pub String);

impl<E: std::error::Error> From<E> for ChaosError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Display for ChaosError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
