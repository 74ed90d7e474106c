//! A board that misbehaves by plan, and a sidecar in front of it that can be killed.

use super::{Board, HttpClient, ServingProcess, Sidecar, at};
use serde_json::{Value, json};
use std::path::PathBuf;
use tempfile::TempDir;

/// A board, and a sidecar in front of it with a ledger on disk.
pub struct Rig {
    pub board: ServingProcess,
    pub sidecar: ServingProcess,
    pub directory: TempDir,
    channel: String,
    args: Vec<String>,
}

impl Rig {
    /// With this fault plan of the board and these arguments of the sidecar.
    pub fn start(faults: &str, args: &[&str]) -> Self {
        Self::over("board", faults, &[], args)
    }

    /// The same over this channel, with these arguments of the board.
    pub fn over(channel: &str, faults: &str, board_args: &[&str], args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let plan = directory.path().join("faults.toml");
        std::fs::write(&plan, faults).unwrap();
        let mut all = vec!["--faults", plan.to_str().unwrap()];
        all.extend_from_slice(board_args);
        let board = Board::start(&all);
        let sidecar = Sidecar::for_channel(channel, &board.url, directory.path(), args);
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self { board, sidecar, directory, channel: channel.to_owned(), args }
    }

    /// `kill -9`, and a new sidecar on the same ledger.
    pub fn killed_and_restarted(self) -> Self {
        let Self { board, sidecar, directory, channel, args } = self;
        sidecar.kill();
        let given: Vec<&str> = args.iter().map(String::as_str).collect();
        let sidecar = Sidecar::for_channel(&channel, &board.url, directory.path(), &given);
        Self { board, sidecar, directory, channel, args }
    }

    pub fn client(&self) -> HttpClient {
        self.sidecar.client()
    }

    pub fn ledger(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    pub fn post(&self, comment: &Value) -> Value {
        let answer = self.sidecar.client().comment(comment);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    /// Lets one comment through, whose marker comes back: only where one was seen is a comment ever taken for absent.
    #[track_caller]
    pub fn let_first_through(&self) {
        assert_outcome(&self.post(&comment("first", "first")), "delivered", false);
    }

    pub fn texts(&self) -> Vec<String> {
        let comments = Board::comments(&self.board.url, "t");
        comments.iter().map(|comment| comment["text"].as_str().unwrap().to_owned()).collect()
    }

    /// How many comments the board was sent, whatever it did with them.
    pub fn received(&self) -> u64 {
        Board::counter(&self.board.url, "received")
    }

    pub fn stored(&self) -> u64 {
        Board::counter(&self.board.url, "stored")
    }
}

/// A comment to the board's target `t`, with time enough.
pub fn comment(content: &str, key: &str) -> Value {
    json!({"content": content, "sns_id": "t", "idempotency_key": key, "deadline_ms": 20_000})
}

#[track_caller]
pub fn assert_outcome(reply: &Value, outcome: &str, replayed: bool) {
    assert_eq!(at(reply, "data.outcome"), outcome, "{reply:#}");
    assert_eq!(at(reply, "data.replayed"), replayed, "{reply:#}");
}
