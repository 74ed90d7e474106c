//! Finding a delivery by its id.
//!
//! Ids are random, so an index in their order would have a page of the file read and written for every delivery. This
//! one is in the order of the ids only within a block of deliveries that were opened one after another. Adding one
//! touches the few pages of the newest block; a lookup asks every block. That is the right way round: a delivery is
//! looked up by its id when somebody asks for it, or once it is unknown, and mostly never.

use rusqlite::{Connection, OptionalExtension, named_params};

/// From the newest block to the oldest; blocks of which nothing is left are skipped.
pub(super) const FIND: &str = "
WITH RECURSIVE blocks (block) AS (
    SELECT max(number) >> 11 FROM deliveries
    UNION ALL
    SELECT (SELECT max(number) FROM deliveries WHERE number < block << 11) >> 11
    FROM blocks WHERE block IS NOT NULL
)
SELECT number FROM blocks CROSS JOIN deliveries WHERE number >> 11 = block AND id = :id LIMIT 1";

/// The number of the delivery with this id.
pub(super) fn find(connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached(FIND)?;
    statement.query_row(named_params! { ":id": id }, |row| row.get(0)).optional()
}
