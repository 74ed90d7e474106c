//! What can go wrong before the board serves, and when an embedder looks into its store.

use std::path::{Path, PathBuf};

/// Why a board can't be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// The fault plan is out of range.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// SQLite failed.
    #[error("{}", database_failed(file.as_deref(), source))]
    Database {
        /// The database file; `None` for the one in memory.
        file: Option<PathBuf>,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
    /// The file is a SQLite database of something else; it was left untouched.
    #[error("{} is a SQLite database, but not a board's; name a new file or an older board's", file.display())]
    ForeignDatabase {
        /// The file that was named.
        file: PathBuf,
    },
    /// The file was written by a newer commentd; it was left untouched.
    #[error(
        "board database {} has schema {found}, this program reads up to {known}; use a newer commentd",
        file.display()
    )]
    NewerDatabase {
        /// The file that was named.
        file: PathBuf,
        /// The schema version in it.
        found: i64,
        /// The newest schema version that this program reads.
        known: i64,
    },
    /// The journal of faults can't be opened.
    #[error("journal {}: {source}; name a file that can be written", path.display())]
    Journal {
        /// The file that was named.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The runtime is shutting down, so the store's work was not run.
    #[error("the board's runtime is shutting down")]
    Stopped,
}

fn database_failed(file: Option<&Path>, source: &rusqlite::Error) -> String {
    match file {
        Some(file) => {
            format!("board database {}: {source}; check that the file can be written", file.display())
        }
        None => format!("board database in memory: {source}"),
    }
}

/// Why a fault plan is rejected. Reads as `file: key: what is wrong and what is allowed`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(file.as_deref(), key))]
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

/// Where in which plan, before what is wrong there.
fn place(file: Option<&Path>, key: &str) -> String {
    let file = file.map_or_else(|| "fault plan".to_owned(), |file| file.display().to_string());
    if key.is_empty() { format!("{file}: ") } else { format!("{file}: {key}: ") }
}
