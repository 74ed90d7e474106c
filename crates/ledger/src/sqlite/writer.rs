//! The one thread that writes: it commits everything that waits in one transaction, then answers all of it.

use super::answers::{self, Answer, Reply};
use super::operations::{self, Book, Fault, Recent};
use super::planned;
use super::queue::{Operation, Queue};
use super::schema::BUSY_TIMEOUT;
use crate::LedgerError;
use crate::lock::Lock;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode, Statement};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How far the write-ahead log may grow, in pages of 4 KiB, before it is copied into the database.
const CHECKPOINT_PAGES: i32 = 1000;

/// The writer before it works.
pub(super) struct Writer {
    connection: Connection,
    recent: Recent,
    desk: Desk,
}

/// All of a writer but what belongs to the connection.
struct Desk {
    queue: Arc<Queue>,
    group_limit: usize,
    commits: Arc<AtomicU64>,
    /// How long the write-ahead log is, in pages; SQLite tells after each commit.
    log_pages: Arc<AtomicI32>,
    /// How long it was when the last checkpoint left something in it, because another program was reading.
    log_kept: i32,
    /// Whether something that was forgotten may still stand in the log.
    erasing: bool,
    /// Why nothing is recorded any more.
    broken: Option<String>,
}

/// The writer at work.
struct Working<'c> {
    book: Book<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    desk: Desk,
}

impl Writer {
    pub(super) fn new(
        mut connection: Connection,
        recent: Recent,
        queue: Arc<Queue>,
        group_limit: usize,
        commits: Arc<AtomicU64>,
    ) -> rusqlite::Result<Self> {
        let log_pages = Arc::new(AtomicI32::new(0));
        let counter = Arc::clone(&log_pages);
        // This takes the place of SQLite's own checkpoints, which would be made before anyone is answered, and
        // whose errors nobody would see.
        connection.wal_hook(Some(move |_: &mut _, pages| {
            counter.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let desk = Desk { queue, group_limit, commits, log_pages, log_kept: 0, erasing: false, broken: None };
        Ok(Self { connection, recent, desk })
    }

    /// Works until the queue is closed and empty, then closes the database, releases the lock, and says so.
    pub(super) fn run(self, lock: &Mutex<Option<Lock>>) {
        let queue = Arc::clone(&self.desk.queue);
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()))
            .unwrap_or_else(|_| Err(LedgerError::Failed("its writer panicked".into())));
        if let Err(error) = &ended {
            tracing::error!("closing the ledger: {error}");
        }
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(farewell) = queue.end() {
            farewell.give(ended);
        }
    }

    fn work(self) -> Result<(), LedgerError> {
        let Self { connection, recent, desk } = self;
        let failed = |error: rusqlite::Error| LedgerError::Failed(error.to_string());
        let mut working = Working {
            book: Book::new(&connection, recent),
            begin: connection.prepare("BEGIN IMMEDIATE").map_err(failed)?,
            commit: connection.prepare("COMMIT").map_err(failed)?,
            desk,
        };
        while let Some(group) = working.desk.queue.take(working.desk.group_limit) {
            working.commit_group(group);
        }
        working.catch_up();
        working.checkpoint(CheckpointMode::TRUNCATE);
        let broken = working.desk.broken.take();
        // The statements are the connection's.
        drop(working);
        let closed = connection.close().map_err(|(_, error)| failed(error));
        broken.map_or(closed, |reason| Err(LedgerError::Failed(reason)))
    }
}

impl Working<'_> {
    /// Carries out these operations in one transaction. If any of them fails in the store, or the commit does,
    /// none of them is recorded and all of them fail; what the record forbids fails alone, before it has written
    /// anything. What only reads comes after the commit, so that it neither shares a failure nor sees what is
    /// undone.
    fn commit_group(&mut self, group: Vec<Operation>) {
        let (group, reading): (Vec<_>, Vec<_>) = group.into_iter().partition(Operation::records);
        let erases = group.iter().any(|operation| matches!(operation, Operation::Forget(..)));
        let records = self.desk.broken.is_none() && !group.is_empty();
        let connection = self.book.connection;
        let before = connection.total_changes();
        let mut failure = if records { self.begin() } else { None };
        let mut answers = Vec::with_capacity(group.len());
        for operation in group {
            answers.push(self.carry_out(operation, records, &mut failure));
        }
        if records {
            let due = self.book.recent.names.due();
            failure = self.end(failure, due);
        }
        let recorded = connection.total_changes() != before;
        if records && recorded && failure.is_none() {
            let commits = self.desk.commits.fetch_add(1, Ordering::Relaxed) + 1;
            planned::committed(connection, commits);
        }
        answers::give(answers, failure.as_ref());
        let read = reading.into_iter().map(|operation| self.carry_out(operation, false, &mut None));
        answers::give(read.collect(), None);
        self.tend_log(erases && failure.is_none());
    }

    /// Moves what names were to be moved at the start already, before the process ends. If that fails, the next one
    /// has them to move.
    fn catch_up(&mut self) {
        if self.desk.broken.is_some() || !self.book.recent.names.are_behind() {
            return;
        }
        let failure = self.begin();
        if let Some(error) = self.end(failure, usize::MAX) {
            tracing::debug!(%error, "the ledger's names stay where they are");
        }
    }

    fn begin(&mut self) -> Option<LedgerError> {
        let error = self.begin.execute([]).err()?;
        Some(self.store_failed(&error))
    }

    /// Ends the transaction, with so many names moved in it: commits it, or undoes it if this or anything before
    /// has failed.
    fn end(&mut self, failure: Option<LedgerError>, names: usize) -> Option<LedgerError> {
        let failure = failure.or_else(|| self.move_names(names)).or_else(|| self.commit());
        self.leave_transaction();
        match failure {
            Some(_) => self.book.undone(),
            None => self.book.committed(),
        }
        failure
    }

    fn move_names(&mut self, most: usize) -> Option<LedgerError> {
        let error = self.book.move_names(most).err()?;
        Some(self.store_failed(&error))
    }

    fn commit(&mut self) -> Option<LedgerError> {
        let error = self.commit.execute([]).err()?;
        Some(self.store_failed(&error))
    }

    /// After a commit there is nothing to leave; after some errors SQLite has left it already.
    fn leave_transaction(&mut self) {
        if !self.book.connection.is_autocommit()
            && let Err(error) = self.book.connection.execute_batch("ROLLBACK")
        {
            self.break_off(&error.to_string());
        }
    }

    fn carry_out(
        &mut self,
        operation: Operation,
        grouped: bool,
        failure: &mut Option<LedgerError>,
    ) -> Answer {
        let mut turn = Turn { records: operation.records(), grouped, failure, writer: self };
        match operation {
            Operation::Open(opening, reply) => turn.take(reply, |book| operations::open(book, *opening)),
            Operation::Intend(id, intent, reply) => {
                turn.take(reply, |book| operations::intend(book, id, *intent))
            }
            Operation::Settle(settling, reply) => {
                turn.take(reply, |book| operations::settle(book, &settling))
            }
            Operation::Find(find, reply) => turn.take(reply, |book| operations::find(book, &find)),
            Operation::List(filter, reply) => turn.take(reply, |book| operations::list(book, &filter)),
            Operation::Recover(at_ms, reply) => turn.take(reply, |book| operations::recover(book, at_ms)),
            Operation::Forget(id, reply) => turn.take(reply, |book| operations::forget(book, &id)),
            Operation::Sweep { before_ms, most, reply } => {
                turn.take(reply, |book| operations::sweep(book, before_ms, most))
            }
            Operation::Check(reply) => turn.take(reply, |book| operations::check(book.connection)),
            #[cfg(test)]
            Operation::Hold(began, word, reply) => turn.take(reply, |_| {
                let _ = began.send(());
                word.recv().expect("the test asked for a panic");
                Ok(())
            }),
        }
    }

    /// The failure that this error of the store is, for the operation and, if it breaks the ledger, for all
    /// later ones.
    fn store_failed(&mut self, error: &rusqlite::Error) -> LedgerError {
        if passes(error) {
            return LedgerError::Failed(error.to_string());
        }
        self.break_off(&error.to_string())
    }

    fn break_off(&mut self, reason: &str) -> LedgerError {
        let reason = self.desk.broken.get_or_insert_with(|| {
            tracing::error!("the ledger failed: {reason}; nothing is recorded until commentd is restarted");
            format!("{reason}; nothing is recorded until commentd is restarted")
        });
        LedgerError::Failed(reason.clone())
    }

    /// Copies a log that has grown into the database, after everyone was answered. What was forgotten stands in
    /// the log until that is emptied.
    fn tend_log(&mut self, erased: bool) {
        let pages = self.desk.log_pages.load(Ordering::Relaxed);
        if pages < self.desk.log_kept {
            self.desk.log_kept = 0;
        }
        self.desk.erasing |= erased;
        if erased || pages.saturating_sub(self.desk.log_kept) >= CHECKPOINT_PAGES {
            let mode = if self.desk.erasing { CheckpointMode::TRUNCATE } else { CheckpointMode::PASSIVE };
            self.checkpoint(mode);
        }
    }

    fn checkpoint(&mut self, mode: CheckpointMode) {
        if self.desk.broken.is_some() {
            return;
        }
        // Whoever reads the file must not hold up those who write to it.
        let _ = self.book.connection.busy_timeout(Duration::ZERO);
        let result = self.book.connection.wal_checkpoint_v2(Some("main"), mode);
        let _ = self.book.connection.busy_timeout(BUSY_TIMEOUT);
        match result {
            Ok((pages, copied)) => {
                self.desk.erasing &= !matches!(mode, CheckpointMode::TRUNCATE);
                self.desk.log_kept = if copied < pages { pages } else { 0 };
                self.desk.log_pages.store(self.desk.log_kept, Ordering::Relaxed);
            }
            Err(error) => {
                self.desk.log_kept = self.desk.log_pages.load(Ordering::Relaxed);
                if passes(&error) {
                    tracing::debug!("the ledger's log can't be emptied now: {error}");
                } else {
                    self.break_off(&error.to_string());
                }
            }
        }
    }
}

/// Whether a later operation may fare better. A full disk may have room again, and another program's lock ends.
/// Of an I/O error (a failed sync above all) nobody can say what it left on the disk. The rest is about the one
/// statement, and its transaction was undone.
fn passes(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport
                | ErrorCode::InternalMalfunction
                | ErrorCode::Unknown
        )
    )
}

/// One operation's turn within its group.
struct Turn<'a, 'c> {
    records: bool,
    grouped: bool,
    failure: &'a mut Option<LedgerError>,
    writer: &'a mut Working<'c>,
}

impl Turn<'_, '_> {
    fn take<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        operation: impl FnOnce(&mut Book<'_>) -> Result<T, Fault>,
    ) -> Answer {
        let result = self.result(operation);
        reply.with(result)
    }

    fn result<T>(
        &mut self,
        operation: impl FnOnce(&mut Book<'_>) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        if let Some(failure) = self.failure {
            return Err(failure.clone());
        }
        if let Some(reason) = self.writer.desk.broken.as_ref().filter(|_| self.records) {
            return Err(LedgerError::Failed(reason.clone()));
        }
        let book = &mut self.writer.book;
        let failed = match catch_unwind(AssertUnwindSafe(|| operation(book))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Fault::Refused(error))) => return Err(error),
            Ok(Err(Fault::Unreadable(reason))) => return Err(LedgerError::Failed(reason)),
            Ok(Err(Fault::Store(error))) => self.writer.store_failed(&error),
            Err(_) => LedgerError::Failed("an operation panicked; please report this".into()),
        };
        if self.grouped {
            *self.failure = Some(failed.clone());
        }
        Err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn after_a_failed_sync_nothing_passes_and_after_a_full_disk_it_may() {
        let passes = |code| passes(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        for code in [
            ffi::SQLITE_IOERR,
            ffi::SQLITE_IOERR_FSYNC,
            ffi::SQLITE_IOERR_DIR_FSYNC,
            ffi::SQLITE_IOERR_WRITE,
            ffi::SQLITE_IOERR_READ,
            ffi::SQLITE_CORRUPT,
            ffi::SQLITE_NOTADB,
            ffi::SQLITE_READONLY,
            ffi::SQLITE_READONLY_DBMOVED,
            ffi::SQLITE_CANTOPEN,
        ] {
            assert!(!passes(code), "code {code}");
        }
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_NOMEM, ffi::SQLITE_CONSTRAINT] {
            assert!(passes(code), "code {code}");
        }
    }
}
