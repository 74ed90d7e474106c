//! What is kept beside a file, so that a second run sends only what is missing: which ledger knows its keys, as
//! whose, and since when each may have been sent.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Before version 2, files had no name of their own.
const VERSION: u32 = 2;
/// Largest state that is read, in bytes: over ten times what the largest file of comments needs.
const MAX_STATE_BYTES: u64 = 1 << 30;
/// This long before the ledger may forget a key, it isn't sent any more, in milliseconds: time for the request to
/// arrive, and for clocks that differ a little.
const MARGIN_MS: u64 = 60_000;

/// Who is to know the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keeper {
    /// The ledger's id.
    pub(super) ledger: String,
    /// Where that is, for people.
    pub(super) location: String,
    /// Whose keys they are.
    pub(super) caller: String,
    /// How long it keeps what is settled, in milliseconds.
    pub(super) retention_ms: u64,
}

/// The state of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    version: u32,
    /// The file's own name, which is part of its keys: made by the first run, random.
    #[serde(default)]
    pub(super) file: String,
    ledger: String,
    location: String,
    caller: String,
    /// The shortest retention of any run.
    retention_ms: u64,
    /// For each key, when it may have been sent first: wall time, in milliseconds since 1970.
    keys: BTreeMap<String, u64>,
}

impl FileState {
    /// The state of a file that nothing of has been sent, with this name for its keys.
    pub(super) fn new(file: String, keeper: &Keeper) -> FileState {
        FileState {
            version: VERSION,
            file,
            ledger: keeper.ledger.clone(),
            location: keeper.location.clone(),
            caller: keeper.caller.clone(),
            retention_ms: keeper.retention_ms,
            keys: BTreeMap::new(),
        }
    }

    /// The state of a run that is about to send these keys: the earlier runs' with what is new. Pure.
    ///
    /// # Errors
    /// When another ledger or caller has the keys, or a key may be forgotten by now. Sending could then post twice.
    pub(super) fn next<'a>(
        mut self,
        keeper: &Keeper,
        keys: impl Iterator<Item = &'a str>,
        now_ms: u64,
    ) -> Result<FileState, String> {
        let state = &mut self;
        if !(1..=VERSION).contains(&state.version) {
            return Err(format!("is of version {}, this commentd knows 1 to {VERSION}", state.version));
        }
        // A commentd that knows no names must not go on with it.
        state.version = VERSION;
        if state.ledger != keeper.ledger {
            return Err(format!(
                "says that the file was sent through the ledger {} ({}); this is {} ({}), which doesn't know those \
                 keys, so comments could be posted twice. Go on with that ledger; only if nothing of the file may \
                 count as sent, delete the state",
                state.ledger, state.location, keeper.ledger, keeper.location
            ));
        }
        if state.caller != keeper.caller {
            return Err(format!(
                "says that the file was sent by {}, and this run is {}, whose keys are others, so comments could \
                 be posted twice. Go on with the first one's credentials",
                shown(&state.caller),
                shown(&keeper.caller)
            ));
        }
        state.retention_ms = state.retention_ms.min(keeper.retention_ms);
        state.location.clone_from(&keeper.location);
        for key in keys {
            let first_ms = *state.keys.entry(key.to_owned()).or_insert(now_ms);
            if is_ahead(first_ms, now_ms) {
                return Err("says that the file was sent at a time that is still to come, so this machine's clock is or \
                     was wrong, and nobody can say whether the ledger still knows those keys. Set the clock right; if \
                     it is, see what is there, and put what is missing into a new file"
                    .into());
            }
            if is_past(first_ms, state.retention_ms, now_ms) {
                return Err(format!(
                    "says that the file was sent longer ago than the ledger keeps deliveries ({} h), so it can't \
                     be told what is missing. See what is there; then put what is missing into a new file",
                    state.retention_ms / 3_600_000
                ));
            }
        }
        Ok(self)
    }

    /// Whether this key is still safe to send: the ledger still has what became of it.
    pub(super) fn may_send(&self, key: &str, now_ms: u64) -> bool {
        self.keys.get(key).is_some_and(|first_ms| {
            !is_past(*first_ms, self.retention_ms, now_ms) && !is_ahead(*first_ms, now_ms)
        })
    }

    /// Reads the state beside a file; `None` if there is none.
    pub(super) fn read(path: &Path) -> Result<Option<FileState>, Failure> {
        let wrong = |what: String| Failure(format!("{}: {what}; nothing was sent", path.display()));
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(MAX_STATE_BYTES).read_to_end(&mut bytes)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(format!("can't be read: {error}"))),
            Ok(_) => {}
        }
        let state = serde_json::from_slice(&bytes);
        state.map(Some).map_err(|error| wrong(format!("is no state of a posted file: {error}")))
    }

    /// Writes it, for its owner's eyes only: all of it is there, power loss included, or what was there before.
    ///
    /// # Errors
    /// When it can't be written; as a `first` state also when there is one by now.
    pub(super) fn write(&self, path: &Path, first: bool) -> Result<(), Failure> {
        let wrong = |what: String| Failure(format!("{}: {what}; nothing was sent", path.display()));
        self.try_write(path, first).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => wrong("was just made by another run; run the command again".into()),
            _ => wrong(format!("can't be written: {error}")),
        })
    }

    fn try_write(&self, path: &Path, first: bool) -> io::Result<()> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.as_file().sync_all()?;
        if first {
            file.persist_noclobber(path)?
        } else {
            file.persist(path)?
        };
        // The new name is there after a power loss only once its folder was synced.
        if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
    }
}

/// Whether the clock has gone back since by more than clocks are corrected.
fn is_ahead(first_ms: u64, now_ms: u64) -> bool {
    first_ms > now_ms.saturating_add(MARGIN_MS)
}

fn is_past(first_ms: u64, retention_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_add(MARGIN_MS) >= first_ms.saturating_add(retention_ms)
}

fn shown(caller: &str) -> String {
    if caller.is_empty() { "nobody by name".into() } else { format!("{caller:?}") }
}

/// Where the state of a file is kept: beside it.
pub(super) fn path_of(file: &Path) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(".state");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn keeper() -> Keeper {
        Keeper {
            ledger: "l1".into(),
            location: "a.db".into(),
            caller: String::new(),
            retention_ms: 24 * HOUR_MS,
        }
    }

    fn next(earlier: Option<FileState>, keeper: &Keeper, now_ms: u64) -> Result<FileState, String> {
        let state = earlier.unwrap_or_else(|| FileState::new("f1".into(), keeper));
        state.next(keeper, ["a", "b"].into_iter(), now_ms)
    }

    #[test]
    fn a_file_from_before_there_were_names_goes_on_without_one() {
        let mut old = serde_json::to_value(next(None, &keeper(), 1000).unwrap()).unwrap();
        old["version"] = 1.into();
        old.as_object_mut().unwrap().remove("file");
        let old: FileState = serde_json::from_value(old).unwrap();
        let state = next(Some(old.clone()), &keeper(), 1000).unwrap();
        assert_eq!((state.file.as_str(), state.version), ("", VERSION));
        assert!(
            next(Some(FileState { version: 3, ..old }), &keeper(), 1000).unwrap_err().contains("version 3")
        );
    }

    #[test]
    fn a_key_keeps_the_time_of_its_first_run() {
        let first = next(None, &keeper(), 1000).unwrap();
        let keys = ["b", "c"].into_iter();
        let second = first.next(&keeper(), keys, 2000).unwrap();
        assert_eq!(
            second.keys,
            [("a", 1000), ("b", 1000), ("c", 2000)].map(|(k, t)| (k.to_owned(), t)).into()
        );
    }

    #[test]
    fn another_ledger_or_caller_is_refused() {
        let first = next(None, &keeper(), 1000).unwrap();
        let other = Keeper { ledger: "l2".into(), location: "b.db".into(), ..keeper() };
        let message = next(Some(first.clone()), &other, 1000).unwrap_err();
        assert!(["l1", "a.db", "l2", "b.db", "twice"].iter().all(|says| message.contains(says)), "{message}");
        let message = next(Some(first), &Keeper { caller: "bot".into(), ..keeper() }, 1000).unwrap_err();
        assert!(message.contains("nobody by name") && message.contains("\"bot\""), "{message}");
    }

    #[test]
    fn past_the_retention_nothing_is_sent() {
        let first = next(None, &keeper(), 0).unwrap();
        let last_ms = 24 * HOUR_MS - MARGIN_MS;
        assert!(next(Some(first.clone()), &keeper(), last_ms - 1).is_ok());
        assert!(next(Some(first.clone()), &keeper(), last_ms).unwrap_err().contains("24 h"));
        assert!(first.may_send("a", last_ms - 1) && !first.may_send("a", last_ms) && !first.may_send("z", 0));
        // What an earlier, shorter retention may have dropped doesn't come back with a longer one.
        let short = Keeper { retention_ms: HOUR_MS, ..keeper() };
        let first = next(None, &short, 0).unwrap();
        assert!(next(Some(first), &keeper(), 2 * HOUR_MS).unwrap_err().contains("1 h"));
    }

    /// A clock that was days ahead and is set right leaves nobody who could say how long ago that was.
    #[test]
    fn a_time_that_is_still_to_come_says_nothing() {
        let first = next(None, &keeper(), 72 * HOUR_MS).unwrap();
        assert!(first.may_send("a", 72 * HOUR_MS - MARGIN_MS) && !first.may_send("a", HOUR_MS));
        assert!(next(Some(first), &keeper(), HOUR_MS).unwrap_err().contains("clock"));
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_of(&dir.path().join("c.jsonl"));
        assert_eq!(path.file_name().unwrap(), "c.jsonl.state");
        assert_eq!(FileState::read(&path).unwrap(), None);
        let state = next(None, &keeper(), 7).unwrap();
        state.write(&path, true).unwrap();
        assert!(state.write(&path, true).unwrap_err().0.contains("another run"));
        state.write(&path, false).unwrap();
        assert_eq!(FileState::read(&path).unwrap(), Some(state));
        std::fs::write(&path, "{").unwrap();
        assert!(FileState::read(&path).is_err());
    }
}
