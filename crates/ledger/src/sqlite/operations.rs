//! Each operation of the trait as SQL, within the transaction of its group. Each reads and checks before its
//! first write, so that what the record forbids leaves nothing behind for the others of the group to commit.

use super::names::{self, Names};
use super::rows::{self, Stored, column_ms, select_deliveries};
use super::shared::Shared;
use super::statements::{Statements, insert_attempt};
use super::unended::Unended;
use crate::age::Age;
use crate::rules::{self, Claim};
use crate::{End, Filter, Find, LedgerError, MAX_LISTED, Opened, Opening, Settled, Settling};
use commentd_contract::Outcome;
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, KeyRef, interrupted, is_open};
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use std::cmp::Reverse;
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

/// What the file's tables and indexes lack of the latest deliveries, and their rows tell at a start.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) names: Names,
    pub(super) unended: Unended,
    /// How old the ledger is, and how old the file has it.
    pub(super) age: Age,
    kept_age: Age,
}

impl Recent {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let named = names::moved(connection)?;
        let number = |name| connection.query_row(NUMBER, [name], |row| row.get(0)).map(rows::record_ms);
        let age = Age { ms: number("aged_ms")?, at_ms: number("aged_at_ms")? };
        let (names, unended) = (Names::load(connection, named)?, Unended::load(connection, named)?);
        Ok(Self { names, unended, age, kept_age: age })
    }
}

/// The database as its one writer has it: the statements that every comment needs, compiled once; what the file's
/// tables and indexes lack; and what is under way, so that a settling needn't read what the same process has just
/// written.
pub(super) struct Book<'c> {
    pub(super) connection: &'c Connection,
    pub(super) recent: Recent,
    naming: names::Statements<'c>,
    statements: Statements<'c>,
    shared: Shared,
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
    pub(super) fn new(connection: &'c Connection, recent: Recent) -> Self {
        let (naming, statements) = (names::Statements::default(), Statements::default());
        Self { connection, recent, naming, statements, shared: Shared::default(), under_way: HashMap::new() }
    }

    /// Moves so many names to their table, before a transaction is committed.
    pub(super) fn move_names(&mut self, most: usize) -> rusqlite::Result<()> {
        if let Some(named) = self.recent.names.ripen(self.connection, &mut self.naming, most)? {
            self.recent.unended.write_up_to(self.connection, named)?;
        }
        Ok(())
    }

    /// The transaction is committed.
    pub(super) fn committed(&mut self) {
        self.recent.names.committed();
        self.recent.unended.committed();
    }

    /// The transaction is undone, and with it what is kept in mind of it. The ledger is as old as it is.
    pub(super) fn undone(&mut self) {
        self.recent.kept_age = Age::default();
        self.recent.names.undone();
        self.recent.unended.undone();
        self.shared.forget();
        self.under_way.clear();
    }

    fn keep(&mut self, id: DeliveryId, number: i64, attempts: Vec<AttemptRecord>) {
        if self.under_way.len() >= MOST_UNDER_WAY {
            self.under_way.clear();
        }
        self.under_way.insert(id, Known { number, attempts });
    }

    /// The numbers of the deliveries that may go by this name, the newest first.
    fn named(&mut self, hash: i64) -> Result<Vec<i64>, Fault> {
        self.recent.names.find(self.connection, &mut self.naming, hash)
    }

    fn known(&mut self, id: &DeliveryId) -> Result<Known, Fault> {
        for number in self.named(names::of_id(id.as_bytes()))? {
            if let Some(attempts) = rows::attempts(self.connection, number, Some(id))? {
                return Ok(Known { number, attempts });
            }
        }
        Err(LedgerError::NotFound.into())
    }
}

pub(super) fn open(book: &mut Book<'_>, opening: Opening) -> Result<Opened, Fault> {
    rules::check_opening(&opening)?;
    if let Some(known) = find_key(book, &opening.key)? {
        return Ok(Opened::Known(Box::new(known)));
    }
    // An id is 128 random bits, so the latest are enough to tell that something goes wrong with them.
    for number in book.recent.names.recent(names::of_id(opening.id.as_bytes())) {
        if rows::attempts(book.connection, number, Some(&opening.id))?.is_some() {
            return Err(LedgerError::Conflict("the delivery id is taken".into()).into());
        }
    }
    let number = book.recent.names.next_number();
    let shared = book.shared.number_of(book.connection, &opening.comment.addressing)?;
    book.statements.insert_delivery(book.connection, number, &opening, shared)?;
    book.recent.names.add(number, &opening.id, &opening.key);
    book.recent.unended.add(number);
    book.keep(opening.id, number, vec![opening.intent]);
    Ok(Opened::New)
}

pub(super) fn intend(book: &mut Book<'_>, id: DeliveryId, intent: AttemptRecord) -> Result<(), Fault> {
    let Known { number, mut attempts } = book.known(&id)?;
    rules::check_intent(&attempts, &intent)?;
    insert_attempt(book.connection, number, &intent)?;
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
    let settled = (!settlement.open).then_some((settling.at_ms, book.recent.age.ms));
    statements.end(connection, number, settling.attempt, &settling.end, settled, settlement.outcome)?;
    book.recent.unended.remove(number);
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

pub(super) fn find(book: &mut Book<'_>, find: &Find) -> Result<Option<DeliveryRecord>, Fault> {
    match find {
        Find::Key(key) => find_key(book, key),
        Find::Id(id) => {
            let numbers = book.named(names::of_id(id.as_bytes()))?;
            find_among(book.connection, &numbers, FIND_ID, &[&id.as_bytes().as_slice()])
        }
    }
}

fn find_key(book: &mut Book<'_>, key: &KeyRef) -> Result<Option<DeliveryRecord>, Fault> {
    let name = names::of_key(&key.caller, &key.key, key.item);
    let numbers = book.named(name)?;
    let found = find_among(book.connection, &numbers, FIND_KEY, &[&key.caller, &key.key, &key.item])?;
    if found.is_none() {
        for number in numbers {
            check_goes_by(book.connection, number, name)?;
        }
    }
    Ok(found)
}

/// Whether a delivery to which a name has led, and which isn't the one that was asked for, goes by that name at all. If
/// not, its key was damaged in the file, and may well be the one that was asked for.
fn check_goes_by(connection: &Connection, number: i64, name: i64) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(names::NAMES_OF)?;
    let mut rows = statement.query([number])?;
    // A name may outlive its delivery.
    let Some(row) = rows.next()? else { return Ok(()) };
    if names::hashes_in(row)?.any(|own| own == name) {
        return Ok(());
    }
    Err(Fault::Unreadable(format!(
        "the key of its delivery number {number} is damaged in the file, and may be the key that is asked for; restore the \
         file, or ask the channel whether the comment is there"
    )))
}

/// The first of these that a statement finds, whose first parameter is the number.
fn find_among(
    connection: &Connection,
    numbers: &[i64],
    sql: &str,
    parameters: &[&dyn ToSql],
) -> Result<Option<DeliveryRecord>, Fault> {
    for number in numbers {
        let with_number: Vec<&dyn ToSql> = [number as &dyn ToSql].iter().chain(parameters).copied().collect();
        let found = rows::deliveries(connection, connection.prepare_cached(sql)?, &with_number)?;
        if let Some(stored) = found.into_iter().next() {
            return stored.map(|stored| Some(stored.record));
        }
    }
    Ok(None)
}

const FIND_ID: &str = select_deliveries!("WHERE number = ?1 AND id = ?2");
const FIND_KEY: &str = select_deliveries!("WHERE number = ?1 AND caller = ?2 AND key = ?3 AND item = ?4");
const FIND_OF_CALLER: &str = select_deliveries!("WHERE number = ?1 AND caller = coalesce(?2, caller)");
const FIND_OF_BATCH: &str = select_deliveries!("WHERE number = ?1 AND caller = ?2 AND key = ?3");
const LIST: &str = select_deliveries!("ORDER BY number DESC LIMIT ?1");
const LIST_OUTCOME: &str = select_deliveries!("WHERE outcome = ?2 ORDER BY delivery DESC LIMIT ?1");
const LIST_CALLER: &str = select_deliveries!("WHERE caller = ?2 ORDER BY number DESC LIMIT ?1");
// A plus keeps SQLite from another index, with all of a caller's for the few that are unknown.
const LIST_CALLER_OUTCOME: &str =
    select_deliveries!("WHERE outcome = ?2 AND +caller = ?3 ORDER BY delivery DESC LIMIT ?1");
const OPEN: &str = select_deliveries!("WHERE outcome = 'unknown' AND settled_ms IS NULL ORDER BY delivery");
const UNKNOWN: &str = "SELECT id FROM ends JOIN deliveries ON number = delivery \
     WHERE outcome = 'unknown' ORDER BY delivery";
const SWEEPABLE: &str = "SELECT delivery FROM ends \
     WHERE settled_ms IS NOT NULL AND outcome <> 'unknown' AND settled_age <= ?1 ORDER BY settled_age LIMIT ?2";
const ADDRESSING: &str = "SELECT addressing FROM deliveries WHERE number = ?1";
const DELETE: &str = "DELETE FROM deliveries WHERE number = ?1 RETURNING addressing";
const NUMBER: &str = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = ?1";
/// How much of its age a ledger may lose in a crash, in milliseconds: it then keeps what it has for longer.
const AGE_KEPT_EVERY_MS: u64 = 600_000;

pub(super) fn list(book: &mut Book<'_>, filter: &Filter) -> Result<Vec<DeliveryRecord>, Fault> {
    let limit = filter.limit.min(MAX_LISTED);
    if let Some((caller, key)) = &filter.key {
        if filter.caller.as_ref().is_some_and(|only| only != caller) {
            return Ok(Vec::new());
        }
        return list_key(book, caller, key, filter.outcome, limit);
    }
    let connection = book.connection;
    let outcome = filter.outcome.map(Outcome::as_str);
    let (sql, parameters): (_, Vec<&dyn ToSql>) = match (&filter.caller, &outcome) {
        (None, None) => (LIST, vec![&limit]),
        (None, Some(outcome)) => (LIST_OUTCOME, vec![&limit, outcome]),
        (Some(caller), None) => (LIST_CALLER, vec![&limit, caller]),
        (Some(caller), Some(outcome)) => (LIST_CALLER_OUTCOME, vec![&limit, outcome, caller]),
    };
    let mut found = readable(rows::deliveries(connection, connection.prepare_cached(sql)?, &parameters)?)?;
    if filter.outcome == Some(Outcome::Unknown) {
        found.extend(list_unended(book, filter.caller.as_deref(), limit)?);
        found.sort_unstable_by_key(|stored| Reverse(stored.number));
        found.truncate(limit as usize);
    }
    Ok(found.into_iter().map(|stored| stored.record).collect())
}

/// The newest of those that no index has yet, of one caller or of all.
fn list_unended(book: &Book<'_>, caller: Option<&str>, limit: u32) -> Result<Vec<Stored>, Fault> {
    let (connection, mut listed) = (book.connection, Vec::new());
    for number in book.recent.unended.newest_first() {
        if listed.len() >= limit as usize {
            break;
        }
        let statement = connection.prepare_cached(FIND_OF_CALLER)?;
        listed.extend(readable(rows::deliveries(connection, statement, &[&number, &caller])?)?);
    }
    Ok(listed)
}

fn list_key(
    book: &mut Book<'_>,
    caller: &str,
    key: &str,
    outcome: Option<Outcome>,
    limit: u32,
) -> Result<Vec<DeliveryRecord>, Fault> {
    let mut numbers = book.named(names::of_batch(caller, key))?;
    numbers.extend(book.named(names::of_key(caller, key, 0))?);
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    numbers.dedup();
    let (connection, mut listed) = (book.connection, Vec::new());
    for number in numbers {
        let statement = connection.prepare_cached(FIND_OF_BATCH)?;
        let found = readable(rows::deliveries(connection, statement, &[&number, &caller, &key])?)?;
        for Stored { record, .. } in found {
            if listed.len() < limit as usize && outcome.is_none_or(|outcome| record.outcome() == outcome) {
                listed.push(record);
            }
        }
    }
    Ok(listed)
}

/// Those that can be read. One damaged record must not hide the others, nor keep the sidecar from starting; its
/// own key stays blocked, since reading it fails.
fn readable(found: Vec<Result<Stored, Fault>>) -> Result<Vec<Stored>, Fault> {
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
    book.under_way.clear();
    book.recent.age = book.recent.age.at_start(at_ms);
    keep_age(book)?;
    let age = book.recent.age.ms;
    let (connection, statements) = (book.connection, &mut book.statements);
    // With a row, each of them is in the index.
    book.recent.unended.write_up_to(connection, i64::MAX)?;
    let found = rows::deliveries(connection, connection.prepare_cached(OPEN)?, &[])?;
    for Stored { number, mut record } in readable(found)? {
        let open = |attempt: &AttemptRecord| attempt.verdict.is_none().then_some(attempt.number);
        let open: Vec<u32> = record.attempts.iter().filter_map(open).collect();
        rules::interrupt(&mut record.attempts);
        let outcome = record.outcome();
        for attempt in open {
            statements.end(
                connection,
                number,
                attempt,
                &End::Verdict(interrupted()),
                Some((at_ms, age)),
                outcome,
            )?;
        }
    }
    let mut unknown = connection.prepare_cached(UNKNOWN)?;
    let ids = unknown.query_map([], |row| row.get(0).map(DeliveryId::from_bytes))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn forget(book: &mut Book<'_>, id: &DeliveryId) -> Result<(), Fault> {
    let Known { number, attempts } = book.known(id)?;
    rules::check_forget(is_open(&attempts))?;
    let shared: Option<i64> =
        book.connection.prepare_cached(ADDRESSING)?.query_row([number], |row| row.get(0))?;
    book.connection
        .prepare_cached("UPDATE deliveries SET comment = NULL, addressing = NULL WHERE number = ?1")?
        .execute([number])?;
    shared.map_or(Ok(()), |shared| Ok(book.shared.release(book.connection, shared)?))
}

pub(super) fn age(book: &mut Book<'_>, passed_ms: u64, at_ms: u64) -> Result<(), Fault> {
    book.recent.age = book.recent.age.after(passed_ms, at_ms);
    if book.recent.age.ms.saturating_sub(book.recent.kept_age.ms) >= AGE_KEPT_EVERY_MS {
        keep_age(book)?;
    }
    Ok(())
}

/// Writes the ledger's age, if the file hasn't it.
pub(super) fn keep_age(book: &mut Book<'_>) -> rusqlite::Result<()> {
    let age = book.recent.age;
    if age != book.recent.kept_age {
        let mut statement =
            book.connection.prepare_cached("UPDATE meta SET value = CAST(?2 AS TEXT) WHERE name = ?1")?;
        statement.execute(params!["aged_ms", column_ms(age.ms)])?;
        statement.execute(params!["aged_at_ms", column_ms(age.at_ms)])?;
        book.recent.kept_age = age;
    }
    Ok(())
}

pub(super) fn sweep(book: &mut Book<'_>, kept_ms: u64, most: u32) -> Result<u32, Fault> {
    let Some(up_to) = book.recent.age.ms.checked_sub(kept_ms) else { return Ok(0) };
    let connection = book.connection;
    let mut statement = connection.prepare_cached(SWEEPABLE)?;
    let numbers: Vec<i64> = statement
        .query_map(params![column_ms(up_to), most], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for number in &numbers {
        match rows::attempts(connection, *number, None) {
            Ok(attempts) => remove_claims(connection, *number, &attempts.unwrap_or_default())?,
            // Whatever it had claimed stays claimed: nobody else will be told that it is theirs.
            Err(Fault::Unreadable(reason)) => tracing::error!("the claims of a delivery stay: {reason}"),
            Err(fault) => return Err(fault),
        }
        book.recent.names.remove(connection, *number)?;
        for sql in ["DELETE FROM attempts WHERE delivery = ?1", "DELETE FROM ends WHERE delivery = ?1"] {
            connection.prepare_cached(sql)?.execute([number])?;
        }
        let removed: Option<Option<i64>> =
            connection.prepare_cached(DELETE)?.query_row([number], |row| row.get(0)).optional()?;
        if let Some(shared) = removed.flatten() {
            book.shared.release(connection, shared)?;
        }
    }
    if let Some(first) = numbers.iter().min() {
        book.recent.names.retire(connection, *first, most)?;
    }
    Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX))
}

fn remove_claims(connection: &Connection, number: i64, attempts: &[AttemptRecord]) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached(
        "DELETE FROM claims WHERE channel = ?1 AND base_url = ?2 AND comment_id = ?3 AND delivery = ?4",
    )?;
    for claim in rules::claims(attempts) {
        statement.execute(params![claim.channel, claim.base_url, claim.comment_id, number])?;
    }
    Ok(())
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
            (FIND_ID, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (FIND_KEY, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (FIND_OF_BATCH, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (names::FIND, "USING PRIMARY KEY (hash=?)"),
            (names::DELETE, "USING PRIMARY KEY (hash=? AND delivery=?)"),
            (names::PAGE, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (names::NOT_MOVED, "USING INTEGER PRIMARY KEY (rowid>?)"),
            (names::LEFT, "USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (super::super::unended::WITHOUT_END, "USING INTEGER PRIMARY KEY (rowid>?)"),
            (FIND_OF_CALLER, "USING INTEGER PRIMARY KEY (rowid=?)"),
            (LIST_OUTCOME, "ends USING INDEX ends_by_outcome"),
            (LIST_CALLER, "USING INDEX deliveries_by_caller"),
            (LIST_CALLER_OUTCOME, "ends USING INDEX ends_by_outcome"),
            (OPEN, "ends USING INDEX ends_by_outcome"),
            (UNKNOWN, "ends USING COVERING INDEX ends_by_outcome"),
            (SWEEPABLE, "ends_by_age"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert!(plan[0].contains(index), "{sql}: {plan:?}");
            // Neither a scan, nor a sort.
            assert!(plan.iter().all(|line| line.starts_with("SEARCH")), "{sql}: {plan:?}");
            // What another table adds is one row of it.
            let adds_one = |line: &String| line.contains("USING INTEGER PRIMARY KEY (rowid=?)");
            assert!(plan[1..].iter().all(adds_one), "{sql}: {plan:?}");
        }
    }
}
