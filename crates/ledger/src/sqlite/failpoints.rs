//! Failures of the store that a test asks for.
//!
//! Only a build with the feature `failpoints` has them, and only the variable `COMMENTD_LEDGER_FAULT` arms one: with
//! `full:40` the file may grow by 40 pages and is full then; with `read-only:40` nothing can be written any more
//! after 40 commits, and with `read-only-with:/tmp/x` once that file is there. Without the feature each function is
//! empty and inline.

#[cfg(feature = "failpoints")]
mod armed {
    use rusqlite::Connection;
    use std::path::PathBuf;

    enum PlannedFailure {
        /// The file may grow by so many pages.
        Full(u64),
        /// Nothing is written after so many commits.
        ReadOnly(u64),
        /// Nothing is written once this file is there.
        ReadOnlyWith(PathBuf),
    }

    fn planned() -> Option<PlannedFailure> {
        let text = std::env::var("COMMENTD_LEDGER_FAULT").ok()?;
        match text.split_once(':')? {
            ("full", pages) => pages.parse().ok().map(PlannedFailure::Full),
            ("read-only", commits) => commits.parse().ok().map(PlannedFailure::ReadOnly),
            ("read-only-with", file) => Some(PlannedFailure::ReadOnlyWith(file.into())),
            _ => None,
        }
    }

    pub(in crate::sqlite) fn arm(connection: &Connection) -> rusqlite::Result<()> {
        let Some(PlannedFailure::Full(pages)) = planned() else { return Ok(()) };
        let now: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let most = now.saturating_add(i64::try_from(pages).unwrap_or(i64::MAX));
        connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
    }

    pub(in crate::sqlite) fn before_begin(connection: &Connection, commits: u64) {
        let is_due = match planned() {
            Some(PlannedFailure::ReadOnly(after)) => commits >= after,
            Some(PlannedFailure::ReadOnlyWith(file)) => file.exists(),
            _ => false,
        };
        if is_due && let Err(error) = connection.pragma_update(None, "query_only", true) {
            tracing::error!("the planned failure of the ledger can't be made: {error}");
        }
    }
}

#[cfg(feature = "failpoints")]
pub(super) use armed::{arm, before_begin};

/// Arms the failure that is planned; nothing in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
#[allow(clippy::unnecessary_wraps, reason = "the other one can fail")]
pub(super) fn arm(_connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    Ok(())
}

/// Makes the failure that is due after so many commits; nothing in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(super) fn before_begin(_connection: &rusqlite::Connection, _commits: u64) {}
