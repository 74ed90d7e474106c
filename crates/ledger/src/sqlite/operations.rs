//! Each operation of the trait as SQL, within the transaction of its group. Each reads and checks before its
//! first write, so that what the record forbids leaves nothing behind for the others of the group to commit.

use super::rows::{self, Statements, Stored, column_ms, select_deliveries};
use crate::rules::{self, Claim};
use crate::{End, Filter, Find, LedgerError, MAX_LISTED, Opened, Opening, Settled, Settling};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, interrupted};
use rusqlite::{Connection, ToSql, params};
use std::collections::HashMap;

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

/// The database as its one writer has it: the statements that every comment needs, compiled once, and what is
/// under way, so that a settling needn't read what the same process has just written.
pub(super) struct Book<'c> {
    pub(super) connection: &'c Connection,
    statements: Statements<'c>,
    /// Deliveries with an open attempt, as the transaction has them; not all of them.
    under_way: HashMap<DeliveryId, Known>,
}

/// A delivery's number, and its attempts.
struct Known {
    number: i64,
    attempts: Vec<AttemptRecord>,
}

/// Most deliveries that are kept in mind. Some may never be settled, so that all are let go of at times.
const MOST_UNDER_WAY: usize = 8192;

impl<'c> Book<'c> {
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, statements: Statements::default(), under_way: HashMap::new() }
    }

    /// Lets go of what is kept in mind: it isn't what the file says, or may not be.
    pub(super) fn distrust(&mut self) {
        self.under_way.clear();
    }

    fn keep(&mut self, id: DeliveryId, number: i64, attempts: Vec<AttemptRecord>) {
        if self.under_way.len() >= MOST_UNDER_WAY {
            self.under_way.clear();
        }
        self.under_way.insert(id, Known { number, attempts });
    }

    fn known(&self, id: &DeliveryId) -> Result<Known, Fault> {
        let number = rows::number_of(self.connection, id)?.ok_or(LedgerError::NotFound)?;
        Ok(Known { number, attempts: rows::attempts(self.connection, number)? })
    }
}

pub(super) fn open(book: &mut Book<'_>, opening: Opening) -> Result<Opened, Fault> {
    rules::check_opening(&opening)?;
    let connection = book.connection;
    let Some(number) = book.statements.insert_delivery(connection, &opening)? else {
        let known = find(connection, &Find::Key(opening.key))?
            .ok_or_else(|| Fault::Unreadable("a key is taken and yet not there".into()))?;
        return Ok(Opened::Known(Box::new(known)));
    };
    book.statements.insert_attempt(connection, number, &opening.intent)?;
    book.keep(opening.id, number, vec![opening.intent]);
    Ok(Opened::New)
}

pub(super) fn intend(book: &mut Book<'_>, id: DeliveryId, intent: AttemptRecord) -> Result<(), Fault> {
    let Known { number, mut attempts } = book.known(&id)?;
    rules::check_intent(&attempts, &intent)?;
    book.statements.insert_attempt(book.connection, number, &intent)?;
    book.statements.update_delivery(book.connection, number, None, Outcome::Unknown)?;
    attempts.push(intent);
    book.keep(id, number, attempts);
    Ok(())
}

pub(super) fn settle(book: &mut Book<'_>, settling: &Settling) -> Result<Settled, Fault> {
    // Whatever comes of it, from here on the file knows better.
    let Known { number, attempts } = match book.under_way.remove(&settling.id) {
        Some(known) => known,
        None => book.known(&settling.id)?,
    };
    let settlement = rules::settle(&attempts, settling)?;
    let (connection, statements) = (book.connection, &mut book.statements);
    if let Some(claim) = settlement.claim
        && !is_claimed(connection, statements, number, claim)?
    {
        return Ok(Settled::ClaimLost);
    }
    statements.note_end(connection, number, settling.attempt, &settling.end)?;
    let settled_ms = (!settlement.open).then_some(settling.at_ms);
    statements.update_delivery(connection, number, settled_ms, settlement.outcome)?;
    Ok(Settled::Recorded)
}

/// Whether the claim is this delivery's now; nothing was written if it isn't.
fn is_claimed<'c>(
    connection: &'c Connection,
    statements: &mut Statements<'c>,
    number: i64,
    claim: Claim<'_>,
) -> Result<bool, Fault> {
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

pub(super) fn recover(book: &mut Book<'_>, at_ms: u64) -> Result<Vec<DeliveryId>, Fault> {
    book.distrust();
    let (connection, statements) = (book.connection, &mut book.statements);
    let found = rows::deliveries(connection, connection.prepare_cached(OPEN)?, &[])?;
    for Stored { number, mut record } in readable_stored(found)? {
        let open = |attempt: &AttemptRecord| attempt.verdict.is_none().then_some(attempt.number);
        let open: Vec<u32> = record.attempts.iter().filter_map(open).collect();
        if !rules::interrupt(&mut record.attempts) {
            continue;
        }
        for attempt in open {
            statements.note_end(connection, number, attempt, &End::Verdict(interrupted()))?;
        }
        statements.update_delivery(connection, number, Some(at_ms), rules::outcome(&record.attempts))?;
    }
    let mut unknown = connection.prepare_cached(UNKNOWN)?;
    let ids = unknown.query_map([], |row| row.get(0).map(DeliveryId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn forget(book: &Book<'_>, id: &DeliveryId) -> Result<(), Fault> {
    let (connection, Known { number, attempts }) = (book.connection, book.known(id)?);
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
