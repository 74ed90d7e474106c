//! Parse, run, exit.

use commentd::cli::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    commentd::run(Cli::from_command_line())
}
