//! What a command comes to.

use commentd_sidecar::config::ConfigError;

/// The exit code of a command that could not do its work.
pub const COULD_NOT_RUN: u8 = 2;

/// What a command came to: an exit code, or why it could not run.
pub(crate) type CommandResult = Result<u8, Failure>;

/// Why a command could not do its work; the text is for people.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// All that is wrong with the configuration, a line each.
pub(crate) fn config_failure(errors: Vec<ConfigError>) -> Failure {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Failure(lines.join("\ncommentd: "))
}

/// The system gives no thread.
pub(crate) fn no_threads(error: &std::io::Error) -> Failure {
    Failure(format!(
        "the system gives no more threads ({error}), and commentd needs some; see ulimit -u, or the container's limit of \
         processes"
    ))
}
