//! One process for one ledger file: an exclusive lock of the operating system on a file beside it.
//!
//! The file stays when the ledger is closed: deleting it would let two processes lock two files of one name.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Longest note that is read, in bytes; ours are shorter than 300.
const MAX_NOTE_BYTES: u64 = 4096;

/// Who has the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The ledger's file.
    pub ledger: PathBuf,
    /// The process; `None` if it hasn't said so yet.
    pub pid: Option<u32>,
    /// Where it listens; `None` if it doesn't listen (yet).
    pub address: Option<String>,
}

impl fmt::Display for Holder {
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
#[derive(Debug)]
pub enum LockError {
    /// Another process has it.
    Held(Holder),
    /// The lock's file can't be used.
    Io {
        /// That file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The ledger was closed, and its lock with it.
    Released,
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held(holder) => write!(
                f,
                "{holder}; stop that process, or name another file with --ledger, since one ledger serves one \
                 process"
            ),
            LockError::Io { path, source } => write!(
                f,
                "can't lock the ledger by {}: {source}; make that file writable, or name a ledger elsewhere \
                 with --ledger",
                path.display()
            ),
            LockError::Released => f.write_str("the ledger is closed and its lock released"),
        }
    }
}

impl std::error::Error for LockError {}

/// What the lock's file says about its holder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    pid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

/// The lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Carries the lock; the system releases it with the file.
    _locked: File,
    note: File,
    note_path: PathBuf,
}

impl Lock {
    /// Takes the lock of this ledger, without waiting.
    pub(crate) fn take(ledger: &Path) -> Result<Lock, LockError> {
        let path = with_suffix(ledger, ".lock");
        let locked = open(&path).map_err(|source| LockError::Io { path: path.clone(), source })?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(ledger, &path))),
            Err(TryLockError::Error(source)) => return Err(LockError::Io { path, source }),
        }
        let note_path = note_path(&path);
        let note = open(&note_path).map_err(|source| LockError::Io { path: note_path.clone(), source })?;
        let mut lock = Lock { _locked: locked, note, note_path };
        lock.write(&Note { pid: Some(std::process::id()), address: None })?;
        Ok(lock)
    }

    /// Says where this process listens.
    pub(crate) fn announce(&mut self, address: &str) -> Result<(), LockError> {
        self.write(&Note { pid: Some(std::process::id()), address: Some(address.to_owned()) })
    }

    fn write(&mut self, note: &Note) -> Result<(), LockError> {
        self.try_write(note).map_err(|source| LockError::Io { path: self.note_path.clone(), source })
    }

    fn try_write(&mut self, note: &Note) -> io::Result<()> {
        let mut text = serde_json::to_vec(note)?;
        text.push(b'\n');
        self.note.rewind()?;
        self.note.write_all(&text)?;
        self.note.set_len(text.len() as u64)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// What the holder of a lock that wasn't free says about itself. It may be just about to say it, so an
/// unreadable note only means that nothing is known.
fn holder(ledger: &Path, lock: &Path) -> Holder {
    let mut text = String::new();
    let read =
        File::open(note_path(lock)).and_then(|file| file.take(MAX_NOTE_BYTES).read_to_string(&mut text));
    let line = text.lines().next().unwrap_or_default();
    let note: Note = read.ok().and_then(|_| serde_json::from_str(line).ok()).unwrap_or_default();
    Holder { ledger: ledger.to_owned(), pid: note.pid, address: note.address }
}

/// Where the holder's note stands: in the locked file itself, but for Windows, where a locked file can't be
/// read by others.
fn note_path(lock: &Path) -> PathBuf {
    if cfg!(windows) { with_suffix(lock, ".info") } else { lock.to_owned() }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_learns_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
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

    #[cfg(unix)]
    #[test]
    fn an_unreadable_note_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("ledger.db");
        let _first = Lock::take(&ledger).unwrap();
        for nonsense in ["", "{", "\u{0}", "{\"pid\":\"x\"}"] {
            std::fs::write(with_suffix(&ledger, ".lock"), nonsense).unwrap();
            let Err(LockError::Held(holder)) = Lock::take(&ledger) else { panic!("two processes hold it") };
            assert_eq!(holder.pid, None);
            assert!(holder.to_string().contains("another process"), "{holder}");
        }
    }
}
