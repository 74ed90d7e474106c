//! One worker process, and the lines that go to it and come from it.

use futures_util::StreamExt;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use serde::Deserialize;
use serde_json::Value;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio_util::codec::{FramedRead, LinesCodec};

/// Longest line that is read, in bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Lines about other requests that are read past before the worker counts as broken.
const MOST_STRAY_LINES: u32 = 64;

/// How long after its last word a worker may take to have ended.
const EXIT_PATIENCE: Duration = Duration::from_millis(200);

/// What a line of the worker says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(super) struct WorkerLine {
    #[serde(default)]
    id: Option<String>,
    /// `ready`: everything is prepared, and only the irreversible click is missing.
    #[serde(default)]
    pub(super) event: Option<String>,
    /// Comes with the end of a request.
    #[serde(default)]
    pub(super) ok: Option<bool>,
    #[serde(default)]
    pub(super) error_code: Option<i64>,
    #[serde(default)]
    pub(super) error_message: String,
}

impl WorkerLine {
    fn read(text: &str) -> Result<Self, String> {
        commentd_channels::json::read_as(text.as_bytes())
    }
}

/// Why no line came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkerError {
    /// Not in time: it hangs.
    Late(Duration),
    /// It ended, or said something that is no line of the protocol.
    Broken(String),
}

impl std::fmt::Display for WorkerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WorkerError::Late(patience) => {
                write!(f, "the worker said nothing for {} ms", patience.as_millis())
            }
            WorkerError::Broken(reason) => write!(f, "the worker failed: {reason}"),
        }
    }
}

/// How far the worker has come with what it was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkerStage {
    /// It waits for work.
    Idle,
    /// It has a comment and no `go`: any other line than `go` tells it to give up.
    Preparing,
    /// A line is being written, or it has its `go`. If its user leaves now, nobody knows what it will do.
    Bound,
}

/// A worker. Dropping it ends its whole process group (on Windows: its job, which also ends with this process).
pub(super) struct Worker {
    child: Option<Box<dyn ChildWrapper>>,
    stdin: ChildStdin,
    lines: FramedRead<ChildStdout, LinesCodec>,
    pub(super) stage: WorkerStage,
}

impl Worker {
    /// Starts it. What it writes to stderr goes to ours.
    pub(super) fn start(command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the command is empty"))?;
        let mut wrapped = CommandWrap::with_new(program, |command| {
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        });
        #[cfg(unix)]
        wrapped.wrap(process_wrap::tokio::ProcessGroup::leader());
        #[cfg(windows)]
        wrapped.wrap(process_wrap::tokio::JobObject);
        wrapped.wrap(process_wrap::tokio::KillOnDrop);
        let mut child = wrapped.spawn()?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(io::Error::other("its standard streams can't be had"));
        };
        let lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
        Ok(Self { child: Some(child), stdin, lines, stage: WorkerStage::Idle })
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// How it has ended, if that is known soon.
    async fn status(&mut self) -> String {
        let Some(child) = self.child.as_mut() else { return String::new() };
        match tokio::time::timeout(EXIT_PATIENCE, child.wait()).await {
            Ok(Ok(status)) => format!(" ({status})"),
            Ok(Err(_)) | Err(_) => String::new(),
        }
    }

    /// Writes a line, and leaves the worker at that stage.
    pub(super) async fn tell(
        &mut self,
        line: &Value,
        then: WorkerStage,
        patience: Duration,
    ) -> Result<(), WorkerError> {
        self.stage = WorkerStage::Bound;
        let text = format!("{line}\n");
        let writing = async {
            self.stdin.write_all(text.as_bytes()).await?;
            self.stdin.flush().await
        };
        match tokio::time::timeout(patience, writing).await {
            Ok(Ok(())) => {
                self.stage = then;
                Ok(())
            }
            Ok(Err(error)) => Err(WorkerError::Broken(format!("it doesn't listen any more: {error}"))),
            Err(_) => Err(WorkerError::Late(patience)),
        }
    }

    /// The next line about this request, at most this long.
    pub(super) async fn hear(&mut self, id: &str, patience: Duration) -> Result<WorkerLine, WorkerError> {
        match tokio::time::timeout(patience, self.next_about(id)).await {
            Ok(line) => line,
            Err(_) => Err(WorkerError::Late(patience)),
        }
    }

    async fn next_about(&mut self, id: &str) -> Result<WorkerLine, WorkerError> {
        for _ in 0..MOST_STRAY_LINES {
            let text = match self.lines.next().await {
                Some(Ok(text)) => text,
                Some(Err(error)) => return Err(WorkerError::Broken(error.to_string())),
                None => {
                    let status = self.status().await;
                    return Err(WorkerError::Broken(format!(
                        "it ended{status}; what it wrote to stderr stands in the log, or run the command of \
                         --real-ui-command by hand"
                    )));
                }
            };
            let line = WorkerLine::read(&text)
                .map_err(|error| WorkerError::Broken(format!("it wrote no line of the protocol: {error}")))?;
            if line.id.as_deref() == Some(id) {
                return Ok(line);
            }
            tracing::debug!(id, said = ?line.id, "the worker speaks of something else first");
        }
        Err(WorkerError::Broken("it speaks only of what nobody asks any more".into()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Err(error) = child.start_kill() {
            tracing::debug!(%error, "the UI worker had ended already");
        }
        // Reaped in the background; where the runtime is gone, the system does it once we are.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = child.wait().await {
                    tracing::debug!(%error, "the end of the UI worker can't be waited for");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_a_thing_twice_is_none_of_the_protocol() {
        for line in [
            r#"{"id":"a","ok":false,"error_code":20,"ok":true}"#,
            r#"{"id":"a","event":"ready","more":{"x":1,"x":2}}"#,
        ] {
            let error = WorkerLine::read(line).unwrap_err();
            assert!(error.contains("comes twice"), "{line}: {error}");
        }
        assert_eq!(WorkerLine::read(r#"{"id":"a","ok":true}"#).unwrap().ok, Some(true));
    }
}
