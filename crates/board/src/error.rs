//! What can go wrong before the board serves, and when an embedder looks into its store.

use std::fmt;
use std::path::PathBuf;

/// Why a board can't be opened or read.
#[derive(Debug)]
pub enum BoardError {
    /// The fault plan is out of range.
    Plan(PlanError),
    /// SQLite failed.
    Database {
        /// The database file; `None` for the one in memory.
        file: Option<PathBuf>,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// The file is a SQLite database of something else; it was left untouched.
    ForeignDatabase {
        /// The file that was named.
        file: PathBuf,
    },
    /// The file was written by a newer commentd; it was left untouched.
    NewerDatabase {
        /// The file that was named.
        file: PathBuf,
        /// The schema version in it.
        found: i64,
        /// The newest schema version that this program reads.
        known: i64,
    },
    /// The journal of faults can't be opened.
    Journal {
        /// The file that was named.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The runtime is shutting down, so the store's work was not run.
    Stopped,
}

impl fmt::Display for BoardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BoardError::Plan(error) => error.fmt(f),
            BoardError::Database { file: Some(file), source } => {
                write!(f, "board database {}: {source}; check that the file can be written", file.display())
            }
            BoardError::Database { file: None, source } => {
                write!(f, "board database in memory: {source}")
            }
            BoardError::ForeignDatabase { file } => write!(
                f,
                "{} is a SQLite database, but not a board's; name a new file or an older board's",
                file.display()
            ),
            BoardError::NewerDatabase { file, found, known } => write!(
                f,
                "board database {} has schema {found}, this program reads up to {known}; use a newer commentd",
                file.display()
            ),
            BoardError::Journal { path, source } => {
                write!(f, "journal {}: {source}; name a file that can be written", path.display())
            }
            BoardError::Stopped => f.write_str("the board's runtime is shutting down"),
        }
    }
}

impl std::error::Error for BoardError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BoardError::Plan(error) => Some(error),
            BoardError::Database { source, .. } => Some(source),
            BoardError::Journal { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<PlanError> for BoardError {
    fn from(error: PlanError) -> Self {
        BoardError::Plan(error)
    }
}

/// Why a fault plan is rejected. Reads as `file: key: what is wrong and what is allowed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    /// The plan file; `None` for a plan built in code.
    pub file: Option<PathBuf>,
    /// The key, as `latency_ms` or `fault[2].ratio` (from 0); empty where the file as a whole is meant.
    pub key: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl PlanError {
    pub(crate) fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { file: None, key: key.into(), message: message.into() }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: ", file.display())?,
            None => f.write_str("fault plan: ")?,
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for PlanError {}
