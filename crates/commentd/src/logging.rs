//! Logs: to stderr, for people or as JSON.

use tracing_subscriber::EnvFilter;

/// Starts logging. `level` is an `EnvFilter` directive such as `info` or `commentd_sidecar=debug`.
pub(crate) fn start(level: &str, json: bool) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, in a test of several commands, keeps the first one's settings.
    let _ = if json { logs.json().try_init() } else { logs.with_target(false).try_init() };
}
