//! Why an operation isn't carried out.

use crate::LedgerError;
use rusqlite::ErrorCode;

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

/// Whether a later operation may fare better. A full disk may have room again, and another program's lock ends.
/// Of an I/O error (a failed sync above all) nobody can say what it left on the disk. The rest is about the one
/// statement, and its transaction was undone.
pub(super) fn may_pass(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport
                | ErrorCode::InternalMalfunction
                | ErrorCode::Unknown
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn after_a_failed_sync_nothing_passes_and_after_a_full_disk_it_may() {
        let passes = |code| may_pass(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_READONLY_DBMOVED,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(!passes(code), "code {code}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_NOMEM, ffi::SQLITE_CONSTRAINT] {
            assert!(passes(code), "code {code}");
        }
    }
}
