//! How the hook is spoken to.

/// The thread of the client on which the hook makes its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionMode {
    /// The one that was captured; the pipe's own where that was longer than ten seconds ago.
    Auto,
    /// The one that was captured.
    CaptureThread,
    /// The pipe's own.
    PipeThread,
}

impl ExecutionMode {
    /// The mode of this name; [`ExecutionMode::Auto`] if there is none.
    pub fn named(name: &str) -> Self {
        match name {
            "capture_thread" => Self::CaptureThread,
            "pipe_thread" => Self::PipeThread,
            _ => Self::Auto,
        }
    }
}

/// How the hook is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookOptions {
    /// The pipe's name on Windows, the socket's path elsewhere.
    pub pipe_name: String,
    /// What one exchange with the pipe may take, in ms: to connect, to answer a question, to comment.
    pub timeout_ms: u64,
    /// On which thread it makes its call.
    pub execution_mode: ExecutionMode,
    /// How long the hook itself waits for its call, in ms.
    pub wait_timeout_ms: u64,
    /// How the hook makes its call: `template`.
    pub arg1_mode: String,
    /// Whether the hook copies thread-local storage for its call.
    pub tls_copy: bool,
    /// Whether a comment that names neither target nor author goes to the post that was captured last.
    pub latest_sns_id: bool,
}
