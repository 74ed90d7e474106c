//! The places where a marker of ours was seen.

use super::operation_error::OperationError;
use super::rows::column_ms;
use crate::MarkedPlace;
use rusqlite::{Connection, params};

/// One row for each place; there are few.
pub(super) const TABLE: &str = "
CREATE TABLE marked_places (
    channel TEXT NOT NULL,
    base_url TEXT NOT NULL,
    account TEXT NOT NULL,
    seen_ms INTEGER NOT NULL,
    PRIMARY KEY (channel, base_url, account)
) STRICT, WITHOUT ROWID;
";

pub(super) fn note(connection: &Connection, place: &MarkedPlace, at_ms: u64) -> Result<(), OperationError> {
    let mut statement =
        connection.prepare_cached("INSERT OR IGNORE INTO marked_places VALUES (?1, ?2, ?3, ?4)")?;
    statement.execute(params![place.channel, place.base_url, place.account, column_ms(at_ms)])?;
    Ok(())
}

pub(super) fn places(connection: &Connection) -> Result<Vec<MarkedPlace>, OperationError> {
    let mut statement = connection.prepare_cached(
        "SELECT channel, base_url, account FROM marked_places ORDER BY channel, base_url, account",
    )?;
    let places = statement.query_map([], |row| {
        Ok(MarkedPlace { channel: row.get(0)?, base_url: row.get(1)?, account: row.get(2)? })
    })?;
    Ok(places.collect::<rusqlite::Result<_>>()?)
}
