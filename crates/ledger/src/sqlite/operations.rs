//! Each operation of the trait as SQL, within the transaction of its group. What the record forbids leaves nothing
//! behind for the others of the group to commit.

use super::context::{OpenDelivery, TxContext};
use super::ids;
use super::keys;
use super::operation_error::OperationError;
use super::rows::{self, NumberedRecord, select_deliveries};
use super::statements::{Statements, insert_attempt};
use crate::rules::{self, CommentClaim};
use crate::{AttemptEnd, FindBy, LedgerError, MAX_LISTED, Opened, Opening, RecordFilter, Settled, Settling};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, interrupted, is_open};
use rusqlite::{Connection, ToSql, params};
use std::cmp::Reverse;

pub(super) fn open(tx: &mut TxContext<'_>, opening: Opening) -> Result<Opened, OperationError> {
    rules::check_opening(&opening)?;
    let (connection, number) = (tx.connection, tx.next_number());
    if !tx.statements.claim_key(connection, &opening.key, number)? {
        let known = find_by_key(connection, &opening.key)?.ok_or_else(|| damaged(&opening.key))?;
        return Ok(Opened::Known(Box::new(known)));
    }
    let shared = tx.addressings.number_of(connection, &opening.comment.addressing)?;
    if !tx.statements.insert_delivery(connection, number, &opening, shared)? {
        keys::release(connection, &opening.key, number)?;
        if let Some(shared) = shared {
            tx.addressings.release(connection, shared)?;
        }
        return Err(LedgerError::Conflict("the delivery id is taken".into()).into());
    }
    tx.added(opening.id, vec![opening.intent]);
    Ok(Opened::New)
}

pub(super) fn intend(
    tx: &mut TxContext<'_>,
    id: DeliveryId,
    intent: AttemptRecord,
) -> Result<(), OperationError> {
    let OpenDelivery { number, mut attempts } = tx.take(&id)?;
    rules::check_intent(&attempts, &intent)?;
    insert_attempt(tx.connection, number, &intent)?;
    attempts.push(intent);
    tx.remember(id, number, attempts);
    Ok(())
}

pub(super) fn settle(tx: &mut TxContext<'_>, settling: &Settling) -> Result<Settled, OperationError> {
    let OpenDelivery { number, attempts } = tx.take(&settling.id)?;
    let settlement = rules::settle(&attempts, settling)?;
    let (connection, statements) = (tx.connection, &mut tx.statements);
    if let Some(claim) = settlement.claim
        && !is_claimed(connection, statements, number, claim)?
    {
        return Ok(Settled::ClaimLost);
    }
    let settled = (!settlement.open).then_some((settling.at_ms, tx.age.ms));
    statements.end(connection, number, settling.attempt, &settling.end, settled, settlement.outcome)?;
    Ok(Settled::Recorded)
}

/// Whether the claim is this delivery's now; nothing was written if it isn't.
fn is_claimed<'c>(
    connection: &'c Connection,
    statements: &mut Statements<'c>,
    number: i64,
    claim: CommentClaim<'_>,
) -> Result<bool, OperationError> {
    if statements.insert_claim(connection, number, claim)? {
        return Ok(true);
    }
    let mut owner = connection.prepare_cached(
        "SELECT delivery FROM claims WHERE channel = ?1 AND base_url = ?2 AND comment_id = ?3",
    )?;
    let owner: i64 =
        owner.query_row(params![claim.channel, claim.base_url, claim.comment_id], |row| row.get(0))?;
    Ok(owner == number)
}

pub(super) fn find(tx: &TxContext<'_>, find: &FindBy) -> Result<Option<DeliveryRecord>, OperationError> {
    match find {
        FindBy::Key(key) => find_by_key(tx.connection, key),
        FindBy::Id(id) => {
            let Some(number) = ids::find(tx.connection, id.as_bytes())? else { return Ok(None) };
            Ok(by_number(tx.connection, number)?.filter(|record| record.id == *id))
        }
    }
}

fn find_by_key(connection: &Connection, key: &KeyRef) -> Result<Option<DeliveryRecord>, OperationError> {
    let Some(number) = keys::find(connection, key)? else { return Ok(None) };
    match by_number(connection, number)? {
        Some(record) if record.key == *key => Ok(Some(record)),
        _ => Err(damaged(key)),
    }
}

/// The row of the delivery that has this key is gone or has another key.
fn damaged(key: &KeyRef) -> OperationError {
    OperationError::Unreadable(format!(
        "the delivery under the key {:?} is damaged in the file; restore the file, or ask the channel whether the comment \
         is there",
        key.key
    ))
}

fn by_number(connection: &Connection, number: i64) -> Result<Option<DeliveryRecord>, OperationError> {
    let found = rows::deliveries(connection, FIND_NUMBER, &[&number])?.into_iter().next().transpose()?;
    Ok(found.map(|found| found.record))
}

const FIND_NUMBER: &str = select_deliveries!("WHERE number = ?1");
const LIST: &str = select_deliveries!("ORDER BY number DESC LIMIT ?1");
const LIST_OUTCOME: &str = select_deliveries!("WHERE outcome = ?2 ORDER BY delivery DESC LIMIT ?1");
const LIST_CALLER: &str = select_deliveries!("WHERE caller = ?2 ORDER BY number DESC LIMIT ?1");
// A plus keeps SQLite from another index, with all of a caller's for the few that are unknown.
const LIST_CALLER_OUTCOME: &str =
    select_deliveries!("WHERE outcome = ?2 AND +caller = ?3 ORDER BY delivery DESC LIMIT ?1");
const OPEN: &str = select_deliveries!("WHERE outcome = 'unknown' AND settled_ms IS NULL ORDER BY delivery");
const UNKNOWN: &str = "SELECT id FROM ends JOIN deliveries ON number = delivery \
     WHERE outcome = 'unknown' ORDER BY delivery";
const ADDRESSING: &str = "SELECT addressing FROM deliveries WHERE number = ?1";

pub(super) fn list(tx: &TxContext<'_>, filter: &RecordFilter) -> Result<Vec<DeliveryRecord>, OperationError> {
    let limit = filter.limit.min(MAX_LISTED);
    if let Some((caller, key)) = &filter.key {
        if filter.caller.as_ref().is_some_and(|only| only != caller) {
            return Ok(Vec::new());
        }
        return list_key(tx.connection, caller, key, filter.outcome, limit);
    }
    let outcome = filter.outcome.map(Outcome::as_str);
    let (sql, parameters): (_, Vec<&dyn ToSql>) = match (&filter.caller, &outcome) {
        (None, None) => (LIST, vec![&limit]),
        (None, Some(outcome)) => (LIST_OUTCOME, vec![&limit, outcome]),
        (Some(caller), None) => (LIST_CALLER, vec![&limit, caller]),
        (Some(caller), Some(outcome)) => (LIST_CALLER_OUTCOME, vec![&limit, outcome, caller]),
    };
    let found = readable(rows::deliveries(tx.connection, sql, &parameters)?)?;
    Ok(found.into_iter().map(|found| found.record).collect())
}

fn list_key(
    connection: &Connection,
    caller: &str,
    key: &str,
    outcome: Option<Outcome>,
    limit: u32,
) -> Result<Vec<DeliveryRecord>, OperationError> {
    let mut numbers = keys::find_batch(connection, caller, key)?;
    numbers.sort_unstable_by_key(|number| Reverse(*number));
    let mut listed = Vec::new();
    for number in numbers {
        for NumberedRecord { record, .. } in readable(rows::deliveries(connection, FIND_NUMBER, &[&number])?)?
        {
            let is_of_key = record.key.caller == caller && *record.key.key == *key;
            let is_wanted = is_of_key && outcome.is_none_or(|outcome| record.outcome() == outcome);
            if is_wanted && listed.len() < limit as usize {
                listed.push(record);
            }
        }
    }
    Ok(listed)
}

/// Those that can be read. One damaged record must not hide the others, nor keep the sidecar from starting; its
/// own key stays blocked, since reading it fails.
fn readable(
    found: Vec<Result<NumberedRecord, OperationError>>,
) -> Result<Vec<NumberedRecord>, OperationError> {
    let mut kept = Vec::with_capacity(found.len());
    for record in found {
        match record {
            Ok(record) => kept.push(record),
            Err(OperationError::Unreadable(reason)) => {
                tracing::error!("the ledger leaves out a delivery: {reason}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(kept)
}

pub(super) fn recover(tx: &mut TxContext<'_>, at_ms: u64) -> Result<Vec<DeliveryId>, OperationError> {
    tx.forget_open();
    tx.age = tx.age.at_start(at_ms);
    tx.record_age()?;
    let (connection, settled) = (tx.connection, Some((at_ms, tx.age.ms)));
    for NumberedRecord { number, mut record } in readable(rows::deliveries(connection, OPEN, &[])?)? {
        let open = |attempt: &AttemptRecord| attempt.verdict.is_none().then_some(attempt.number);
        let open: Vec<u32> = record.attempts.iter().filter_map(open).collect();
        rules::interrupt(&mut record.attempts);
        let (end, outcome) = (AttemptEnd::Verdict(interrupted()), record.outcome());
        for attempt in open {
            tx.statements.end(connection, number, attempt, &end, settled, outcome)?;
        }
    }
    let mut unknown = connection.prepare_cached(UNKNOWN)?;
    let ids = unknown.query_map([], |row| row.get(0).map(DeliveryId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn forget(tx: &mut TxContext<'_>, id: &DeliveryId) -> Result<(), OperationError> {
    let OpenDelivery { number, attempts } = tx.take(id)?;
    rules::check_forget(is_open(&attempts))?;
    let shared: Option<i64> =
        tx.connection.prepare_cached(ADDRESSING)?.query_row([number], |row| row.get(0))?;
    tx.connection
        .prepare_cached("UPDATE deliveries SET comment = NULL, addressing = NULL WHERE number = ?1")?
        .execute([number])?;
    shared.map_or(Ok(()), |shared| Ok(tx.addressings.release(tx.connection, shared)?))
}

/// Counts, so that there is something to write: SQLite leaves a page alone that stays as it is.
pub(super) fn check(connection: &Connection) -> Result<(), OperationError> {
    let mut statement = connection.prepare_cached(
        "UPDATE meta SET value = CAST(value AS INTEGER) % 1000000 + 1 WHERE name = 'checks'",
    )?;
    statement.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sweep;
    use super::*;

    fn plan(connection: &Connection, sql: &str) -> Vec<String> {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
        let lines = statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3)).unwrap();
        lines.collect::<Result<_, _>>().unwrap()
    }

    /// What holds up the writer must not grow with the ledger.
    #[test]
    fn no_operation_reads_the_whole_ledger() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        super::super::file::create(&path).unwrap();
        let connection = super::super::schema::open(&path, crate::Stamp::Live).unwrap();
        for (sql, index) in [
            (FIND_NUMBER, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (rows::ATTEMPTS, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (keys::FIND, "USING PRIMARY KEY (hash=? AND item=?)"),
            (keys::FIND_BATCH, "USING PRIMARY KEY (hash=?)"),
            (keys::RELEASE, "USING PRIMARY KEY (hash=? AND item=?)"),
            (LIST_OUTCOME, "ends USING INDEX ends_by_outcome"),
            (LIST_CALLER, "USING INDEX deliveries_by_caller"),
            (LIST_CALLER_OUTCOME, "ends USING INDEX ends_by_outcome"),
            (OPEN, "ends USING INDEX ends_by_outcome"),
            (UNKNOWN, "ends USING COVERING INDEX ends_by_outcome"),
            (sweep::SWEEPABLE, "ends_by_age"),
        ] {
            let plan = plan(&connection, sql);
            assert!(plan[0].contains(index), "{sql}: {plan:?}");
            // Neither a scan, nor a sort.
            assert!(plan.iter().all(|line| line.starts_with("SEARCH")), "{sql}: {plan:?}");
            // What another table adds is one row of it.
            let adds_one = |line: &String| line.contains("USING INTEGER PRIMARY KEY (rowid=?)");
            assert!(plan[1..].iter().all(adds_one), "{sql}: {plan:?}");
        }
        let by_id = plan(&connection, ids::FIND);
        let covered = "SEARCH deliveries USING COVERING INDEX deliveries_by_id (<expr>=? AND id=?)";
        assert!(by_id.iter().any(|line| line == covered), "{by_id:?}");
        let scans: Vec<_> = by_id.iter().filter(|line| line.starts_with("SCAN")).collect();
        assert!(scans.iter().all(|line| *line == "SCAN blocks" || line.contains("CONSTANT")), "{by_id:?}");
    }
}
