//! Records to columns and back.

use super::operation_error::OperationError;
use commentd_contract::{Addressing, ProviderName};
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, Destination, KeyRef};
use commentd_delivery::{Comment, DeliveryId, Fingerprint};
use rusqlite::{Connection, Row, ToSql};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The columns of a delivery, in the order in which [`head`] reads them, and of its first attempt.
macro_rules! select_deliveries {
    ($condition:literal) => {
        concat!(
            "SELECT number, id, caller, key, item, fingerprint, trace_id, created_ms, settled_ms, ",
            "comment, 1, provider, channel, base_url, account, manifest_version, marker, created_ms, verdict, ",
            "resolution, addressing, text FROM deliveries LEFT JOIN ends ON delivery = number ",
            "LEFT JOIN addressings ON shared = addressing ",
            $condition
        )
    };
}
pub(super) use select_deliveries;

/// Where in them the first attempt begins.
const FIRST_ATTEMPT: usize = 10;
/// Where the number of a shared addressing stands, and its text.
const SHARED: usize = 20;

/// The shared addressing that was read last.
type LastShared = Option<(i64, Arc<Addressing>)>;

/// What a delivery has of a comment whose addressing is shared.
#[derive(Serialize, Deserialize)]
struct ContentOnly<T> {
    content: T,
}

/// A delivery as the file has it.
#[derive(Debug)]
pub(super) struct NumberedRecord {
    pub(super) number: i64,
    pub(super) record: DeliveryRecord,
}

/// All deliveries that a statement made by [`select_deliveries`] finds. What can't be read is the error of its
/// own entry.
pub(super) fn deliveries(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn ToSql],
) -> Result<Vec<Result<NumberedRecord, OperationError>>, OperationError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let (mut found, mut shared) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        found.push(stored(connection, row, &mut shared));
    }
    Ok(found)
}

fn stored(
    connection: &Connection,
    row: &Row<'_>,
    shared: &mut LastShared,
) -> Result<NumberedRecord, OperationError> {
    let number = row.get(0)?;
    let mut record = head(row, shared)?;
    record.attempts.push(attempt(row, FIRST_ATTEMPT)?);
    further_attempts(connection, number, &mut record.attempts)?;
    Ok(NumberedRecord { number, record })
}

/// All but the attempts.
fn head(row: &Row<'_>, shared: &mut LastShared) -> Result<DeliveryRecord, OperationError> {
    Ok(DeliveryRecord {
        id: DeliveryId::from_bytes(row.get(1)?),
        key: KeyRef { caller: row.get(2)?, key: row.get(3)?, item: row.get(4)? },
        fingerprint: Fingerprint(row.get(5)?),
        trace_id: row.get(6)?,
        created_ms: record_ms(row.get(7)?),
        settled_ms: row.get::<_, Option<i64>>(8)?.map(record_ms),
        comment: comment(row, shared)?.map(Arc::new),
        attempts: Vec::new(),
    })
}

fn comment(row: &Row<'_>, last: &mut LastShared) -> Result<Option<Comment>, OperationError> {
    let Some(text) = row.get::<_, Option<String>>(9)? else { return Ok(None) };
    let Some(number) = row.get::<_, Option<i64>>(SHARED)? else { return parsed(&text).map(Some) };
    let addressing = match last {
        Some((known, addressing)) if *known == number => Arc::clone(addressing),
        _ => {
            let text: Option<String> = row.get(SHARED + 1)?;
            let text =
                text.ok_or_else(|| OperationError::Unreadable("a record lacks where it goes".into()))?;
            let addressing: Arc<Addressing> = Arc::new(parsed(&text)?);
            *last = Some((number, Arc::clone(&addressing)));
            addressing
        }
    };
    let ContentOnly { content } = parsed(&text)?;
    Ok(Some(Comment { content, addressing }))
}

/// A comment as its delivery has it, whose addressing may stand apart.
pub(super) fn comment_json(comment: &Comment, is_shared: bool) -> rusqlite::Result<String> {
    if is_shared { json(&ContentOnly { content: &comment.content }) } else { json(comment) }
}

pub(super) const ATTEMPTS: &str = "SELECT 1, provider, channel, base_url, account, manifest_version, marker, created_ms, verdict, resolution \
     FROM deliveries LEFT JOIN ends ON delivery = number WHERE number = ?1";

/// The attempts of the delivery with this number, in order; `None` if there is none.
pub(super) fn attempts(
    connection: &Connection,
    delivery: i64,
) -> Result<Option<Vec<AttemptRecord>>, OperationError> {
    let mut statement = connection.prepare_cached(ATTEMPTS)?;
    let mut rows = statement.query([delivery])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut attempts = vec![attempt(row, 0)?];
    further_attempts(connection, delivery, &mut attempts)?;
    Ok(Some(attempts))
}

fn further_attempts(
    connection: &Connection,
    delivery: i64,
    attempts: &mut Vec<AttemptRecord>,
) -> Result<(), OperationError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, provider, channel, base_url, account, manifest_version, marker, started_ms, verdict, \
         resolution FROM attempts WHERE delivery = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([delivery])?;
    while let Some(row) = rows.next()? {
        attempts.push(attempt(row, 0)?);
    }
    Ok(())
}

/// The attempt whose columns begin at this one.
fn attempt(row: &Row<'_>, at: usize) -> Result<AttemptRecord, OperationError> {
    let provider: String = row.get(at + 1)?;
    let verdict: Option<String> = row.get(at + 8)?;
    let resolution: Option<String> = row.get(at + 9)?;
    Ok(AttemptRecord {
        number: row.get(at)?,
        destination: Arc::new(Destination {
            provider: ProviderName::parse(&provider).ok_or_else(|| {
                OperationError::Unreadable(format!("a record names a provider {provider:?}"))
            })?,
            channel: row.get(at + 2)?,
            base_url: row.get(at + 3)?,
            account: row.get(at + 4)?,
            manifest_version: row.get(at + 5)?,
        }),
        marker: row.get(at + 6)?,
        started_ms: record_ms(row.get(at + 7)?),
        verdict: verdict.as_deref().map(parsed).transpose()?,
        resolution: resolution.as_deref().map(parsed).transpose()?,
    })
}

pub(super) fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T, OperationError> {
    serde_json::from_str(text)
        .map_err(|error| OperationError::Unreadable(format!("a record can't be read: {error}")))
}

/// SQLite's integers are signed; a time beyond them (in the year 292 million) is cut.
pub(super) fn column_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

pub(super) fn record_ms(column: i64) -> u64 {
    u64::try_from(column).unwrap_or(0)
}
