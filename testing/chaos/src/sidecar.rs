//! The process that is killed.

use crate::error::ChaosError;
use crate::options::{ChannelKind, ChaosOptions};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// A start that takes longer has failed.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running sidecar.
#[derive(Debug)]
pub struct SidecarProcess {
    child: Child,
    /// `host:port`.
    pub address: String,
}

/// What came of starting one.
#[derive(Debug)]
pub enum StartResult {
    /// It listens.
    Running(Box<SidecarProcess>),
    /// It ended before it listened, as this status.
    Ended(ExitStatus),
}

impl SidecarProcess {
    /// Starts one in front of the channel at `url`. `failpoint` is what `COMMENTD_FAILPOINT` takes, `ledger_fault` what
    /// `COMMENTD_LEDGER_FAULT` takes.
    ///
    /// # Errors
    /// When it can't be started, or doesn't say for a minute where it listens.
    pub async fn start(
        options: &ChaosOptions,
        program: &Path,
        url: &str,
        failpoint: Option<&str>,
        ledger_fault: Option<&str>,
    ) -> Result<StartResult, ChaosError> {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("COMMENTD_") || text.starts_with("PYWEIXIN_") {
                command.env_remove(&name);
            }
        }
        let log = OpenOptions::new().create(true).append(true).open(options.state.join("serve.log"))?;
        command
            .args(["serve", "--port", "0", "--channel", options.channel.as_str(), "--channel-url", url])
            .arg("--ledger")
            .arg(options.state.join("ledger.db"))
            .args(["--lookups-per-second", "2000", "--log-level", "error"])
            .args(["--set", &format!("settles_within_s={}", options.settles_within_s)])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        match options.channel {
            ChannelKind::Board => command.args(["--native-timeout-ms", "400"]),
            ChannelKind::Isso => {
                command.args(["--set", "website=https://example.org", "--set", "unmoderated=true"])
            }
        };
        if let Some(failpoint) = failpoint {
            command.env("COMMENTD_FAILPOINT", failpoint);
        }
        if let Some(fault) = ledger_fault {
            command.env("COMMENTD_LEDGER_FAULT", fault);
        }
        if let Some(rule) = &options.without {
            command.env("COMMENTD_WITHOUT", rule);
        }
        let mut child = command
            .spawn()
            .map_err(|error| ChaosError(format!("{} can't be started: {error}", program.display())))?;
        let stdout = child.stdout.take().ok_or_else(|| ChaosError("the sidecar has no stdout".into()))?;
        let found = tokio::time::timeout(START_LIMIT, address(BufReader::new(stdout).lines())).await;
        match found.map_err(|_| ChaosError("the sidecar doesn't say where it listens".into()))?? {
            Some(address) => Ok(StartResult::Running(Box::new(Self { child, address }))),
            None => Ok(StartResult::Ended(child.wait().await?)),
        }
    }

    /// Waits until the process ends by itself. Cancel safe.
    ///
    /// # Errors
    /// When it can't be waited for.
    pub async fn ended(&mut self) -> Result<ExitStatus, ChaosError> {
        Ok(self.child.wait().await?)
    }

    /// `kill -9`, and waits for the end. The status is that of the process if it had ended before.
    ///
    /// # Errors
    /// When it can't be killed or waited for.
    pub async fn kill(mut self) -> Result<Option<ExitStatus>, ChaosError> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        self.child.kill().await?;
        Ok(None)
    }
}

/// Where it listens; `None` if it ended before it said so.
async fn address(mut lines: Lines<BufReader<ChildStdout>>) -> Result<Option<String>, ChaosError> {
    while let Some(line) = lines.next_line().await? {
        if let Some((_, after)) = line.split_once("listening on http://") {
            let address = after.split_whitespace().next().unwrap_or_default().to_owned();
            // Whatever else it says must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(Some(address));
        }
    }
    Ok(None)
}
