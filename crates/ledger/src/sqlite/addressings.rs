//! What the items of a batch share (where they go, and all that belongs to it) is written once, not with each of them:
//! a request of 1 MiB would make a ledger of 1 GiB. What is small stands with each of them all the same: a reference
//! has to be indexed, which costs more.

use super::operation_error::OperationError;
use super::rows::json;
use commentd_contract::Addressing;
use rusqlite::{Connection, params};
use std::sync::Arc;

/// From so many bytes of JSON on, an addressing stands apart.
const SHARED_FROM: usize = 512;

/// The addressing of the last batch, and the number under which it stands apart, if it does.
#[derive(Default)]
pub(super) struct SharedAddressings(Option<(Arc<Addressing>, Option<i64>)>);

impl SharedAddressings {
    /// The number under which this addressing stands apart, written now if need be; `None` for one that only one
    /// comment has, or that is small, which stands with its delivery.
    pub(super) fn number_of(
        &mut self,
        connection: &Connection,
        addressing: &Arc<Addressing>,
    ) -> Result<Option<i64>, OperationError> {
        if let Some((last, number)) = &self.0
            && Arc::ptr_eq(last, addressing)
        {
            return Ok(*number);
        }
        if Arc::strong_count(addressing) < 2 {
            return Ok(None);
        }
        let text = json(&**addressing)?;
        let mut number = None;
        if text.len() >= SHARED_FROM {
            connection.prepare_cached(INSERT)?.execute([text])?;
            number = Some(connection.last_insert_rowid());
        }
        self.0 = Some((Arc::clone(addressing), number));
        Ok(number)
    }

    /// Removes what this number stands for, if no delivery refers to it any more.
    pub(super) fn release(&mut self, connection: &Connection, number: i64) -> rusqlite::Result<()> {
        self.forget();
        connection.prepare_cached(RELEASE)?.execute(params![number]).map(|_| ())
    }

    /// The file may lack what was written last.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

const INSERT: &str = "INSERT INTO addressings (text) VALUES (?1)";
const RELEASE: &str = "DELETE FROM addressings \
     WHERE shared = ?1 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE addressing = ?1)";
