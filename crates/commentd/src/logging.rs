//! Logs: to stderr, for people or as JSON, by way of the console.

use crate::console;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::EnvFilter;

/// What is logged, on its way to the console. It never fails, because the library would write of that to stderr itself.
struct Log {
    as_json: bool,
}

impl Write for Log {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        console::log(lines, self.as_json);
        Ok(lines.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts logging. `level` is an `EnvFilter` directive such as `info` or `commentd_sidecar=debug`. Colours are for
/// terminals, and for nobody who has set `NO_COLOR`.
pub(crate) fn start(level: &str, json: bool) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .log_internal_errors(false)
        .with_writer(move || Log { as_json: json });
    // A second start, in a test of several commands, keeps the first one's settings.
    let _ = if json { logs.json().try_init() } else { logs.with_target(false).try_init() };
}
