//! Each operation of the trait as SQL, within the transaction of its group. Each reads and checks before its
//! first write, so that what the record forbids leaves nothing behind for the others of the group to commit.

use super::rows::{self, Stored, column_ms, select_deliveries};
use crate::rules::{self, Claim};
use crate::{Filter, Find, LedgerError, MAX_LISTED, Opened, Opening, Settled, Settling};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord};
use rusqlite::{Connection, ToSql, params};

/// Why an operation isn't carried out.
#[derive(Debug)]
pub(super) enum Fault {
    /// The record forbids it; nothing was written.
    Refused(LedgerError),
    /// A record isn't as we write it; nothing was written.
    Unreadable(String),
    /// SQLite failed; something may have been written.
    Store(rusqlite::Error),
}

impl From<LedgerError> for Fault {
    fn from(error: LedgerError) -> Self {
        Fault::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => Fault::Unreadable(format!("a record can't be read: {error}")),
            error => Fault::Store(error),
        }
    }
}

pub(super) fn open(connection: &Connection, opening: &Opening) -> Result<Opened, Fault> {
    rules::check_opening(opening)?;
    let added = rows::insert_delivery(connection, opening)?;
    let Some(number) = added else {
        let known = find(connection, &Find::Key(opening.key.clone()))?
            .ok_or_else(|| Fault::Unreadable("a key is taken and yet not there".into()))?;
        return Ok(Opened::Known(Box::new(known)));
    };
    rows::insert_attempt(connection, number, &opening.intent)?;
    Ok(Opened::New)
}

fn required(connection: &Connection, id: &DeliveryId) -> Result<(i64, Vec<AttemptRecord>), Fault> {
    let number = rows::number_of(connection, id)?.ok_or(LedgerError::NotFound)?;
    Ok((number, rows::attempts(connection, number)?))
}

pub(super) fn intend(connection: &Connection, id: &DeliveryId, intent: &AttemptRecord) -> Result<(), Fault> {
    let (number, attempts) = required(connection, id)?;
    rules::check_intent(&attempts, intent)?;
    rows::insert_attempt(connection, number, intent)?;
    rows::update_delivery(connection, number, None, Outcome::Unknown)
}

pub(super) fn settle(connection: &Connection, settling: &Settling) -> Result<Settled, Fault> {
    let (number, attempts) = required(connection, &settling.id)?;
    let settlement = rules::settle(&attempts, settling)?;
    if let Some(claim) = &settlement.claim
        && !is_claimed(connection, number, claim)?
    {
        return Ok(Settled::ClaimLost);
    }
    rows::update_attempt(connection, number, &settlement.attempt)?;
    let settled_ms = (!settlement.open).then_some(settling.at_ms);
    rows::update_delivery(connection, number, settled_ms, settlement.outcome)?;
    Ok(Settled::Recorded)
}

/// Whether the claim is this delivery's now; nothing was written if it isn't.
fn is_claimed(connection: &Connection, number: i64, claim: &Claim) -> Result<bool, Fault> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO claims (channel, base_url, comment_id, delivery) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO NOTHING",
    )?;
    if insert.execute(params![claim.channel, claim.base_url, claim.comment_id, number])? > 0 {
        return Ok(true);
    }
    let mut owner = connection.prepare_cached(
        "SELECT delivery FROM claims WHERE channel = ?1 AND base_url = ?2 AND comment_id = ?3",
    )?;
    let owner: i64 =
        owner.query_row(params![claim.channel, claim.base_url, claim.comment_id], |row| row.get(0))?;
    Ok(owner == number)
}

pub(super) fn find(connection: &Connection, find: &Find) -> Result<Option<DeliveryRecord>, Fault> {
    let found = match find {
        Find::Id(id) => {
            let statement = connection.prepare_cached(FIND_ID)?;
            rows::deliveries(connection, statement, &[&id.as_bytes().as_slice()])
        }
        Find::Key(key) => {
            let statement = connection.prepare_cached(FIND_KEY)?;
            rows::deliveries(connection, statement, &[&key.caller, &key.key, &key.item])
        }
    }?;
    found.into_iter().next().map(|stored| stored.map(|stored| stored.record)).transpose()
}

const FIND_ID: &str = select_deliveries!("WHERE id = ?1");
const FIND_KEY: &str = select_deliveries!("WHERE caller = ?1 AND key = ?2 AND item = ?3");
const LIST: &str = select_deliveries!("ORDER BY number DESC LIMIT ?1");
const LIST_OUTCOME: &str = select_deliveries!("WHERE outcome = ?2 ORDER BY number DESC LIMIT ?1");
const LIST_CALLER: &str = select_deliveries!("WHERE caller = ?2 ORDER BY number DESC LIMIT ?1");
// A plus keeps SQLite from another index: here, from all of a caller's for the few that are unknown; below, from
// everything with the outcome for the few items of a key.
const LIST_CALLER_OUTCOME: &str =
    select_deliveries!("WHERE outcome = ?2 AND +caller = ?3 ORDER BY number DESC LIMIT ?1");
const LIST_KEY: &str = select_deliveries!("WHERE caller = ?2 AND key = ?3 ORDER BY +number DESC LIMIT ?1");
const LIST_KEY_OUTCOME: &str =
    select_deliveries!("WHERE caller = ?2 AND key = ?3 AND +outcome = ?4 ORDER BY +number DESC LIMIT ?1");
const OPEN: &str = select_deliveries!("WHERE outcome = 'unknown' AND settled_ms IS NULL ORDER BY number");
const UNKNOWN: &str = "SELECT id FROM deliveries WHERE outcome = 'unknown' ORDER BY number";
const SWEEPABLE: &str = "SELECT number FROM deliveries \
     WHERE settled_ms IS NOT NULL AND outcome <> 'unknown' AND settled_ms < ?1 ORDER BY settled_ms LIMIT ?2";

pub(super) fn list(connection: &Connection, filter: &Filter) -> Result<Vec<DeliveryRecord>, Fault> {
    let limit = filter.limit.min(MAX_LISTED);
    let outcome = filter.outcome.map(Outcome::as_str);
    if let (Some(only), Some((caller, _))) = (&filter.caller, &filter.key)
        && only != caller
    {
        return Ok(Vec::new());
    }
    let (sql, parameters): (_, Vec<&dyn ToSql>) = match (&filter.key, &filter.caller, &outcome) {
        (None, None, None) => (LIST, vec![&limit]),
        (None, None, Some(outcome)) => (LIST_OUTCOME, vec![&limit, outcome]),
        (None, Some(caller), None) => (LIST_CALLER, vec![&limit, caller]),
        (None, Some(caller), Some(outcome)) => (LIST_CALLER_OUTCOME, vec![&limit, outcome, caller]),
        (Some((caller, key)), _, None) => (LIST_KEY, vec![&limit, caller, key]),
        (Some((caller, key)), _, Some(outcome)) => (LIST_KEY_OUTCOME, vec![&limit, caller, key, outcome]),
    };
    readable(rows::deliveries(connection, connection.prepare_cached(sql)?, &parameters)?)
}

/// Those that can be read. One damaged record must not hide the others, nor keep the sidecar from starting; its
/// own key stays blocked, since reading it fails.
fn readable(found: Vec<Result<Stored, Fault>>) -> Result<Vec<DeliveryRecord>, Fault> {
    Ok(readable_stored(found)?.into_iter().map(|stored| stored.record).collect())
}

fn readable_stored(found: Vec<Result<Stored, Fault>>) -> Result<Vec<Stored>, Fault> {
    let mut kept = Vec::with_capacity(found.len());
    for stored in found {
        match stored {
            Ok(stored) => kept.push(stored),
            Err(Fault::Unreadable(reason)) => tracing::error!("the ledger leaves out a delivery: {reason}"),
            Err(fault) => return Err(fault),
        }
    }
    Ok(kept)
}

pub(super) fn recover(connection: &Connection, at_ms: u64) -> Result<Vec<DeliveryId>, Fault> {
    let found = rows::deliveries(connection, connection.prepare_cached(OPEN)?, &[])?;
    for Stored { number, record } in &mut readable_stored(found)? {
        if !rules::interrupt(&mut record.attempts) {
            continue;
        }
        for attempt in &record.attempts {
            rows::update_attempt(connection, *number, attempt)?;
        }
        record.settled_ms = Some(at_ms);
        rows::update_delivery(connection, *number, record.settled_ms, rules::outcome(&record.attempts))?;
    }
    let mut unknown = connection.prepare_cached(UNKNOWN)?;
    let ids = unknown.query_map([], |row| row.get(0).map(DeliveryId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn forget(connection: &Connection, id: &DeliveryId) -> Result<(), Fault> {
    let (number, attempts) = required(connection, id)?;
    rules::check_forget(rules::is_open(&attempts))?;
    connection.prepare_cached("DELETE FROM comments WHERE delivery = ?1")?.execute([number])?;
    Ok(())
}

pub(super) fn sweep(connection: &Connection, before_ms: u64, most: u32) -> Result<u32, Fault> {
    let mut statement = connection.prepare_cached(SWEEPABLE)?;
    let numbers: Vec<i64> = statement
        .query_map(params![column_ms(before_ms), most], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in &numbers {
        for sql in [
            "DELETE FROM claims WHERE delivery = ?1",
            "DELETE FROM attempts WHERE delivery = ?1",
            "DELETE FROM comments WHERE delivery = ?1",
            "DELETE FROM deliveries WHERE number = ?1",
        ] {
            connection.prepare_cached(sql)?.execute([number])?;
        }
    }
    Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX))
}

/// Counts, so that there is something to write: SQLite leaves a page alone that stays as it is.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "UPDATE meta SET value = CAST(value AS INTEGER) % 1000000 + 1 WHERE name = 'checks'",
    )?;
    statement.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What holds up the writer must not grow with the ledger.
    #[test]
    fn no_operation_reads_the_whole_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        super::super::file::create(&path).unwrap();
        let connection = super::super::schema::open(&path, crate::Stamp::Live).unwrap();
        for (sql, index) in [
            (FIND_ID, "USING INDEX sqlite_autoindex_deliveries_1"),
            (FIND_KEY, "USING INDEX sqlite_autoindex_deliveries_2"),
            (LIST_OUTCOME, "USING INDEX deliveries_by_outcome"),
            (LIST_CALLER, "USING INDEX deliveries_by_caller"),
            (LIST_CALLER_OUTCOME, "USING INDEX deliveries_by_outcome"),
            (LIST_KEY, "USING INDEX sqlite_autoindex_deliveries_2"),
            (LIST_KEY_OUTCOME, "USING INDEX sqlite_autoindex_deliveries_2"),
            (OPEN, "USING INDEX deliveries_by_outcome"),
            (UNKNOWN, "USING INDEX deliveries_by_outcome"),
            (SWEEPABLE, "deliveries_by_settling"),
            ("DELETE FROM claims WHERE delivery = ?1", "claims_by_delivery"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert!(plan[0].starts_with("SEARCH") && plan[0].contains(index), "{sql}: {plan:?}");
            let sorts = plan.iter().any(|line| line.contains("TEMP B-TREE"));
            assert!(!sorts || sql.contains("+number"), "{sql}: {plan:?}");
        }
    }
}
