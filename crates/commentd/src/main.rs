//! Parse, run, exit.

use commentd::cli::Cli;
use std::process::ExitCode;

/// A delivery makes some hundreds of small allocations, and the system's allocator took a fifth of its time.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::from_command_line().run()
}
