//! Why an acceptance run could not run, and what the process exits with.

use commentd_contract::ProviderName;
use commentd_contract::report::Report;
use std::fmt;
use std::path::PathBuf;

/// Why there is no judgement. A failed round is none of these: it is in the report.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// A setting is not allowed.
    Setting {
        /// The flag that sets it, dashes included.
        flag: &'static str,
        /// Where the value came from, for people.
        source: String,
        /// What it is and what is allowed.
        message: String,
    },
    /// A file that a flag names can't be used.
    File {
        /// The flag that names it, dashes included.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The sidecar's `/health` gave no usable answer.
    Sidecar {
        /// The address asked, without credentials.
        url: String,
        /// What happened.
        message: String,
    },
    /// `--require-provider-match`, and the sidecar serves another provider.
    ProviderMismatch {
        /// What `--http-provider` asks for.
        expected: ProviderName,
        /// What `/health` says.
        found: String,
    },
    /// `--verify` without a [`Reader`](crate::Reader).
    NoReader,
    /// The operating system gave no random bytes for the run id.
    Random(String),
    /// The report could not be written.
    Report {
        /// Where it should have gone.
        path: PathBuf,
        /// What happened.
        message: String,
    },
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcceptError::Setting { flag, source, message } => write!(f, "{flag} ({source}): {message}"),
            AcceptError::File { flag, path, message } => write!(f, "{flag} {}: {message}", path.display()),
            AcceptError::Sidecar { url, message } => write!(
                f,
                "the sidecar at {url} gave no usable /health: {message}; start it with `commentd serve` or \
                 name its address with --http-base-url"
            ),
            AcceptError::ProviderMismatch { expected, found } => write!(
                f,
                "provider mismatch: --http-provider asks for {expected}, the sidecar serves {found}; name its \
                 provider, or leave out --require-provider-match"
            ),
            AcceptError::NoReader => f.write_str(
                "--verify: there is nothing to read the target back with; name a channel that has a lookup",
            ),
            AcceptError::Random(message) => write!(f, "no random bytes for the run id: {message}"),
            AcceptError::Report { path, message } => write!(
                f,
                "the report could not be written to {}: {message}; name another place with --report-file",
                path.display()
            ),
        }
    }
}

impl std::error::Error for AcceptError {}

/// The process's exit code: 0 goal passed, 1 not passed, 2 could not run.
pub fn exit_code(result: &Result<Report, AcceptError>) -> u8 {
    match result {
        Ok(report) if report.summary.goal_passed => 0,
        Ok(_) => 1,
        Err(_) => 2,
    }
}
