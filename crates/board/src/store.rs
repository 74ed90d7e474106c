//! What the board has stored: one SQLite database behind one lock, used from blocking threads only.

use crate::error::BoardError;
use commentd_contract::SystemClock;
use commentd_contract::time::Clock;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Marks our files ("cdbd"), so that another program's database is never written to.
const APPLICATION_ID: i64 = 0x6364_6264;
const SCHEMA_VERSION: i64 = 1;
const BUSY_TIMEOUT_MS: u64 = 5000;

const SCHEMA: &str = "
    CREATE TABLE comment (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        target       TEXT NOT NULL,
        text         TEXT NOT NULL,
        author       TEXT NOT NULL,
        parent       INTEGER REFERENCES comment (id),
        marker       TEXT NOT NULL,
        state        TEXT NOT NULL,
        stored_at_ms INTEGER NOT NULL,
        key          TEXT,
        key_index    INTEGER NOT NULL
    );
    CREATE INDEX comment_by_target ON comment (target, id);
    CREATE UNIQUE INDEX comment_by_key ON comment (key, key_index) WHERE key IS NOT NULL;
";
const COLUMNS: &str = "id, target, text, author, parent, marker, state, stored_at_ms";

/// A comment as the board keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredComment {
    /// The board's id, a decimal number as text; never used twice in one database.
    pub id: String,
    /// What the comment belongs to; may be empty in the v1 shape only.
    pub target: String,
    /// The comment.
    pub text: String,
    /// The author that the request named; empty for none.
    pub author: String,
    /// The id of the comment that this one answers; empty for none.
    pub parent: String,
    /// The marker that the request carried; empty for none.
    pub marker: String,
    /// Whether readers see it; `shown` for every comment.
    pub state: String,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub stored_at_ms: u64,
}

/// A comment to be stored, its fields within limits.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewComment {
    pub(crate) target: String,
    pub(crate) text: String,
    pub(crate) author: String,
    pub(crate) parent: String,
    pub(crate) marker: String,
}

/// What became of one comment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AddResult {
    Stored(StoredComment),
    /// The key was used before: this is what is stored under it.
    Repeated(StoredComment),
    /// The comment that it answers isn't there.
    ParentMissing,
    /// It has no text.
    Empty,
}

impl AddResult {
    pub(crate) fn comment(&self) -> Option<&StoredComment> {
        match self {
            AddResult::Stored(comment) | AddResult::Repeated(comment) => Some(comment),
            _ => None,
        }
    }

    pub(crate) fn comment_mut(&mut self) -> Option<&mut StoredComment> {
        match self {
            AddResult::Stored(comment) | AddResult::Repeated(comment) => Some(comment),
            _ => None,
        }
    }
}

/// A page of comments, in the order that was asked for.
#[derive(Debug)]
pub(crate) struct CommentPage {
    /// How many there are, on the page or not.
    pub(crate) total: u64,
    pub(crate) comments: Vec<StoredComment>,
}

/// A handle on the database; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
    file: Option<PathBuf>,
    clock: SystemClock,
}

impl Store {
    /// Opens or creates the database; in memory without a file.
    pub(crate) fn open(file: Option<&Path>, clock: SystemClock) -> Result<Self, BoardError> {
        let failed = |source| BoardError::Database { file: file.map(Path::to_owned), source };
        let connection = match file {
            Some(path) => Connection::open(path),
            None => Connection::open_in_memory(),
        }
        .map_err(failed)?;
        connection.busy_timeout(Duration::from_millis(BUSY_TIMEOUT_MS)).map_err(failed)?;
        let version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
        let application: i64 =
            connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(failed)?;
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed)?;
        if let Some(path) = file {
            if tables > 0 && application != APPLICATION_ID {
                return Err(BoardError::ForeignDatabase { file: path.to_owned() });
            }
            if version > SCHEMA_VERSION {
                let file = path.to_owned();
                return Err(BoardError::NewerDatabase { file, found: version, known: SCHEMA_VERSION });
            }
        }
        if tables == 0 {
            create(&connection).map_err(failed)?;
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)), file: file.map(Path::to_owned), clock })
    }

    /// Runs `work` on a blocking thread with the database to itself. Once started it runs to its end, whether
    /// or not anyone still waits.
    async fn run<T, F>(&self, work: F) -> Result<T, BoardError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let connection = Arc::clone(&self.connection);
        let done = tokio::task::spawn_blocking(move || {
            // A panic elsewhere leaves SQLite's own state whole.
            work(&connection.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await;
        match done {
            Ok(result) => result.map_err(|source| BoardError::Database { file: self.file.clone(), source }),
            Err(_) => Err(BoardError::Stopped),
        }
    }

    /// Stores the comments one after the other. With a key, what is already stored under it is returned instead.
    pub(crate) async fn add(
        &self,
        comments: Vec<NewComment>,
        key: Option<String>,
    ) -> Result<Vec<AddResult>, BoardError> {
        let clock = self.clock;
        self.run(move |connection| {
            let add = |(index, comment)| add_one(connection, comment, key.as_deref(), index, clock.unix_ms());
            comments.iter().enumerate().map(add).collect()
        })
        .await
    }

    /// The comments of a target, oldest first, at most `limit`; with a marker only those that carry it, and, if
    /// `unmarked`, those that carry none.
    pub(crate) async fn list(
        &self,
        target: String,
        marker: Option<String>,
        unmarked: bool,
        limit: usize,
    ) -> Result<CommentPage, BoardError> {
        self.run(move |connection| {
            let filter =
                "FROM comment WHERE target = ?1 AND (?2 IS NULL OR marker = ?2 OR (?3 AND marker = ''))";
            let total = connection
                .prepare_cached(&format!("SELECT count(*) {filter}"))?
                .query_row(params![target, marker, unmarked], count)?;
            let comments = connection
                .prepare_cached(&format!("SELECT {COLUMNS} {filter} ORDER BY id LIMIT ?4"))?
                .query_map(params![target, marker, unmarked, saturated(limit)], read)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(CommentPage { total, comments })
        })
        .await
    }

    /// The newest comments of all targets, newest first, and how many comments there are.
    pub(crate) async fn newest(&self, limit: usize) -> Result<CommentPage, BoardError> {
        self.run(move |connection| {
            let total = connection.prepare_cached("SELECT count(*) FROM comment")?.query_row([], count)?;
            let comments = connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM comment ORDER BY id DESC LIMIT ?1"))?
                .query_map([saturated(limit)], read)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(CommentPage { total, comments })
        })
        .await
    }

    /// The newest comment that is none of these.
    pub(crate) async fn other_than(&self, ids: Vec<String>) -> Result<Option<StoredComment>, BoardError> {
        self.run(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("SELECT {COLUMNS} FROM comment ORDER BY id DESC"))?;
            let mut rows = statement.query_map([], read)?;
            rows.find(|row| row.as_ref().map_or(true, |comment| !ids.contains(&comment.id))).transpose()
        })
        .await
    }
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(&format!(
        "BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    ))
}

fn add_one(
    connection: &Connection,
    comment: &NewComment,
    key: Option<&str>,
    index: usize,
    now_unix_ms: u64,
) -> rusqlite::Result<AddResult> {
    if comment.text.is_empty() {
        return Ok(AddResult::Empty);
    }
    if key.is_some() {
        let earlier = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM comment WHERE key = ?1 AND key_index = ?2"))?
            .query_row(params![key, saturated(index)], read)
            .optional()?;
        if let Some(earlier) = earlier {
            return Ok(AddResult::Repeated(earlier));
        }
    }
    let parent = match comment.parent.as_str() {
        "" => None,
        text => match find_parent(connection, text, &comment.target)? {
            None => return Ok(AddResult::ParentMissing),
            found => found,
        },
    };
    let stored = connection
        .prepare_cached(&format!(
            "INSERT INTO comment (target, text, author, parent, marker, state, stored_at_ms, key, key_index)
             VALUES (?1, ?2, ?3, ?4, ?5, 'shown', ?6, ?7, ?8) RETURNING {COLUMNS}"
        ))?
        .query_row(
            params![
                comment.target,
                comment.text,
                comment.author,
                parent,
                comment.marker,
                i64::try_from(now_unix_ms).unwrap_or(i64::MAX),
                key,
                saturated(index)
            ],
            read,
        )?;
    Ok(AddResult::Stored(stored))
}

/// A parent is a comment of the same target: an answer in another thread would be shown to nobody.
fn find_parent(connection: &Connection, id: &str, target: &str) -> rusqlite::Result<Option<i64>> {
    let Some(id) = id.parse::<i64>().ok().filter(|number| number.to_string() == id) else { return Ok(None) };
    connection
        .prepare_cached("SELECT id FROM comment WHERE id = ?1 AND target = ?2")?
        .query_row(params![id, target], |row| row.get(0))
        .optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredComment> {
    Ok(StoredComment {
        id: row.get::<_, i64>(0)?.to_string(),
        target: row.get(1)?,
        text: row.get(2)?,
        author: row.get(3)?,
        parent: row.get::<_, Option<i64>>(4)?.map_or_else(String::new, |id| id.to_string()),
        marker: row.get(5)?,
        state: row.get(6)?,
        stored_at_ms: u64::try_from(row.get::<_, i64>(7)?).unwrap_or(0),
    })
}

fn count(row: &Row<'_>) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0))
}

fn saturated(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> NewComment {
        NewComment { target: "t".into(), text: text.into(), ..NewComment::default() }
    }

    #[tokio::test]
    async fn a_file_keeps_its_comments_and_ids_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board.db");
        let first = Store::open(Some(&path), SystemClock::start())
            .unwrap()
            .add(vec![text("one")], None)
            .await
            .unwrap();
        let store = Store::open(Some(&path), SystemClock::start()).unwrap();
        let second = store.add(vec![text("two")], None).await.unwrap();
        assert!(matches!(first.as_slice(), [AddResult::Stored(comment)] if comment.id == "1"));
        assert!(matches!(second.as_slice(), [AddResult::Stored(comment)] if comment.id == "2"));
        assert_eq!(store.list("t".into(), None, false, 10).await.unwrap().total, 2);
    }

    #[test]
    fn another_programs_database_and_a_newer_one_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
        let error = Store::open(Some(&foreign), SystemClock::start()).unwrap_err();
        assert!(matches!(error, BoardError::ForeignDatabase { .. }), "{error}");

        let newer = folder.path().join("newer.db");
        drop(Store::open(Some(&newer), SystemClock::start()).unwrap());
        Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
        let error = Store::open(Some(&newer), SystemClock::start()).unwrap_err();
        assert!(matches!(error, BoardError::NewerDatabase { found: 2, known: 1, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_parent_must_exist_in_the_same_target() {
        let store = Store::open(None, SystemClock::start()).unwrap();
        store.add(vec![text("one")], None).await.unwrap();
        for (parent, target) in [("1", "u"), ("2", "t"), ("01", "t"), ("-1", "t"), ("x", "t")] {
            let reply = NewComment { parent: parent.into(), target: target.into(), ..text("answer") };
            let added = store.add(vec![reply], None).await.unwrap();
            assert_eq!(added, [AddResult::ParentMissing], "{parent} in {target}");
        }
        let reply = NewComment { parent: "1".into(), ..text("answer") };
        let added = store.add(vec![reply], None).await.unwrap();
        assert!(matches!(added.as_slice(), [AddResult::Stored(comment)] if comment.parent == "1"));
        assert_eq!(store.newest(10).await.unwrap().total, 2);
    }
}
