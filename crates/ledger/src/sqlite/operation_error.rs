//! Why an operation isn't carried out.

use crate::LedgerError;

/// Why an operation isn't carried out.
#[derive(Debug)]
pub(super) enum OperationError {
    /// The record forbids it. Nothing was written.
    Refused(LedgerError),
    /// A record isn't as this program writes it. Nothing was written.
    Unreadable(String),
    /// SQLite failed. Something may have been written, so the whole transaction is undone.
    Store(rusqlite::Error),
}

impl From<LedgerError> for OperationError {
    fn from(error: LedgerError) -> Self {
        OperationError::Refused(error)
    }
}

impl From<rusqlite::Error> for OperationError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => {
                OperationError::Unreadable(format!("a record can't be read: {error}"))
            }
            error => OperationError::Store(error),
        }
    }
}
