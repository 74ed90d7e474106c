//! The one place that writes to stdout and stderr. Logs go their own way.

use std::io::Write;

/// Writes a line to stdout. A reader that has gone away is no fault of ours.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes an error to stderr.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "commentd: {text}");
}

/// Writes a warning to stderr.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "commentd: warning: {text}");
}
