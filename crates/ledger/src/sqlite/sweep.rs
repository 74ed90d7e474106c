//! Removing what is past its retention.

use super::context::TxContext;
use super::keys;
use super::operation_error::OperationError;
use super::rows::{self, column_ms};
use crate::rules;
use commentd_delivery::record::AttemptRecord;
use rusqlite::{Connection, OptionalExtension, params};

pub(super) const SWEEPABLE: &str = "SELECT delivery FROM ends \
     WHERE settled_ms IS NOT NULL AND outcome <> 'unknown' AND settled_age <= ?1 ORDER BY settled_age LIMIT ?2";
const DELETE: &str = "DELETE FROM deliveries WHERE number = ?1 RETURNING addressing, caller, key, item";

/// Removes up to `most` deliveries that were settled when the ledger was younger by `kept_ms` or more.
pub(super) fn sweep(tx: &mut TxContext<'_>, kept_ms: u64, most: u32) -> Result<u32, OperationError> {
    let Some(up_to) = tx.age.ms.checked_sub(kept_ms) else { return Ok(0) };
    let mut statement = tx.connection.prepare_cached(SWEEPABLE)?;
    let numbers: Vec<i64> = statement
        .query_map(params![column_ms(up_to), most], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in &numbers {
        remove(tx, *number)?;
    }
    Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX))
}

fn remove(tx: &mut TxContext<'_>, number: i64) -> Result<(), OperationError> {
    let connection = tx.connection;
    match rows::attempts(connection, number) {
        Ok(found) => release_claims(connection, number, &found.unwrap_or_default())?,
        // What it has claimed stays claimed: nobody else will be told that it is theirs.
        Err(OperationError::Unreadable(reason)) => tracing::error!("the claims of a delivery stay: {reason}"),
        Err(error) => return Err(error),
    }
    for sql in ["DELETE FROM attempts WHERE delivery = ?1", "DELETE FROM ends WHERE delivery = ?1"] {
        connection.prepare_cached(sql)?.execute([number])?;
    }
    let mut delete = connection.prepare_cached(DELETE)?;
    let removed = delete.query_row([number], |row| {
        let bytes = |column| row.get_ref(column).map(|value| value.as_bytes().unwrap_or_default());
        Ok((row.get(0)?, keys::hash(bytes(1)?, bytes(2)?), row.get(3)?))
    });
    let Some((addressing, hash, item)) = removed.optional()? else { return Ok(()) };
    keys::release_hash(connection, hash, item, number)?;
    if let Some(addressing) = addressing {
        tx.addressings.release(connection, addressing)?;
    }
    Ok(())
}

fn release_claims(
    connection: &Connection,
    number: i64,
    attempts: &[AttemptRecord],
) -> Result<(), OperationError> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM claims WHERE channel = ?1 AND base_url = ?2 AND comment_id = ?3 AND delivery = ?4",
    )?;
    for claim in rules::claims(attempts) {
        statement.execute(params![claim.channel, claim.base_url, claim.comment_id, number])?;
    }
    Ok(())
}
