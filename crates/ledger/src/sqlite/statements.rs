//! What is written for every comment.

use super::keys;
use super::operation_error::OperationError;
use super::rows::{column_ms, comment_json, json};
use crate::rules::CommentClaim;
use crate::{AttemptEnd, Opening};
use commentd_contract::Outcome;
use commentd_delivery::record::{AttemptRecord, KeyRef};
use rusqlite::{Connection, Statement, params};

/// A statement that is compiled when it is first needed, and kept: to find it by its text costs as much as to carry out
/// some of them.
#[derive(Default)]
pub(super) struct LazyStatement<'c>(Option<Statement<'c>>);

impl<'c> LazyStatement<'c> {
    pub(super) fn get(
        &mut self,
        connection: &'c Connection,
        sql: &str,
    ) -> rusqlite::Result<&mut Statement<'c>> {
        match self.0 {
            Some(ref mut statement) => Ok(statement),
            None => Ok(self.0.insert(connection.prepare(sql)?)),
        }
    }
}

/// The statements that write what every comment needs.
#[derive(Default)]
pub(super) struct Statements<'c> {
    claim_key: LazyStatement<'c>,
    insert_delivery: LazyStatement<'c>,
    insert_open: LazyStatement<'c>,
    insert_claim: LazyStatement<'c>,
    end_first: LazyStatement<'c>,
}

impl<'c> Statements<'c> {
    /// Gives the key to the delivery with this number; false if another has it, and then nothing was written.
    pub(super) fn claim_key(
        &mut self,
        connection: &'c Connection,
        key: &KeyRef,
        number: i64,
    ) -> rusqlite::Result<bool> {
        keys::claim(self.claim_key.get(connection, keys::CLAIM)?, key, number)
    }

    /// Adds a delivery with its first attempt, which hasn't ended; false if its id is taken. `shared` is the number of
    /// an addressing that stands apart.
    pub(super) fn insert_delivery(
        &mut self,
        connection: &'c Connection,
        number: i64,
        opening: &Opening,
        shared: Option<i64>,
    ) -> Result<bool, OperationError> {
        let comment = comment_json(&opening.comment, shared.is_some())?;
        let statement = self.insert_delivery.get(
            connection,
            "INSERT INTO deliveries \
             (number, id, caller, key, item, fingerprint, trace_id, created_ms, provider, channel, base_url, \
             account, manifest_version, marker, comment, addressing) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
             ON CONFLICT DO NOTHING",
        )?;
        let to = &opening.intent.destination;
        let inserted = statement.execute(params![
            number,
            opening.id.as_bytes().as_slice(),
            opening.key.caller,
            opening.key.key,
            opening.key.item,
            opening.fingerprint.0.as_slice(),
            opening.trace_id,
            column_ms(opening.intent.started_ms),
            to.provider.as_str(),
            to.channel,
            to.base_url,
            to.account,
            to.manifest_version,
            opening.intent.marker,
            comment,
            shared,
        ])?;
        if inserted == 0 {
            return Ok(false);
        }
        let statement = self
            .insert_open
            .get(connection, "INSERT INTO ends (delivery, outcome) VALUES (?1, 'unknown')")?;
        statement.execute([number])?;
        Ok(true)
    }

    /// Records how an attempt ended, and what its delivery comes to now; `settled` is the wall time and the ledger's
    /// age, `None` while another attempt is open.
    pub(super) fn end(
        &mut self,
        connection: &'c Connection,
        number: i64,
        attempt: u32,
        end: &AttemptEnd,
        settled: Option<(u64, u64)>,
        outcome: Outcome,
    ) -> Result<(), OperationError> {
        let (sql, text) = match (end, attempt) {
            (AttemptEnd::Verdict(verdict), 1) => {
                let statement = self.end_first.get(
                    connection,
                    "INSERT INTO ends (delivery, settled_ms, outcome, verdict, settled_age) \
                     VALUES (?1, ?2, ?3, ?4, ?5) \
                     ON CONFLICT DO UPDATE SET settled_ms = ?2, outcome = ?3, verdict = ?4, settled_age = ?5",
                )?;
                let (settled_ms, age) = columns(settled);
                statement.execute(params![number, settled_ms, outcome.as_str(), json(verdict)?, age])?;
                return Ok(());
            }
            (AttemptEnd::Resolution(resolution), 1) => {
                ("UPDATE ends SET resolution = ?3 WHERE delivery = ?1 AND ?2 = 1", json(resolution)?)
            }
            (AttemptEnd::Verdict(verdict), _) => {
                ("UPDATE attempts SET verdict = ?3 WHERE delivery = ?1 AND number = ?2", json(verdict)?)
            }
            (AttemptEnd::Resolution(resolution), _) => {
                ("UPDATE attempts SET resolution = ?3 WHERE delivery = ?1 AND number = ?2", json(resolution)?)
            }
        };
        write_end(connection, number, settled, outcome)?;
        connection.prepare_cached(sql)?.execute(params![number, attempt, text])?;
        Ok(())
    }

    /// False if somebody has this claim already.
    pub(super) fn insert_claim(
        &mut self,
        connection: &'c Connection,
        number: i64,
        claim: CommentClaim<'_>,
    ) -> Result<bool, OperationError> {
        let statement = self.insert_claim.get(
            connection,
            "INSERT INTO claims (channel, base_url, comment_id, delivery) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO NOTHING",
        )?;
        Ok(statement.execute(params![claim.channel, claim.base_url, claim.comment_id, number])? > 0)
    }
}

/// Adds an attempt after the first, which hasn't ended.
pub(super) fn insert_attempt(
    connection: &Connection,
    number: i64,
    attempt: &AttemptRecord,
) -> Result<(), OperationError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO attempts (delivery, number, provider, channel, base_url, account, manifest_version, marker, \
         started_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    let to = &attempt.destination;
    statement.execute(params![
        number,
        attempt.number,
        to.provider.as_str(),
        to.channel,
        to.base_url,
        to.account,
        to.manifest_version,
        attempt.marker,
        column_ms(attempt.started_ms),
    ])?;
    write_end(connection, number, None, Outcome::Unknown)
}

/// Notes what a delivery comes to, apart from its first attempt's end. Its row is there since that; if a damaged file
/// lost it, it is written, lest the outcome be lost, too.
fn write_end(
    connection: &Connection,
    number: i64,
    settled: Option<(u64, u64)>,
    outcome: Outcome,
) -> Result<(), OperationError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO ends (delivery, settled_ms, outcome, settled_age) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET settled_ms = ?2, outcome = ?3, settled_age = ?4",
    )?;
    let (settled_ms, age) = columns(settled);
    statement.execute(params![number, settled_ms, outcome.as_str(), age])?;
    Ok(())
}

/// When a delivery was settled, by the wall and by the ledger's age.
fn columns(settled: Option<(u64, u64)>) -> (Option<i64>, i64) {
    (settled.map(|(at_ms, _)| column_ms(at_ms)), settled.map_or(0, |(_, age)| column_ms(age)))
}
