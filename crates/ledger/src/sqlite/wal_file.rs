//! The write-ahead log while it is written: where it is, and how far.

use super::open_error::OpenError;
use super::operation_error::may_pass;
use super::{schema, wal};
use crate::lock::WalExtent;
use crate::own_files::{self, FileIdentity};
use rusqlite::Connection;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The write-ahead log that SQLite writes.
pub(super) struct WalFile {
    pub(super) path: PathBuf,
    file: File,
    identity: FileIdentity,
}

impl WalFile {
    /// That of this connection, which says first that the ledger is in use.
    pub(super) fn new(ledger: &Path, connection: &Connection) -> Result<Self, OpenError> {
        match schema::mark_in_use(connection) {
            // What can't be recorded isn't sent either, so nothing can be forgotten.
            Err(error) if may_pass(&error) => tracing::warn!("the ledger can't record now: {error}"),
            marked => marked.map_err(|source| OpenError::store(ledger, source))?,
        }
        let path = own_files::with_suffix(ledger, "-wal");
        let opened =
            own_files::open_or_create(&path).and_then(|file| Ok((own_files::identity_of(&file)?, file)));
        let (identity, file) = opened.map_err(|source| OpenError::io(&path, source))?;
        Ok(Self { path, file, identity })
    }

    /// Whether its name still leads to it.
    pub(super) fn check(&self) -> Result<(), String> {
        match own_files::identity_at(&self.path) {
            Ok(Some(found)) if found.is(&self.identity) => Ok(()),
            _ => Err(format!(
                "the ledger's log {} was moved, replaced or deleted while it is written; put it back, or stop commentd, \
                 which brings what is in it to the ledger",
                self.path.display()
            )),
        }
    }

    /// How far it is written before this process records anything.
    pub(super) fn extent_at_start(&mut self) -> io::Result<WalExtent> {
        self.file.rewind()?;
        let contents = wal::read(BufReader::new(&self.file))?.unwrap_or_default();
        Ok(contents.extent())
    }

    /// How far it is written, after a commit that has left it so long.
    pub(super) fn extent(&mut self, pages: i32) -> io::Result<WalExtent> {
        const SALTS_AT: u64 = 16;
        let mut salts = [0; 8];
        self.file.seek(SeekFrom::Start(SALTS_AT))?;
        self.file.read_exact(&mut salts)?;
        Ok(WalExtent { salts, frames: u64::try_from(pages).unwrap_or(0) })
    }
}
