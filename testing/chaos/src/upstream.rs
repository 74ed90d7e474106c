//! The channel behind the sidecar. It outlives the sidecar's lives, and its own database is its record.

use crate::error::ChaosError;
use crate::options::{ChannelKind, ChaosOptions};
use crate::state::RunState;
use commentd_board::{Board, BoardOptions, Fault, FaultPlan, FaultRule};
use commentd_checker::ChannelRecord;
use commentd_checker::channel::{ChannelComment, ChannelFault};
use commentd_contract::Outcome;
use rusqlite::{Connection, OpenFlags, Row};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long Isso may take to answer for the first time.
const ISSO_START_LIMIT: Duration = Duration::from_secs(60);
/// How long the board may take to make up its mind about everything it has received.
const BOARD_END_LIMIT: Duration = Duration::from_secs(60);

/// A running channel.
#[derive(Debug)]
pub struct Upstream {
    /// `http://host:port`.
    pub url: String,
    /// Its database.
    database: PathBuf,
    settles_within_s: u64,
    kind: ChannelProcess,
}

#[derive(Debug)]
enum ChannelProcess {
    Board { board: Board, journal: PathBuf, stop: oneshot::Sender<()>, serving: JoinHandle<()> },
    Isso { child: Child },
}

impl Upstream {
    /// Starts the channel on the port that this run has for it.
    ///
    /// # Errors
    /// When it can't be started, or somebody else has the port.
    pub async fn start(options: &ChaosOptions, state: &RunState) -> Result<Self, ChaosError> {
        match options.channel {
            ChannelKind::Board => start_board(options, state).await,
            ChannelKind::Isso => start_isso(options, state).await,
        }
    }

    /// Ends the channel once it has stored all that it is still going to store, and gives its record.
    ///
    /// # Errors
    /// When its database can't be read.
    pub async fn end(self) -> Result<ChannelRecord, ChaosError> {
        let settles_within_ms = self.settles_within_s * 1000;
        match self.kind {
            ChannelProcess::Board { board, journal, stop, serving } => {
                let mut counters = board.watch();
                let done = counters.wait_for(|counters| counters.in_flight == 0);
                let done = tokio::time::timeout(BOARD_END_LIMIT, done).await;
                done.map_err(|_| ChaosError("the board still has posts in flight".into()))??;
                drop(stop);
                serving.await?;
                let stored = read(
                    &self.database,
                    "SELECT id, text, stored_at_ms, state FROM comment ORDER BY id",
                    |row| {
                        let stands = match row.get::<_, String>(3)?.as_str() {
                            "held" => Outcome::Held,
                            _ => Outcome::Delivered,
                        };
                        stored(row, u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0), stands)
                    },
                )?;
                Ok(ChannelRecord::new(stored, noted(&journal)?, settles_within_ms))
            }
            ChannelProcess::Isso { mut child } => {
                child.kill().await?;
                let stored = read(
                    &self.database,
                    "SELECT id, text, created, mode FROM comments ORDER BY id",
                    |row| {
                        let stands =
                            if row.get::<_, i64>(3)? == 2 { Outcome::Held } else { Outcome::Delivered };
                        stored(row, whole_ms(row.get(2)?), stands)
                    },
                )?;
                Ok(ChannelRecord::new(stored, [], settles_within_ms))
            }
        }
    }
}

fn stored(row: &Row<'_>, stored_at_ms: u64, stands: Outcome) -> rusqlite::Result<ChannelComment> {
    let id: i64 = row.get(0)?;
    Ok(ChannelComment { id: id.to_string(), text: row.get(1)?, stored_at_ms, stands: Some(stands) })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of our century, cut to whole ms"
)]
fn whole_ms(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

fn read(
    database: &Path,
    sql: &str,
    row: impl Fn(&Row<'_>) -> rusqlite::Result<ChannelComment>,
) -> Result<Vec<ChannelComment>, ChaosError> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |found| row(found))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The faults that the board has written down. A last line that was cut off with its writer is left out.
fn noted(journal: &Path) -> Result<Vec<ChannelFault>, ChaosError> {
    let lines = BufReader::new(std::fs::File::open(journal)?).lines();
    let mut noted = Vec::new();
    for line in lines {
        noted.extend(serde_json::from_str(&line?).ok());
    }
    Ok(noted)
}

/// Every fault that the board can make. The sidecar gives an attempt 400 ms, and is told `settles_within_s`.
fn faults(settles_within_s: u64) -> FaultPlan {
    let share = FaultRule::ratio;
    // Absence is proved at the earliest after one and a half times what the board says; this is beyond.
    let beyond_ms = settles_within_s * 1500 + 2000;
    let rules = vec![
        share(Fault::CutBefore, 0.02),
        share(Fault::CutAfter, 0.03),
        share(Fault::ErrorBefore, 0.02),
        share(Fault::ErrorAfter, 0.02),
        share(Fault::Throttle { retry_after_s: 0 }, 0.02),
        share(Fault::Garbage, 0.015),
        share(Fault::WrongEcho, 0.015),
        share(Fault::SlowHeaders { hold_ms: 600 }, 0.005),
        share(Fault::SlowBody { hold_ms: 600 }, 0.005),
        share(Fault::StoreLate { hold_ms: 3000, late_ms: 50 }, 0.005),
        share(Fault::StoreLate { hold_ms: 3000, late_ms: settles_within_s * 400 }, 0.005),
        share(Fault::StoreLate { hold_ms: 3000, late_ms: beyond_ms }, 0.0005),
        share(Fault::Filtered, 0.015),
        share(Fault::RefuseAfter, 0.002),
        share(Fault::Hang, 0.005),
    ];
    FaultPlan { latency_ms: 1, jitter_ms: 1, fail_ratio: 0.0, rules }
}

async fn start_board(options: &ChaosOptions, state: &RunState) -> Result<Upstream, ChaosError> {
    let database = options.state.join("board.db");
    let journal = options.state.join("board-faults.jsonl");
    let board = Board::open(BoardOptions {
        database: Some(database.clone()),
        faults: faults(options.settles_within_s),
        // The board counts its requests from 1 at each start; another seed keeps the draws from being the same.
        seed: options.seed.wrapping_add(state.starts << 32),
        deduplicate: false,
        journal: Some(journal.clone()),
    })?;
    let listener = TcpListener::bind(("127.0.0.1", state.port)).await.map_err(|error| {
        ChaosError(format!("the board's port {} isn't free: {error}; try again in a minute", state.port))
    })?;
    let url = format!("http://127.0.0.1:{}", state.port);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn({
        let board = board.clone();
        async move {
            // Stopped by the sender's end, too.
            let _ = board.serve(listener, async { drop(stopped.await) }).await;
        }
    });
    let kind = ChannelProcess::Board { board, journal, stop, serving };
    Ok(Upstream { url, database, settles_within_s: options.settles_within_s, kind })
}

async fn start_isso(options: &ChaosOptions, state: &RunState) -> Result<Upstream, ChaosError> {
    let url = format!("http://127.0.0.1:{}", state.port);
    let database = options.state.join("isso.db");
    let config = options.state.join("isso.cfg");
    let text = format!(
        "[general]\ndbpath = {}\nhost = http://127.0.0.1/\n[moderation]\nenabled = false\n[server]\nlisten = {url}\n\
         [guard]\nenabled = false\n",
        database.display()
    );
    std::fs::write(&config, text)?;
    let child = Command::new(&options.isso)
        .arg("-c")
        .arg(&config)
        .arg("run")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            ChaosError(format!("--isso {}: {error}; scripts/test installs it", options.isso.display()))
        })?;
    let listening = async {
        while TcpStream::connect(("127.0.0.1", state.port)).await.is_err() {
            // It has no event to wait for.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(ISSO_START_LIMIT, listening)
        .await
        .map_err(|_| ChaosError(format!("Isso doesn't listen on {url}")))?;
    let kind = ChannelProcess::Isso { child };
    Ok(Upstream { url, database, settles_within_s: options.settles_within_s, kind })
}
