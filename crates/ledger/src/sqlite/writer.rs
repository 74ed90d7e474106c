//! The one thread that writes: it commits everything that waits in one transaction, then answers all of it.

use super::context::{Counters, TxContext};
use super::failpoints;
use super::markers;
use super::operation_error::{OperationError, may_pass};
use super::operations;
use super::queue::{Operation, Queue};
use super::responders::{self, DeferredResponse, Responder};
use super::schema::{self, BUSY_TIMEOUT};
use super::sweep;
use super::wal_file::WalFile;
use crate::LedgerError;
use crate::lock::Lock;
use commentd_delivery::rule_switch::{RuleSwitch, is_off};
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, Statement};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How far the write-ahead log may grow, in pages of 4 KiB, before it is copied into the database.
const CHECKPOINT_PAGES: i32 = 1000;
/// How long a log is that people are told of, when it can't be copied.
const TELLING_PAGES: i32 = 8 * CHECKPOINT_PAGES;
const PAGES_A_MIB: i32 = 256;

/// The writer before it works.
pub(super) struct Writer {
    connection: Connection,
    counters: Counters,
    state: WriterState,
}

/// All of a writer but what belongs to the connection.
struct WriterState {
    queue: Arc<Queue>,
    /// Where the file is; `None` in it once the ledger is closed.
    lock: Arc<Mutex<Option<Lock>>>,
    log: WalFile,
    /// Whether it was said that the file isn't in its place.
    misplaced: bool,
    group_limit: usize,
    commits: Arc<AtomicU64>,
    /// How long the write-ahead log is, in pages; SQLite tells after each commit.
    log_pages: Arc<AtomicI32>,
    /// How long it was when the last checkpoint left something in it, because another program was reading.
    log_kept: i32,
    /// How long it was when people were last told that it can't be copied.
    log_told: i32,
    /// Whether something that was forgotten may still stand in the log.
    erasing: bool,
    /// Why nothing is recorded any more.
    broken: Option<String>,
}

/// The writer at work.
struct RunningWriter<'c> {
    context: TxContext<'c>,
    begin: Statement<'c>,
    commit: Statement<'c>,
    state: WriterState,
}

impl Writer {
    pub(super) fn new(
        mut connection: Connection,
        counters: Counters,
        queue: Arc<Queue>,
        (lock, log): (Arc<Mutex<Option<Lock>>>, WalFile),
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
        let state = WriterState {
            queue,
            lock,
            log,
            misplaced: false,
            group_limit,
            commits,
            log_pages,
            log_kept: 0,
            log_told: 0,
            erasing: false,
            broken: None,
        };
        Ok(Self { connection, counters, state })
    }

    /// Works until the queue is closed and empty, then closes the database, releases the lock, and says so.
    pub(super) fn run(self) {
        let (queue, lock) = (Arc::clone(&self.state.queue), Arc::clone(&self.state.lock));
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()))
            .unwrap_or_else(|_| Err(LedgerError::Failed("its writer panicked".into())));
        if let Err(error) = &ended {
            tracing::error!("closing the ledger: {error}");
        }
        *lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if let Some(on_closed) = queue.end() {
            on_closed.give(ended);
        }
    }

    fn work(self) -> Result<(), LedgerError> {
        let Self { connection, counters, state } = self;
        let failed = |error: rusqlite::Error| LedgerError::Failed(error.to_string());
        let mut running = RunningWriter {
            context: TxContext::new(&connection, counters),
            begin: connection.prepare("BEGIN IMMEDIATE").map_err(failed)?,
            commit: connection.prepare("COMMIT").map_err(failed)?,
            state,
        };
        while let Some(group) = running.state.queue.take(running.state.group_limit) {
            running.commit_group(group);
        }
        running.mark_closed();
        let broken = running.state.broken.take();
        // The statements are the connection's.
        drop(running);
        let closed = connection.close().map_err(|(_, error)| failed(error));
        broken.map_or(closed, |reason| Err(LedgerError::Failed(reason)))
    }
}

impl RunningWriter<'_> {
    /// Carries out these operations in one transaction. If any of them fails in the store, or the commit does,
    /// none of them is recorded and all of them fail; what the record forbids fails alone, before it has written
    /// anything. What only reads comes after the commit, so that it neither shares a failure nor sees what is
    /// undone.
    fn commit_group(&mut self, group: Vec<Operation>) {
        let (group, reading): (Vec<_>, Vec<_>) = group.into_iter().partition(Operation::records);
        let erases = group.iter().any(|operation| matches!(operation, Operation::Forget(..)));
        let records = self.state.broken.is_none() && !group.is_empty();
        let connection = self.context.connection;
        let before = connection.total_changes();
        let mut failure = if records { self.check_place().or_else(|| self.begin()) } else { None };
        let mut answers = Vec::with_capacity(group.len());
        for operation in group {
            answers.push(self.carry_out(operation, records, &mut failure));
        }
        if records {
            failure = self.end(failure).or_else(|| self.check_written());
        }
        let recorded = connection.total_changes() != before;
        if records && recorded && failure.is_none() {
            self.note_extent();
            self.state.commits.fetch_add(1, Ordering::Relaxed);
        }
        responders::give(answers, failure.as_ref());
        let read = reading.into_iter().map(|operation| self.carry_out(operation, false, &mut None));
        responders::give(read.collect(), None);
        self.tend_log(erases && failure.is_none());
    }

    /// Nothing is recorded where the next process would not find it. Once the file is back, it goes on.
    fn check_place(&mut self) -> Option<LedgerError> {
        self.checked(|lock, _| lock.check_name().and_then(|()| lock.check_beside()))
    }

    /// What was committed just when the file or its log lost its place is answered as failed, though the file has it:
    /// whether it will be found shows at the next start only.
    fn check_written(&mut self) -> Option<LedgerError> {
        let checked = self.checked(is_in_place);
        let LedgerError::Failed(reason) = checked? else { return None };
        Some(self.break_off(&reason))
    }

    fn checked(
        &mut self,
        check: impl FnOnce(&mut Lock, &WalFile) -> Result<(), String>,
    ) -> Option<LedgerError> {
        if is_off(RuleSwitch::MovedLedgersRecordNothing) {
            return None;
        }
        let mut lock = self.state.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = lock.as_mut().map_or(Ok(()), |lock| check(lock, &self.state.log));
        drop(lock);
        let was_misplaced = std::mem::replace(&mut self.state.misplaced, checked.is_err());
        match checked {
            Ok(()) if was_misplaced => tracing::info!("the ledger's file is in its place again"),
            Err(reason) if !was_misplaced => {
                tracing::error!("nothing is sent: {reason}");
                return Some(LedgerError::Failed(reason));
            }
            Err(reason) => return Some(LedgerError::Failed(reason)),
            Ok(()) => {}
        }
        None
    }

    /// Notes how far the log is written now, for the next process to tell whether it is whole.
    fn note_extent(&mut self) {
        let pages = self.state.log_pages.load(Ordering::Relaxed);
        let mut lock = self.state.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lock) = lock.as_mut() else { return };
        if let Err(error) = self.state.log.extent(pages).and_then(|extent| lock.note_extent(extent)) {
            tracing::debug!(%error, "how far the ledger's log is written can't be noted");
        }
    }

    /// Notes that no log is needed any more, before it is emptied; false if that can't be.
    fn note_no_log(&mut self) -> bool {
        let mut lock = self.state.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_mut().is_none_or(|lock| lock.note_no_log().is_ok())
    }

    /// Says in the file that it is closed, so that its log may go. If that fails, the log stays.
    fn mark_closed(&mut self) {
        if self.state.broken.is_some() || self.checked(is_in_place).is_some() {
            return;
        }
        let connection = self.context.connection;
        let closed = self.context.record_age().and_then(|()| schema::mark_closed(connection));
        if let Err(error) = closed {
            tracing::debug!(%error, "the ledger can't note that it is closed");
            return;
        }
        if self.checkpoint(CheckpointMode::TRUNCATE)
            && let Err(error) = schema::remove_log_on_close(connection)
        {
            tracing::debug!(%error, "the ledger's log stays");
        }
    }

    fn begin(&mut self) -> Option<LedgerError> {
        failpoints::before_begin(self.context.connection, self.state.commits.load(Ordering::Relaxed));
        let error = self.begin.execute([]).err()?;
        Some(self.store_failed(&error))
    }

    /// Ends the transaction: commits it, or undoes it if this or anything before has failed.
    fn end(&mut self, failure: Option<LedgerError>) -> Option<LedgerError> {
        let failure = failure.or_else(|| self.commit());
        self.leave_transaction();
        if failure.is_some() {
            self.context.undone();
        }
        failure
    }

    fn commit(&mut self) -> Option<LedgerError> {
        let error = self.commit.execute([]).err()?;
        Some(self.store_failed(&error))
    }

    /// After a commit there is nothing to leave; after some errors SQLite has left it already.
    fn leave_transaction(&mut self) {
        if !self.context.connection.is_autocommit()
            && let Err(error) = self.context.connection.execute_batch("ROLLBACK")
        {
            self.break_off(&error.to_string());
        }
    }

    fn carry_out(
        &mut self,
        operation: Operation,
        grouped: bool,
        failure: &mut Option<LedgerError>,
    ) -> DeferredResponse {
        let mut this = GroupedOperation { records: operation.records(), grouped, failure, writer: self };
        match operation {
            Operation::Open(opening, reply) => this.run(reply, |tx| operations::open(tx, *opening)),
            Operation::Intend(id, intent, reply) => this.run(reply, |tx| operations::intend(tx, id, *intent)),
            Operation::Settle(settling, reply) => this.run(reply, |tx| operations::settle(tx, &settling)),
            Operation::Find(find, reply) => this.run(reply, |tx| operations::find(tx, &find)),
            Operation::List(filter, reply) => this.run(reply, |tx| operations::list(tx, &filter)),
            Operation::Recover(at_ms, reply) => this.run(reply, |tx| operations::recover(tx, at_ms)),
            Operation::Forget(id, reply) => this.run(reply, |tx| operations::forget(tx, &id)),
            Operation::Age { passed_ms, at_ms, reply } => {
                this.run(reply, |tx| Ok(tx.grow_older(passed_ms, at_ms)?))
            }
            Operation::Sweep { kept_ms, most, reply } => {
                this.run(reply, |tx| sweep::sweep(tx, kept_ms, most))
            }
            Operation::NoteMarker(place, at_ms, reply) => {
                this.run(reply, |tx| markers::note(tx.connection, &place, at_ms))
            }
            Operation::MarkedPlaces(reply) => this.run(reply, |tx| markers::places(tx.connection)),
            Operation::Check(reply) => this.run(reply, |tx| operations::check(tx.connection)),
            #[cfg(test)]
            Operation::Hold(began, word, reply) => this.run(reply, |_| {
                let _ = began.send(());
                word.recv().expect("the test asked for a panic");
                Ok(())
            }),
        }
    }

    /// The failure that this error of the store is, for the operation and, if it breaks the ledger, for all
    /// later ones.
    fn store_failed(&mut self, error: &rusqlite::Error) -> LedgerError {
        if may_pass(error) {
            return LedgerError::Failed(error.to_string());
        }
        self.break_off(&error.to_string())
    }

    fn break_off(&mut self, reason: &str) -> LedgerError {
        let reason = self.state.broken.get_or_insert_with(|| {
            tracing::error!("the ledger failed: {reason}; nothing is recorded until commentd is restarted");
            format!("{reason}; nothing is recorded until commentd is restarted")
        });
        LedgerError::Failed(reason.clone())
    }

    /// Copies a log that has grown into the database, after everyone was answered. What was forgotten stands in
    /// the log until that is emptied.
    fn tend_log(&mut self, erased: bool) {
        let pages = self.state.log_pages.load(Ordering::Relaxed);
        if pages < self.state.log_kept {
            self.state.log_kept = 0;
        }
        self.state.erasing |= erased;
        if erased || pages.saturating_sub(self.state.log_kept) >= CHECKPOINT_PAGES {
            let mode = if self.state.erasing { CheckpointMode::TRUNCATE } else { CheckpointMode::PASSIVE };
            self.checkpoint(mode);
        }
    }

    /// Tells people of a log that grows because it can't be copied, and again each time when it has doubled.
    fn tell_of_log(&mut self) {
        let pages = self.state.log_kept;
        if pages == 0 {
            self.state.log_told = 0;
        } else if pages >= TELLING_PAGES.max(self.state.log_told.saturating_mul(2)) {
            self.state.log_told = pages;
            tracing::warn!(
                "the ledger's log {} has grown to {} MiB, because another program has been reading the ledger for long \
                 (a backup, or a sqlite3 that was left open); end that program, and the log is copied and used anew",
                self.state.log.path.display(),
                pages / PAGES_A_MIB
            );
        }
    }

    /// Whether all of the log was copied.
    fn checkpoint(&mut self, mode: CheckpointMode) -> bool {
        let empties = matches!(mode, CheckpointMode::TRUNCATE);
        if self.state.broken.is_some() || empties && !self.note_no_log() {
            return false;
        }
        // Whoever reads the file must not hold up those who write to it.
        let _ = self.context.connection.busy_timeout(Duration::ZERO);
        let result = self.context.connection.wal_checkpoint_v2(Some("main"), mode);
        let _ = self.context.connection.busy_timeout(BUSY_TIMEOUT);
        match result {
            Ok((pages, copied)) => {
                self.state.erasing &= !empties;
                self.state.log_kept = if copied < pages { pages } else { 0 };
                self.state.log_pages.store(self.state.log_kept, Ordering::Relaxed);
                self.tell_of_log();
                copied >= pages
            }
            Err(error) => {
                self.state.log_kept = self.state.log_pages.load(Ordering::Relaxed);
                if may_pass(&error) {
                    tracing::debug!("the ledger's log can't be emptied now: {error}");
                } else {
                    self.break_off(&error.to_string());
                }
                false
            }
        }
    }
}

/// Whether what is written goes where the next process will look.
fn is_in_place(lock: &mut Lock, log: &WalFile) -> Result<(), String> {
    lock.check_name().and_then(|()| log.check())
}

/// One operation of a group.
struct GroupedOperation<'a, 'c> {
    records: bool,
    grouped: bool,
    failure: &'a mut Option<LedgerError>,
    writer: &'a mut RunningWriter<'c>,
}

impl GroupedOperation<'_, '_> {
    fn run<T: Send + 'static>(
        &mut self,
        reply: Responder<T>,
        operation: impl FnOnce(&mut TxContext<'_>) -> Result<T, OperationError>,
    ) -> DeferredResponse {
        let result = self.result(operation);
        reply.with(result)
    }

    fn result<T>(
        &mut self,
        operation: impl FnOnce(&mut TxContext<'_>) -> Result<T, OperationError>,
    ) -> Result<T, LedgerError> {
        if let Some(failure) = self.failure {
            return Err(failure.clone());
        }
        if let Some(reason) = self.writer.state.broken.as_ref().filter(|_| self.records) {
            return Err(LedgerError::Failed(reason.clone()));
        }
        let context = &mut self.writer.context;
        let failed = match catch_unwind(AssertUnwindSafe(|| operation(context))) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(OperationError::Refused(error))) => return Err(error),
            Ok(Err(OperationError::Unreadable(reason))) => return Err(LedgerError::Failed(reason)),
            Ok(Err(OperationError::Store(error))) => self.writer.store_failed(&error),
            Err(_) => LedgerError::Failed("an operation panicked; please report this".into()),
        };
        if self.grouped {
            *self.failure = Some(failed.clone());
        }
        Err(failed)
    }
}
