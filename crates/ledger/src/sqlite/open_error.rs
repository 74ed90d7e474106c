//! Why a ledger file can't be opened.

use crate::Stamp;
use crate::lock::{LockError, LockHolder};
use rusqlite::ErrorCode;
use std::io;
use std::path::{Path, PathBuf};

/// Why a ledger file can't be opened. The text of each says what to do; none of them has changed a file that
/// was there before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SQLite that this program was built with can lose commits.
    #[error(
        "this commentd was built with SQLite {}.{}.{}, which can lose commits; build it with 3.51.3 or newer",
        found / 1_000_000,
        found / 1000 % 1000,
        found % 1000
    )]
    OldLibrary {
        /// Its number, as `sqlite3_libversion_number` counts.
        found: i32,
    },
    /// Another process has the ledger.
    #[error(
        "{}", LockError::Held(.0.clone())
    )]
    Held(LockHolder),
    /// The lock beside the ledger can't be used.
    #[error(transparent)]
    Lock(LockError),
    /// The file or its folder can't be read, written or created.
    #[error(
        "can't use {} for the ledger: {source}; make it readable and writable, or name another file with --ledger",
        path.display()
    )]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The folder of the file isn't there.
    #[error(
        "can't create the ledger {}: its folder isn't there; create it, or name another file with --ledger",
        path.display()
    )]
    NoFolder {
        /// The file.
        path: PathBuf,
    },
    /// There is something in its place that isn't a file, such as a folder.
    #[error(
        "the ledger {} is a folder or something else that isn't a plain file; name a file with --ledger",
        path.display()
    )]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file isn't a database, or a damaged one.
    #[error(
        "the file {} is damaged or isn't a ledger ({source}); it was left as it is. Move it away or name another file with \
         --ledger; a new ledger doesn't know what the old one sent",
        path.display()
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The file is a database of another program.
    #[error(
        "the database {} belongs to another program and was left as it is; name another file with --ledger",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer commentd wrote the file.
    #[error(
        "the ledger {} has schema version {found}, and this commentd knows versions up to {known}; run the newer commentd \
         that wrote it, or name another file with --ledger",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// The file holds the other kind of deliveries.
    #[error(
        "the ledger {} was created for {}, and this is {}; name another file with --ledger",
        path.display(),
        content(*found),
        content(*asked)
    )]
    WrongStamp {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: Stamp,
        /// What it was to be opened for.
        asked: Stamp,
    },
    /// The file system has no write-ahead log to offer.
    #[error(
        "the file system of the ledger {} can't hold SQLite's write-ahead log; name a file on a local disk with --ledger",
        path.display()
    )]
    NoWriteAheadLog {
        /// The file.
        path: PathBuf,
    },
    /// A part of what was recorded last is lost with the ledger's log.
    #[error(
        "the ledger's log {} {loss}. Without it the ledger doesn't know all that was sent, and comments could be sent twice. \
         Put the log back if you have it (the ledger is left as it is until then); to go on without, start once with \
         --accept-lost-wal and send nothing again that isn't known",
        path.display()
    )]
    LostLog {
        /// The log.
        path: PathBuf,
        /// What of it is lost.
        loss: String,
    },
    /// SQLite can't use the file for another reason.
    #[error(
        "can't open the ledger {}: {source}; name another file with --ledger if that can't be helped",
        path.display()
    )]
    Store {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// The system gave no thread to write with.
    #[error(
        "can't start the writer of the ledger {}: {source}",
        path.display()
    )]
    Thread {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        OpenError::Io { path: path.to_owned(), source }
    }

    pub(super) fn store(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                OpenError::NotADatabase { path, source }
            }
            _ => OpenError::Store { path, source },
        }
    }
}

impl From<LockError> for OpenError {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Held(holder) => OpenError::Held(holder),
            other => OpenError::Lock(other),
        }
    }
}

fn content(stamp: Stamp) -> &'static str {
    match stamp {
        Stamp::Live => "live deliveries",
        Stamp::Rehearsal => "rehearsals",
    }
}
