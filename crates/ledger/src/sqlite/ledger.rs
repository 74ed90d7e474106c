//! The ledger in a file, as the rest of the program has it.

use super::context::Counters;
use super::open_error::OpenError;
use super::queue::{Operation, Queue};
use super::responders::Responder;
use super::wal_file::WalFile;
use super::writer::Writer;
use super::{failpoints, file, schema};
use crate::lock::{Lock, LockError};
use crate::{
    FindBy, Ledger, LedgerDescription, LedgerError, LedgerFuture, MarkedPlace, Opened, Opening, RecordFilter,
    Settled, Settling, Stamp,
};
use commentd_delivery::DeliveryId;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The oldest SQLite whose write-ahead log doesn't lose commits, as `sqlite3_libversion_number` counts: 3.51.3.
const OLDEST_SQLITE: i32 = 3_051_003;

/// How a ledger file is opened and written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// Whether to create the folder of the file (mode 0700); for the default state directory. Default: no.
    pub create_parent: bool,
    /// Most operations that may wait before [`LedgerError::Busy`], at least 1. Settlings may take as many places
    /// again, since what they settle may have been sent already. Default: 4096.
    pub queue_limit: usize,
    /// Most operations in one transaction, at least 1. Default: 512.
    pub group_limit: usize,
    /// Whether to go on where a part of the write-ahead log is lost, and with it the knowledge of some deliveries.
    /// Default: no.
    pub accept_lost_log: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { create_parent: false, queue_limit: 4096, group_limit: 512, accept_lost_log: false }
    }
}

/// A ledger in a file of which this process has the lock.
///
/// Operations are queued when they are called, carried out in that order by one thread, and answered when they
/// are durable. After an I/O error or a damaged page every later operation that records is
/// [`LedgerError::Failed`] until the file is opened anew, because what a failed sync left on the disk isn't
/// known. A full disk fails what was to be recorded, and later operations try again. Reading goes on in both
/// cases.
///
/// An answer comes by the runtime on which the operation was called, and so only while that runs.
#[derive(Debug)]
pub struct SqliteLedger {
    path: PathBuf,
    id: String,
    stamp: Stamp,
    queue: Arc<Queue>,
    lock: Arc<Mutex<Option<Lock>>>,
    commits: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLedger {
    /// Opens the ledger in this file, or creates it with this stamp. Blocks for as long as the disk takes; for
    /// the start of a process.
    ///
    /// # Errors
    /// See [`OpenError`]; each says what to do.
    pub fn open(path: &Path, stamp: Stamp, options: &SqliteOptions) -> Result<SqliteLedger, OpenError> {
        Self::open_tuned(path, stamp, options, failpoints::arm)
    }

    /// `tune` may set what the tests need on the connection.
    pub(super) fn open_tuned(
        path: &Path,
        stamp: Stamp,
        options: &SqliteOptions,
        tune: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<SqliteLedger, OpenError> {
        check_library(rusqlite::version_number())?;
        let path = file::locate(path, options.create_parent)?;
        file::create(&path)?;
        let mut lock = Lock::take(&path).map_err(OpenError::from)?;
        file::check_beside(&path)?;
        file::check_log(&path, &mut lock, options.accept_lost_log)?;
        let connection = schema::open(&path, stamp)?;
        let mut log = WalFile::new(&path, &connection)?;
        if let Err(error) = log.extent_at_start().and_then(|extent| lock.note_extent(extent)) {
            tracing::debug!(%error, "how far the ledger's log is written can't be noted");
        }
        let id = schema::id(&connection, &path)?;
        tune(&connection).map_err(|source| OpenError::store(&path, source))?;
        let queue = Arc::new(Queue::new(options.queue_limit));
        let lock = Arc::new(Mutex::new(Some(lock)));
        let commits = Arc::new(AtomicU64::new(0));
        let counters = Counters::load(&connection).map_err(|source| OpenError::store(&path, source))?;
        let (held, counted) = (Arc::clone(&lock), Arc::clone(&commits));
        let writer =
            Writer::new(connection, counters, Arc::clone(&queue), (held, log), options.group_limit, counted)
                .map_err(|source| OpenError::store(&path, source))?;
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.run())
            .map_err(|source| OpenError::Thread { path: path.clone(), source })?;
        Ok(SqliteLedger { path, id, stamp, queue, lock, commits, thread: Mutex::new(Some(thread)) })
    }

    /// Says in the lock's file where this process listens, so that a second opener can tell.
    ///
    /// # Errors
    /// `Io` if the file can't be written, `Released` after the ledger was closed.
    pub fn announce(&self, address: &str) -> Result<(), LockError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        lock.as_mut().ok_or(LockError::Released)?.announce(address)
    }

    /// How many transactions have recorded something since the file was opened: each is one wait for the disk.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(super) fn ask<T: Send + 'static>(
        &self,
        operation: impl FnOnce(Responder<T>) -> Operation,
    ) -> LedgerFuture<'_, T> {
        let (reply, answer) = Responder::new();
        let queued = self.queue.push(operation(reply));
        Box::pin(async move {
            queued?;
            answer.await.unwrap_or_else(|_| Err(writer_ended()))
        })
    }

    /// Waits until the writer's thread has ended, which it does soon after the queue is closed.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            // An answer may wake, and so drop, whatever owns the ledger; a thread can't wait for itself.
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writer panicked");
        }
    }
}

pub(super) fn check_library(found: i32) -> Result<(), OpenError> {
    if found < OLDEST_SQLITE {
        return Err(OpenError::OldLibrary { found });
    }
    Ok(())
}

fn writer_ended() -> LedgerError {
    LedgerError::Failed("its writer has ended; restart commentd".into())
}

/// Like [`Ledger::close`], but blocks until it is done.
impl Drop for SqliteLedger {
    fn drop(&mut self) {
        let _ = self.queue.close(None);
        self.join();
    }
}

impl Ledger for SqliteLedger {
    fn open(&self, opening: Opening) -> LedgerFuture<'_, Opened> {
        self.ask(|reply| Operation::Open(Box::new(opening), reply))
    }

    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> LedgerFuture<'_, ()> {
        self.ask(|reply| Operation::Intend(id, Box::new(intent), reply))
    }

    fn settle(&self, settling: Settling) -> LedgerFuture<'_, Settled> {
        self.ask(|reply| Operation::Settle(Box::new(settling), reply))
    }

    fn find(&self, find: FindBy) -> LedgerFuture<'_, Option<DeliveryRecord>> {
        self.ask(|reply| Operation::Find(find, reply))
    }

    fn list(&self, filter: RecordFilter) -> LedgerFuture<'_, Vec<DeliveryRecord>> {
        self.ask(|reply| Operation::List(filter, reply))
    }

    fn recover(&self, at_ms: u64) -> LedgerFuture<'_, Vec<DeliveryId>> {
        self.ask(|reply| Operation::Recover(at_ms, reply))
    }

    fn forget(&self, id: DeliveryId) -> LedgerFuture<'_, ()> {
        self.ask(|reply| Operation::Forget(id, reply))
    }

    fn age(&self, passed_ms: u64, at_ms: u64) -> LedgerFuture<'_, ()> {
        self.ask(|reply| Operation::Age { passed_ms, at_ms, reply })
    }

    fn sweep(&self, kept_ms: u64, most: u32) -> LedgerFuture<'_, u32> {
        self.ask(|reply| Operation::Sweep { kept_ms, most, reply })
    }

    fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> LedgerFuture<'_, ()> {
        self.ask(|reply| Operation::NoteMarker(Box::new(place), at_ms, reply))
    }

    fn marked_places(&self) -> LedgerFuture<'_, Vec<MarkedPlace>> {
        self.ask(Operation::MarkedPlaces)
    }

    fn check(&self) -> LedgerFuture<'_, ()> {
        self.ask(Operation::Check)
    }

    fn describe(&self) -> LedgerDescription {
        LedgerDescription {
            kind: "sqlite",
            id: Some(self.id.clone()),
            location: self.path.display().to_string(),
            stamp: self.stamp,
            durable: true,
        }
    }

    fn close(&self) -> LedgerFuture<'_, ()> {
        let (reply, answer) = Responder::new();
        let closing = self.queue.close(Some(reply));
        Box::pin(async move {
            closing?;
            let result = answer.await.unwrap_or_else(|_| Err(writer_ended()));
            // The writer's answer is the last thing it does, so this doesn't keep the runtime waiting.
            self.join();
            result
        })
    }
}
