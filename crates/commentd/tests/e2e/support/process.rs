//! `commentd` and its subcommands, as processes.

use super::{HttpClient, ServingProcess};
use commentd_test_support::process;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// The program itself.
pub struct Program;

impl Program {
    /// A command with these arguments in an environment that says nothing about commentd.
    pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
        let mut command = process::command(env!("CARGO_BIN_EXE_commentd"));
        command.args(args);
        command
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
        Self::command(args).output().unwrap()
    }
}

/// `commentd serve`.
pub struct Sidecar;

impl Sidecar {
    /// With these arguments, on a free port.
    pub fn start(args: &[&str]) -> ServingProcess {
        ServingProcess::start(Program::command(["serve", "--port", "0"].iter().chain(args)))
    }

    /// In front of a channel at `url`, with its ledger in this directory.
    pub fn for_channel(channel: &str, url: &str, directory: &Path, args: &[&str]) -> ServingProcess {
        let ledger = directory.join("ledger.db");
        let mut all = vec!["--channel", channel, "--channel-url", url, "--ledger", ledger.to_str().unwrap()];
        all.extend_from_slice(args);
        Self::start(&all)
    }
}

/// `commentd board`.
pub struct Board;

impl Board {
    /// With these arguments, on a free port.
    pub fn start(args: &[&str]) -> ServingProcess {
        ServingProcess::start(Program::command(["board"].iter().chain(args)))
    }

    /// What is on a board's target, as the board itself says.
    pub fn comments(url: &str, target: &str) -> Vec<serde_json::Value> {
        let path = format!("/api/comments?target={target}&limit=10000");
        HttpClient::new(url).get(&path).json()["comments"].as_array().unwrap().clone()
    }

    /// The board's counters.
    pub fn counter(url: &str, name: &str) -> u64 {
        HttpClient::new(url).get("/api/requests").json()[name].as_u64().unwrap()
    }
}
