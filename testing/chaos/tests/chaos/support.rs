//! A board, the program with failpoints in front of it, and calls to it.

use commentd_board::{BoardOptions, FaultPlan, StoredComment};
use commentd_test_support::{RunningBoard, ServingProcess, process};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program to be killed.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_commentd-with-failpoints");

/// A board that ends with the test.
pub(crate) struct TestBoard {
    pub(crate) url: String,
    running: RunningBoard,
    runtime: tokio::runtime::Runtime,
}

impl TestBoard {
    pub(crate) fn honest() -> Self {
        Self::with(FaultPlan::default())
    }

    pub(crate) fn with(faults: FaultPlan) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let options = BoardOptions { faults, ..BoardOptions::default() };
        let running = runtime.block_on(RunningBoard::start(options));
        Self { url: running.url(), running, runtime }
    }

    /// All comments of a target.
    pub(crate) fn comments(&self, target: &str) -> Vec<StoredComment> {
        self.runtime.block_on(self.running.board.comments(target)).unwrap()
    }
}

/// The arguments of a sidecar in front of this board, on a ledger in this folder.
pub(crate) fn args(url: &str, folder: &Path) -> Vec<String> {
    let ledger = folder.join("ledger.db").display().to_string();
    let args = ["serve", "--port", "0", "--channel", "board", "--channel-url", url, "--ledger", &ledger];
    args.into_iter().chain(["--log-level", "error"]).map(str::to_owned).collect()
}

/// The program with these arguments, in an environment that says nothing about commentd.
pub(crate) fn command(url: &str, folder: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    process::clear_settings(&mut command);
    command.args(args(url, folder)).stdin(Stdio::null());
    command
}

/// Posts a batch of these comments under this key; gives status and reply.
pub(crate) fn batch(
    sidecar: &ServingProcess,
    key: &str,
    comments: &[&str],
    deadline_ms: u64,
) -> (u16, Value) {
    try_batch(sidecar, key, comments, deadline_ms).unwrap()
}

/// As [`batch`]; an error if no response comes.
pub(crate) fn try_batch(
    sidecar: &ServingProcess,
    key: &str,
    comments: &[&str],
    deadline_ms: u64,
) -> std::io::Result<(u16, Value)> {
    let body = serde_json::json!({
        "sns_id": "t", "comments": comments, "idempotency_key": key, "deadline_ms": deadline_ms,
    });
    let response = sidecar.client().try_post("/api/comment/batch", &body)?;
    Ok((response.status, response.json()))
}
