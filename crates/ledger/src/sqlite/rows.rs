//! Records to columns and back.

use super::operations::Fault;
use crate::rules::Claim;
use crate::{End, LedgerError};
use commentd_contract::{Outcome, ProviderName};
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, Destination, KeyRef};
use commentd_delivery::{DeliveryId, Fingerprint};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, Row, Statement, ToSql, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The columns of a delivery, in the order in which [`head`] reads them.
macro_rules! select_deliveries {
    ($condition:literal) => {
        concat!(
            "SELECT number, id, caller, key, item, fingerprint, trace_id, created_ms, settled_ms, ",
            "(SELECT comment FROM comments WHERE delivery = deliveries.number) FROM deliveries ",
            $condition
        )
    };
}
pub(super) use select_deliveries;

/// A delivery as the file has it.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) number: i64,
    pub(super) record: DeliveryRecord,
}

/// The number of the delivery with this id.
pub(super) fn number_of(connection: &Connection, id: &DeliveryId) -> Result<Option<i64>, Fault> {
    let mut statement = connection.prepare_cached("SELECT number FROM deliveries WHERE id = ?1")?;
    Ok(statement.query_row([id.as_bytes().as_slice()], |row| row.get(0)).optional()?)
}

/// All deliveries that a statement made by [`select_deliveries`] finds. What can't be read is the error of its
/// own entry.
pub(super) fn deliveries(
    connection: &Connection,
    mut statement: CachedStatement<'_>,
    parameters: &[&dyn ToSql],
) -> Result<Vec<Result<Stored, Fault>>, Fault> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(stored(connection, row));
    }
    Ok(found)
}

fn stored(connection: &Connection, row: &Row<'_>) -> Result<Stored, Fault> {
    let number = row.get(0)?;
    let mut record = head(row)?;
    record.attempts = attempts(connection, number)?;
    Ok(Stored { number, record })
}

/// All but the attempts.
fn head(row: &Row<'_>) -> Result<DeliveryRecord, Fault> {
    let comment: Option<String> = row.get(9)?;
    Ok(DeliveryRecord {
        id: DeliveryId::from_bytes(row.get(1)?),
        key: KeyRef { caller: row.get(2)?, key: row.get(3)?, item: row.get(4)? },
        fingerprint: Fingerprint(row.get(5)?),
        trace_id: row.get(6)?,
        created_ms: record_ms(row.get(7)?),
        settled_ms: row.get::<_, Option<i64>>(8)?.map(record_ms),
        comment: comment.as_deref().map(parsed).transpose()?.map(Arc::new),
        attempts: Vec::new(),
    })
}

/// The attempts of a delivery, in order.
pub(super) fn attempts(connection: &Connection, delivery: i64) -> Result<Vec<AttemptRecord>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT number, provider, channel, base_url, account, manifest_version, marker, started_ms, verdict, \
         resolution FROM attempts WHERE delivery = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([delivery])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        attempts.push(attempt(row)?);
    }
    Ok(attempts)
}

fn attempt(row: &Row<'_>) -> Result<AttemptRecord, Fault> {
    let provider: String = row.get(1)?;
    let verdict: Option<String> = row.get(8)?;
    let resolution: Option<String> = row.get(9)?;
    Ok(AttemptRecord {
        number: row.get(0)?,
        destination: Arc::new(Destination {
            provider: ProviderName::parse(&provider)
                .ok_or_else(|| Fault::Unreadable(format!("a record names a provider {provider:?}")))?,
            channel: row.get(2)?,
            base_url: row.get(3)?,
            account: row.get(4)?,
            manifest_version: row.get(5)?,
        }),
        marker: row.get(6)?,
        started_ms: record_ms(row.get(7)?),
        verdict: verdict.as_deref().map(parsed).transpose()?,
        resolution: resolution.as_deref().map(parsed).transpose()?,
    })
}

/// The statements that every comment needs. Finding them by their text each time costs as much as some of them.
#[derive(Default)]
pub(super) struct Statements<'c> {
    insert_delivery: Kept<'c>,
    insert_comment: Kept<'c>,
    insert_attempt: Kept<'c>,
    insert_claim: Kept<'c>,
    note_verdict: Kept<'c>,
    update_delivery: Kept<'c>,
}

/// A statement that is compiled when it is first needed.
#[derive(Default)]
struct Kept<'c>(Option<Statement<'c>>);

impl<'c> Kept<'c> {
    fn get(&mut self, connection: &'c Connection, sql: &str) -> rusqlite::Result<&mut Statement<'c>> {
        match self.0 {
            Some(ref mut statement) => Ok(statement),
            None => Ok(self.0.insert(connection.prepare(sql)?)),
        }
    }
}

impl<'c> Statements<'c> {
    /// Adds a delivery, without its attempt; `None` if its key is taken.
    pub(super) fn insert_delivery(
        &mut self,
        connection: &'c Connection,
        opening: &crate::Opening,
    ) -> Result<Option<i64>, Fault> {
        let comment = json(&*opening.comment)?;
        let statement = self.insert_delivery.get(
            connection,
            "INSERT INTO deliveries \
             (id, caller, key, item, fingerprint, trace_id, created_ms, settled_ms, outcome) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL, 'unknown') \
             ON CONFLICT (caller, key, item) DO NOTHING",
        )?;
        let added = statement.execute(params![
            opening.id.as_bytes().as_slice(),
            opening.key.caller,
            opening.key.key,
            opening.key.item,
            opening.fingerprint.0.as_slice(),
            opening.trace_id,
            column_ms(opening.intent.started_ms),
        ]);
        let added = added.map_err(|error| match error.sqlite_error_code() {
            // The statement was undone as a whole, and it is the first: nothing was written.
            Some(ErrorCode::ConstraintViolation) => {
                Fault::Refused(LedgerError::Conflict("the delivery id is taken".into()))
            }
            _ => error.into(),
        })?;
        if added == 0 {
            return Ok(None);
        }
        let number = connection.last_insert_rowid();
        let statement = self
            .insert_comment
            .get(connection, "INSERT INTO comments (delivery, comment) VALUES (?1, ?2)")?;
        statement.execute(params![number, comment])?;
        Ok(Some(number))
    }

    /// Records what a delivery comes to now; `settled_ms` is `None` while an attempt is open.
    pub(super) fn update_delivery(
        &mut self,
        connection: &'c Connection,
        number: i64,
        settled_ms: Option<u64>,
        outcome: Outcome,
    ) -> Result<(), Fault> {
        let statement = self
            .update_delivery
            .get(connection, "UPDATE deliveries SET settled_ms = ?2, outcome = ?3 WHERE number = ?1")?;
        statement.execute(params![number, settled_ms.map(column_ms), outcome.as_str()])?;
        Ok(())
    }

    /// Adds an attempt that hasn't ended.
    pub(super) fn insert_attempt(
        &mut self,
        connection: &'c Connection,
        delivery: i64,
        attempt: &AttemptRecord,
    ) -> Result<(), Fault> {
        let statement = self.insert_attempt.get(
            connection,
            "INSERT INTO attempts (delivery, number, provider, channel, base_url, account, manifest_version, \
             marker, started_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let to = &attempt.destination;
        statement.execute(params![
            delivery,
            attempt.number,
            to.provider.as_str(),
            to.channel,
            to.base_url,
            to.account,
            to.manifest_version,
            attempt.marker,
            column_ms(attempt.started_ms),
        ])?;
        Ok(())
    }

    /// Records the verdict or the resolution of an attempt.
    pub(super) fn note_end(
        &mut self,
        connection: &'c Connection,
        delivery: i64,
        attempt: u32,
        end: &End,
    ) -> Result<(), Fault> {
        match end {
            End::Verdict(verdict) => {
                let statement = self.note_verdict.get(
                    connection,
                    "UPDATE attempts SET verdict = ?3 WHERE delivery = ?1 AND number = ?2",
                )?;
                statement.execute(params![delivery, attempt, json(verdict)?])?;
            }
            End::Resolution(resolution) => {
                let mut statement = connection.prepare_cached(
                    "UPDATE attempts SET resolution = ?3 WHERE delivery = ?1 AND number = ?2",
                )?;
                statement.execute(params![delivery, attempt, json(resolution)?])?;
            }
        }
        Ok(())
    }

    /// False if somebody has this claim already.
    pub(super) fn insert_claim(
        &mut self,
        connection: &'c Connection,
        delivery: i64,
        claim: Claim<'_>,
    ) -> Result<bool, Fault> {
        let statement = self.insert_claim.get(
            connection,
            "INSERT INTO claims (channel, base_url, comment_id, delivery) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO NOTHING",
        )?;
        Ok(statement.execute(params![claim.channel, claim.base_url, claim.comment_id, delivery])? > 0)
    }
}

fn json(value: &impl Serialize) -> Result<String, Fault> {
    serde_json::to_string(value)
        .map_err(|error| Fault::Unreadable(format!("can't be written as JSON: {error}")))
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault::Unreadable(format!("a record can't be read: {error}")))
}

/// SQLite's integers are signed; a time beyond them (in the year 292 million) is cut.
pub(super) fn column_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn record_ms(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}
