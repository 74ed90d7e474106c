//! Logs: to stderr, for people or as JSON.

use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;

/// Starts logging. `level` is an `EnvFilter` directive such as `info` or `commentd_sidecar=debug`. Colours are for
/// terminals, and for nobody who has set `NO_COLOR`.
pub(crate) fn start(level: &str, json: bool) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(stderr);
    // A second start, in a test of several commands, keeps the first one's settings.
    let _ = if json { logs.json().try_init() } else { logs.with_target(false).try_init() };
}
