//! One process for one ledger file: an exclusive lock of the operating system on a file beside it, and on the ledger's
//! own file, whatever it is called.
//!
//! The file beside it stays when the ledger is closed: deleting it would let two processes lock two files of one name.
//! Where somebody else deletes it, the lock on the ledger's own file still stands.

use crate::own_files::{self, FileIdentity, with_suffix};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Whether the ledger's own file can be locked: where a lock of this kind is apart from those that SQLite sets on
/// ranges of the file. Elsewhere they would exclude each other.
const LOCKS_THE_LEDGER: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What the note has of the lock's file, in bytes, filled up with line ends; ours are shorter than 300.
const NOTE_BYTES: u16 = 512;

/// Who has the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// The ledger's file.
    pub ledger: PathBuf,
    /// The process; `None` if it hasn't said so yet.
    pub pid: Option<u32>,
    /// Where it listens; `None` if it doesn't listen (yet).
    pub address: Option<String>,
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ledger {} is held by ", self.ledger.display())?;
        match self.pid {
            Some(pid) => write!(f, "process {pid}")?,
            None => f.write_str("another process")?,
        }
        match &self.address {
            Some(address) => write!(f, ", which listens on {address}"),
            None => f.write_str(", which hasn't said where it listens"),
        }
    }
}

/// Why the lock wasn't taken, or its note not written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{0}; stop that process, or name another file with --ledger, since one ledger serves one process"
    )]
    Held(LockHolder),
    /// The lock's file can't be used.
    #[error(
        "can't lock the ledger by {}: {source}; make that file writable, or name a ledger elsewhere with --ledger",
        path.display()
    )]
    Io {
        /// That file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The ledger's file has more than one name (hard links), each with a log of its own beside it.
    #[error(
        "the ledger {} has a second name (a hard link), under which its log would not be found, so that comments could be \
         sent twice; remove the other name, or copy the file with all beside it and name the copy with --ledger",
        ledger.display()
    )]
    SeveralNames {
        /// The ledger's file.
        ledger: PathBuf,
    },
    /// The ledger was closed, and its lock with it.
    #[error("the ledger is closed and its lock released")]
    Released,
}

/// What the lock's file says about its holder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct LockNote {
    pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

/// How far the ledger's log is written for certain: frames of the log with these salts. The next process is told by it
/// what a crash must have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WalExtent {
    /// By which the log is told from those before and after it.
    pub(crate) salts: [u8; 8],
    /// 0 if the ledger needs no log.
    pub(crate) frames: u64,
}

impl WalExtent {
    /// No log is needed.
    pub(crate) const NONE: WalExtent = WalExtent { salts: [0; 8], frames: 0 };

    /// Written twice, so that half of it isn't taken for all.
    fn to_text(self) -> String {
        let (salts, frames) = (u64::from_be_bytes(self.salts), self.frames);
        format!("log {salts:016x} {frames:016x}\nlog {salts:016x} {frames:016x}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let line = lines.next().filter(|line| lines.next() == Some(*line))?;
        let (salts, frames) = line.strip_prefix("log ")?.split_once(' ')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(WalExtent { salts: number(salts)?.to_be_bytes(), frames: number(frames)? })
    }
}

/// The lock, held until it is dropped or the process ends.
///
/// It has the ledger's file open. Whoever closes any handle of a file loses all locks that the process has set on ranges
/// of it, SQLite's among them, so that it must be dropped after SQLite has closed the file.
#[derive(Debug)]
pub(crate) struct Lock {
    ledger: PathBuf,
    /// The ledger's own file, locked where that is possible, and open so that no other takes over its identity.
    _file: OpenFile,
    identity: FileIdentity,
    lock_file: LockFile,
    address: Option<String>,
    /// How far the log was written when the lock was taken.
    left: Option<WalExtent>,
}

/// The file beside the ledger.
#[derive(Debug)]
struct LockFile {
    path: PathBuf,
    /// Carries the lock.
    _locked: OpenFile,
    identity: FileIdentity,
    note: File,
    note_path: PathBuf,
}

/// A file that is kept open, and its lock, if it has one, with it.
///
/// The lock is released before the file is closed: a program that another thread is just starting has a copy of every
/// open file until it runs, and the system releases a lock only with the last copy.
#[derive(Debug)]
struct OpenFile(File);

impl Drop for OpenFile {
    fn drop(&mut self) {
        // Without it, closing the file releases the lock, if only later.
        let _ = self.0.unlock();
    }
}

impl Lock {
    /// Takes the lock of this ledger, whose file is there, without waiting.
    pub(crate) fn take(ledger: &Path) -> Result<Lock, LockError> {
        let at_ledger = |source| LockError::Io { path: ledger.to_owned(), source };
        let file = own_files::open(ledger).map_err(at_ledger)?;
        let identity = own_files::identity_of(&file).map_err(at_ledger)?;
        let file = if LOCKS_THE_LEDGER { lock(file, ledger, ledger)? } else { OpenFile(file) };
        if identity.names > 1 {
            return Err(LockError::SeveralNames { ledger: ledger.to_owned() });
        }
        let mut lock_file = LockFile::take(ledger)?;
        let left = lock_file.extent();
        let mut lock =
            Lock { ledger: ledger.to_owned(), _file: file, identity, lock_file, address: None, left };
        // On a full disk the lock holds all the same, and only the note is missing.
        match lock.say() {
            Err(LockError::Io { path, source }) if source.kind() == io::ErrorKind::StorageFull => {
                tracing::warn!("the disk of {} is full: {source}", path.display());
            }
            said => said?,
        }
        Ok(lock)
    }

    /// How far the process before had written the log; `None` if that isn't known.
    pub(crate) fn left(&self) -> Option<WalExtent> {
        self.left
    }

    /// Notes how far the log is written, without waiting for the disk.
    pub(crate) fn note_extent(&mut self, extent: WalExtent) -> io::Result<()> {
        self.lock_file.note.seek(SeekFrom::Start(NOTE_BYTES.into()))?;
        self.lock_file.note.write_all(extent.to_text().as_bytes())
    }

    /// Notes that the ledger needs no log, so that it may go.
    pub(crate) fn note_no_log(&mut self) -> io::Result<()> {
        self.note_extent(WalExtent::NONE)?;
        self.lock_file.note.sync_data()
    }

    /// Says where this process listens.
    pub(crate) fn announce(&mut self, address: &str) -> Result<(), LockError> {
        self.address = Some(address.to_owned());
        self.say()
    }

    fn say(&mut self) -> Result<(), LockError> {
        self.lock_file.write(&LockNote { pid: Some(std::process::id()), address: self.address.clone() })
    }

    /// Whether the ledger's name still leads to the file that is locked and written.
    ///
    /// # Errors
    /// Why what is recorded now would not be found under that name by the next process.
    pub(crate) fn check_name(&self) -> Result<(), String> {
        let ledger = self.ledger.display();
        match own_files::identity_at(&self.ledger) {
            Ok(Some(found)) if found.is(&self.identity) => Ok(()),
            Ok(Some(_)) => Err(format!(
                "another file was put in the place of the ledger {ledger}, and the one that is written has lost \
                     its name; put it back, or stop commentd and start it on the file that knows its deliveries"
            )),
            Ok(None) => Err(format!(
                "the ledger {ledger} was moved or deleted while it is written; put it back where it was, since the \
                     next start would know nothing of what was sent"
            )),
            Err(error) => Err(format!("the ledger {ledger} can't be found any more: {error}")),
        }
    }

    /// Takes the lock beside the ledger again if it was deleted.
    ///
    /// # Errors
    /// If that can't be, and nothing else keeps a second process out.
    pub(crate) fn check_beside(&mut self) -> Result<(), String> {
        if self.lock_file.is_there() {
            return Ok(());
        }
        let taken = LockFile::take(&self.ledger).and_then(|lock_file| {
            self.lock_file = lock_file;
            self.say()
        });
        match taken {
            Ok(()) => tracing::warn!(
                "{} was deleted or replaced; it is taken again. Leave it, since it keeps a second process out",
                self.lock_file.path.display()
            ),
            // The ledger's own file is locked, so nobody else writes to it.
            Err(error) if LOCKS_THE_LEDGER => tracing::debug!(%error, "the lock beside the ledger is gone"),
            Err(error) => return Err(error.to_string()),
        }
        Ok(())
    }
}

impl LockFile {
    fn take(ledger: &Path) -> Result<LockFile, LockError> {
        let path = with_suffix(ledger, ".lock");
        let at_lock = |source| LockError::Io { path: path.clone(), source };
        let file = own_files::open_or_create(&path).map_err(at_lock)?;
        let identity = own_files::identity_of(&file).map_err(at_lock)?;
        let locked = lock(file, &path, ledger)?;
        let note_path = note_path(&path);
        let note = own_files::open_or_create(&note_path)
            .map_err(|source| LockError::Io { path: note_path.clone(), source })?;
        Ok(LockFile { path, _locked: locked, identity, note, note_path })
    }

    /// Whether its name still leads to it.
    fn is_there(&self) -> bool {
        own_files::identity_at(&self.path)
            .is_ok_and(|found| found.is_some_and(|found| found.is(&self.identity)))
    }

    fn write(&mut self, note: &LockNote) -> Result<(), LockError> {
        self.try_write(note).map_err(|source| LockError::Io { path: self.note_path.clone(), source })
    }

    fn try_write(&mut self, note: &LockNote) -> io::Result<()> {
        let mut text = serde_json::to_vec(note)?;
        text.resize(text.len().max(NOTE_BYTES.into()), b'\n');
        self.note.rewind()?;
        self.note.write_all(&text)
    }

    /// What the file says of the log.
    fn extent(&mut self) -> Option<WalExtent> {
        let mut text = String::new();
        self.note.seek(SeekFrom::Start(NOTE_BYTES.into())).ok()?;
        (&mut self.note).take(NOTE_BYTES.into()).read_to_string(&mut text).ok()?;
        WalExtent::parse(&text)
    }
}

/// Locks this file, without waiting.
fn lock(file: File, path: &Path, ledger: &Path) -> Result<OpenFile, LockError> {
    match file.try_lock() {
        Ok(()) => Ok(OpenFile(file)),
        Err(TryLockError::WouldBlock) => Err(LockError::Held(holder(ledger, &with_suffix(ledger, ".lock")))),
        Err(TryLockError::Error(source)) => Err(LockError::Io { path: path.to_owned(), source }),
    }
}

/// What the holder of a lock that wasn't free says about itself. It may be just about to say it, so an
/// unreadable note only means that nothing is known.
fn holder(ledger: &Path, lock: &Path) -> LockHolder {
    let mut text = String::new();
    let read = File::open(note_path(lock))
        .and_then(|file| file.take(u64::from(NOTE_BYTES)).read_to_string(&mut text));
    let line = text.lines().next().unwrap_or_default();
    let note: LockNote = read.ok().and_then(|_| serde_json::from_str(line).ok()).unwrap_or_default();
    LockHolder { ledger: ledger.to_owned(), pid: note.pid, address: note.address }
}

/// Where the holder's note stands: in the locked file itself, but for Windows, where a locked file can't be
/// read by others.
fn note_path(lock: &Path) -> PathBuf {
    if cfg!(windows) { with_suffix(lock, ".info") } else { lock.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        File::create(&path).unwrap();
        (dir, path)
    }

    #[test]
    fn a_second_taker_learns_who_has_it() {
        let (_dir, ledger) = ledger();
        let mut first = Lock::take(&ledger).unwrap();
        first.announce("127.0.0.1:19080").unwrap();
        let Err(LockError::Held(holder)) = Lock::take(&ledger) else { panic!("two processes hold it") };
        assert_eq!(holder.pid, Some(std::process::id()));
        assert_eq!(holder.address.as_deref(), Some("127.0.0.1:19080"));
        // A shorter note leaves nothing of the longer one behind.
        first.announce("[::1]:1").unwrap();
        let Err(LockError::Held(holder)) = Lock::take(&ledger) else { panic!("two processes hold it") };
        assert_eq!(holder.address.as_deref(), Some("[::1]:1"));
        drop(first);
        assert!(with_suffix(&ledger, ".lock").exists(), "deleting the file is a race");
        Lock::take(&ledger).unwrap();
    }

    /// A program that another thread is just starting has copies of all open files until it runs.
    #[test]
    fn a_copy_of_its_files_in_a_starting_program_keeps_nobody_out() {
        let (_dir, ledger) = ledger();
        let lock = Lock::take(&ledger).unwrap();
        let copies = [lock._file.0.try_clone().unwrap(), lock.lock_file._locked.0.try_clone().unwrap()];
        drop(lock);
        Lock::take(&ledger).expect("the ledger is free once the lock is dropped");
        drop(copies);
    }

    #[test]
    fn how_far_the_log_is_written_outlives_the_lock() {
        let (_dir, ledger) = ledger();
        let extent = WalExtent { salts: [1, 2, 3, 4, 5, 6, 7, 200], frames: 77 };
        let mut first = Lock::take(&ledger).unwrap();
        assert_eq!(first.left(), None);
        first.note_extent(extent).unwrap();
        first.announce("127.0.0.1:19080").unwrap();
        drop(first);
        let second = Lock::take(&ledger).unwrap();
        assert_eq!(second.left(), Some(extent), "a note leaves it alone");
        assert_eq!(
            WalExtent::parse(&extent.to_text().replacen("4d", "4e", 1)),
            None,
            "half of it was written"
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_unreadable_note_names_nobody() {
        let (_dir, ledger) = ledger();
        let _first = Lock::take(&ledger).unwrap();
        for nonsense in ["", "{", "\u{0}", "{\"pid\":\"x\"}"] {
            std::fs::write(with_suffix(&ledger, ".lock"), nonsense).unwrap();
            let Err(LockError::Held(holder)) = Lock::take(&ledger) else { panic!("two processes hold it") };
            assert_eq!(holder.pid, None);
            assert!(holder.to_string().contains("another process"), "{holder}");
        }
    }
}
