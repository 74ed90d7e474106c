//! Failures of the store that a test asks for.
//!
//! Only a build with the feature `fences` has them, and only the variable `COMMENTD_LEDGER_FAULT` arms one: with
//! `full:40` the file may grow by 40 pages and is full then; with `read-only:40` nothing can be written any more
//! after 40 commits. Without the feature each function is empty and inline.

#[cfg(feature = "fences")]
mod armed {
    use rusqlite::Connection;

    enum Failure {
        /// The file may grow by so many pages.
        Full(u64),
        /// Nothing is written after so many commits.
        ReadOnly(u64),
    }

    fn planned() -> Option<Failure> {
        let text = std::env::var("COMMENTD_LEDGER_FAULT").ok()?;
        let (name, number) = text.split_once(':')?;
        let number = number.parse().ok()?;
        match name {
            "full" => Some(Failure::Full(number)),
            "read-only" => Some(Failure::ReadOnly(number)),
            _ => None,
        }
    }

    pub(in crate::sqlite) fn arm(connection: &Connection) -> rusqlite::Result<()> {
        let Some(Failure::Full(pages)) = planned() else { return Ok(()) };
        let now: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        let most = now.saturating_add(i64::try_from(pages).unwrap_or(i64::MAX));
        connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
    }

    pub(in crate::sqlite) fn committed(connection: &Connection, commits: u64) {
        if let Some(Failure::ReadOnly(after)) = planned()
            && commits >= after
            && let Err(error) = connection.pragma_update(None, "query_only", true)
        {
            tracing::error!("the planned failure of the ledger can't be made: {error}");
        }
    }
}

#[cfg(feature = "fences")]
pub(super) use armed::{arm, committed};

/// Arms the failure that is planned; nothing in a build without fences.
#[cfg(not(feature = "fences"))]
#[inline(always)]
#[allow(clippy::unnecessary_wraps, reason = "the other one can fail")]
pub(super) fn arm(_connection: &rusqlite::Connection) -> rusqlite::Result<()> {
    Ok(())
}

/// Counts a commit; nothing in a build without fences.
#[cfg(not(feature = "fences"))]
#[inline(always)]
pub(super) fn committed(_connection: &rusqlite::Connection, _commits: u64) {}
