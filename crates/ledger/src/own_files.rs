//! Files that are ours alone: opened without following a link that somebody else may have planted in their place.

use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    file: u64,
    /// How many names it has; 0 once it was deleted.
    pub(crate) names: u64,
}

impl FileIdentity {
    /// Whether both are the same file.
    pub(crate) fn is(&self, other: &FileIdentity) -> bool {
        (self.device, self.file) == (other.device, other.file)
    }

    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self { device: metadata.dev(), file: metadata.ino(), names: metadata.nlink() }
    }

    /// Windows keeps a file that is open from being deleted, moved or replaced.
    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Self {
        Self { device: 0, file: 0, names: 1 }
    }
}

/// Which file this is.
pub(crate) fn identity_of(file: &File) -> io::Result<FileIdentity> {
    file.metadata().map(|metadata| FileIdentity::of(&metadata))
}

/// Which file this name leads to; `None` if to none.
pub(crate) fn identity_at(path: &Path) -> io::Result<Option<FileIdentity>> {
    #[cfg(target_os = "linux")]
    if let Some(found) = identity_without_times(path) {
        return Ok(Some(found));
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(FileIdentity::of(&metadata))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same without asking for the file's times; `None` if that fails. From Linux 6.13 on, a file whose times were asked
/// for gets finer ones at its next write, and where the file system has no journal each sync then writes its inode, too.
#[cfg(target_os = "linux")]
fn identity_without_times(path: &Path) -> Option<FileIdentity> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    let wanted = StatxFlags::INO | StatxFlags::NLINK;
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    Some(FileIdentity {
        device: makedev(found.stx_dev_major, found.stx_dev_minor),
        file: found.stx_ino,
        names: found.stx_nlink.into(),
    })
}

/// Opens a file of ours to read and write.
///
/// # Errors
/// Also if it is a link, or something else than a file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    checked(path, options().open(path))
}

/// As [`open`], but creates it with mode 0600 if it isn't there. It is refused if it has another name, too, since
/// writing to it would change somebody else's file.
pub(crate) fn open_or_create(path: &Path) -> io::Result<File> {
    let file = checked(path, options().create(true).truncate(false).open(path))?;
    let metadata = file.metadata()?;
    check(&metadata, FileIdentity::of(&metadata).names)?;
    Ok(file)
}

/// Refuses what stands in the place of a file that somebody else opens for us, if it isn't a file of ours. Nothing at
/// all is right.
pub(crate) fn check_place(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(a_link()),
        Ok(metadata) => check(&metadata, FileIdentity::of(&metadata).names),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Refuses a folder in which somebody else may put files in the place of ours. Whoever has the one that is ours by
/// default may be nobody else; a folder that was named may be shared as far as its owner and group go.
pub(crate) fn check_folder(path: &Path, ours: bool) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        const STICKY: u32 = 0o1000;
        let metadata = std::fs::metadata(path)?;
        let (mode, me) = (metadata.mode(), rustix::process::geteuid().as_raw());
        if ours && metadata.uid() != me {
            let owner = metadata.uid();
            return Err(io::Error::other(format!(
                "it belongs to another user (number {owner}), who can put files in the place of ours"
            )));
        }
        let others = if ours { 0o022 } else { 0o002 };
        if mode & others != 0 && mode & STICKY == 0 {
            return Err(io::Error::other(format!(
                "other users can put files in the place of ours there (mode {:03o}); chmod go-w it",
                mode & 0o777
            )));
        }
    }
    #[cfg(not(unix))]
    let _ = (path, ours);
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe that somebody planted is refused, not waited for.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    }
    options
}

fn checked(path: &Path, opened: io::Result<File>) -> io::Result<File> {
    let file = match opened {
        Ok(file) => file,
        // What the system says of a link that it doesn't follow differs, and helps nobody.
        Err(_) if std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            return Err(a_link());
        }
        Err(error) => return Err(error),
    };
    check(&file.metadata()?, 1)?;
    Ok(file)
}

fn check(metadata: &Metadata, names: u64) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(wrong("is something else than a file; delete it"));
    }
    if names > 1 {
        return Err(wrong("has a second name (a hard link); delete it"));
    }
    Ok(())
}

/// The file that stands beside this one, under its name and this.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn a_link() -> io::Error {
    wrong("is a symbolic link, which is not followed, since it may lead to somebody's file; delete it")
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("it {what}"))
}
