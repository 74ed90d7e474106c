//! Why an operation of a ledger was not carried out.

/// Why an operation was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The store failed. Whether it kept the operation shows after a restart; until then it reads as not
    /// recorded. After an I/O error every later operation that records fails, too, until a restart.
    #[error("the ledger failed: {0}")]
    Failed(String),
    /// Too many operations wait already.
    #[error("the ledger has too many writes waiting")]
    Busy,
    /// There is no such delivery or attempt.
    #[error("the ledger has no such delivery or attempt")]
    NotFound,
    /// The record forbids it (an attempt is open, an outcome is final); the text says which.
    #[error("the ledger's record forbids it: {0}")]
    Conflict(String),
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

impl LedgerError {
    /// Whether the same operation may succeed later: it isn't known to be recorded, and nothing forbids it.
    pub fn is_transient(&self) -> bool {
        matches!(self, LedgerError::Failed(_) | LedgerError::Busy)
    }
}
