//! The ledger's file before SQLite sees it: where it is, whose it is, and that it survives a power loss.

use super::open_error::OpenError;
use super::{schema, wal};
use crate::lock::Lock;
use crate::own_files;
use commentd_delivery::rule_switch::{RuleSwitch, is_on};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{BufReader, ErrorKind};
use std::path::{Path, PathBuf};

/// The one name of the file, whichever way it was named, so that there is one lock for it. Creates the folder
/// if that was asked for; never the file.
pub(super) fn locate(path: &Path, create_parent: bool) -> Result<PathBuf, OpenError> {
    // Absolute, too, because SQLite reads meaning into names such as `:memory:` and `file:…`.
    let path = std::path::absolute(path).map_err(|source| OpenError::io(path, source))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(OpenError::NotAFile { path });
    };
    if create_parent {
        create_folder(parent).map_err(|source| OpenError::io(parent, source))?;
    }
    if parent.is_dir() {
        own_files::check_folder(parent, create_parent).map_err(|source| OpenError::io(parent, source))?;
    }
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => Err(OpenError::NotAFile { path }),
        Ok(_) => real(&path).map_err(|source| OpenError::io(&path, source)),
        Err(error) if error.kind() == ErrorKind::NotFound => match real(parent) {
            Ok(parent) => Ok(parent.join(name)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(OpenError::NoFolder { path }),
            Err(source) => Err(OpenError::io(&path, source)),
        },
        Err(source) => Err(OpenError::io(&path, source)),
    }
}

/// Without symbolic links. Windows' own form of that, `\\?\…`, isn't for people, and links are rare there.
fn real(path: &Path) -> std::io::Result<PathBuf> {
    if cfg!(windows) { std::fs::metadata(path).map(|_| path.to_owned()) } else { path.canonicalize() }
}

fn create_folder(path: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Creates the file with mode 0600 if it isn't there, and makes sure that it can be written. SQLite gives the
/// files that it puts beside it the same mode.
pub(super) fn create(path: &Path) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let opened = match options.open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            options.create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(path).and_then(|_| sync_folder(path))
        }
        opened => opened.map(|file| warn_if_shared(path, &file)),
    };
    opened.map_err(|source| OpenError::io(path, source))
}

/// SQLite follows a link that stands in the place of what it keeps beside the file, so there must be none.
pub(super) fn check_beside(path: &Path) -> Result<(), OpenError> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let beside = own_files::with_suffix(path, suffix);
        own_files::check_place(&beside).map_err(|source| OpenError::io(&beside, source))?;
    }
    Ok(())
}

/// Refuses a ledger of which a part is lost with its log, unless that is accepted. Changes nothing otherwise.
pub(super) fn check_log(path: &Path, lock: &mut Lock, accept: bool) -> Result<(), OpenError> {
    let beside = own_files::with_suffix(path, "-wal");
    let at_log = |source| OpenError::io(&beside, source);
    let found = match File::open(&beside) {
        Ok(file) => wal::read(BufReader::with_capacity(1 << 18, file)).map_err(at_log)?,
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(at_log(error)),
    };
    let is_empty = found.is_none() && beside.exists();
    let in_use = found.is_none() && !is_empty && schema::is_in_use(path);
    let loss = wal::loss(found, lock.left(), in_use).filter(|_| is_on(RuleSwitch::LostLogsAreMissed));
    let Some(loss) = loss else { return Ok(()) };
    if !accept {
        return Err(OpenError::LostLog { path: beside, loss: loss.to_string() });
    }
    tracing::warn!(
        "the ledger's log {} {loss}; --accept-lost-wal goes on without, so comments whose keys are forgotten can be \
         sent again",
        beside.display()
    );
    lock.note_no_log().map_err(at_log)
}

/// A new file is there after a power loss only once its folder was synced; SQLite leaves that to us.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn warn_if_shared(path: &Path, file: &std::fs::File) {
    #[cfg(unix)]
    if let Ok(metadata) = file.metadata() {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(
                "other users can open the ledger {} (mode {mode:03o}); chmod 600 keeps the comments private",
                path.display()
            );
        }
    }
    #[cfg(not(unix))]
    let _ = (path, file);
}
