//! The one place that writes to stdout and stderr. Logs go their own way.

//! Nothing that it writes can steer a terminal, whoever wrote it first.

use commentd_contract::terminal;
use std::io::{IsTerminal, Write};

/// Writes a line to stdout. A reader that has gone away is no fault of ours.
pub(crate) fn say(text: &str) {
    write_line(&terminal::lines(text));
}

/// The same for JSON, which means what it meant.
pub(crate) fn say_json(json: &str) {
    write_line(&terminal::json(json));
}

/// The same for what belongs into a file: changed only where a terminal reads it.
pub(crate) fn say_as_it_is(text: &str) {
    if std::io::stdout().is_terminal() { say(text) } else { write_line(text) }
}

fn write_line(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a question to stderr, without ending the line.
pub(crate) fn ask(question: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "{}", terminal::lines(question));
    let _ = stderr.flush();
}

/// Writes an error to stderr.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "commentd: {}", terminal::lines(text));
}

/// Writes a warning to stderr.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "commentd: warning: {}", terminal::lines(text));
}
