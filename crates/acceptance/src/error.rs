//! Why an acceptance run could not run, and what the process exits with.

use commentd_contract::ProviderName;
use commentd_contract::report::Report;
use std::path::PathBuf;

/// Why there is no judgement. A failed round is none of these: it is in the report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// A setting is not allowed.
    #[error("{flag} ({given_by}): {message}")]
    Setting {
        /// The flag that sets it, dashes included.
        flag: &'static str,
        /// Where the value came from, for people.
        given_by: String,
        /// What it is and what is allowed.
        message: String,
    },
    /// A file that a flag names can't be used.
    #[error("{flag} {}: {message}", path.display())]
    File {
        /// The flag that names it, dashes included.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The sidecar's `/health` gave no usable answer.
    #[error(
        "the sidecar at {url} gave no usable /health: {message}; start it with `commentd serve` or name its address \
         with --http-base-url"
    )]
    Sidecar {
        /// The address asked, without credentials.
        url: String,
        /// What happened.
        message: String,
    },
    /// `--require-provider-match`, and the sidecar serves another provider.
    #[error(
        "provider mismatch: --http-provider asks for {expected}, the sidecar serves {found}; name its provider, or \
         leave out --require-provider-match"
    )]
    ProviderMismatch {
        /// What `--http-provider` asks for.
        expected: ProviderName,
        /// What `/health` says.
        found: String,
    },
    /// `--verify` without a [`TargetReader`](crate::TargetReader).
    #[error("--verify: there is nothing to read the target back with; name a channel that has a lookup")]
    NoReader,
    /// The operating system gave no random bytes for the run id.
    #[error("no random bytes for the run id: {0}")]
    Random(String),
    /// The report could not be written.
    #[error(
        "the report could not be written to {}: {message}; name another place with --report-file",
        path.display()
    )]
    Report {
        /// Where it should have gone.
        path: PathBuf,
        /// What happened.
        message: String,
    },
}

/// The process's exit code: 0 goal passed, 1 not passed, 2 could not run.
pub fn exit_code(result: &Result<Report, AcceptError>) -> u8 {
    match result {
        Ok(report) if report.summary.goal_passed => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}
