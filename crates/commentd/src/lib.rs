//! The `commentd` program. Everything it does is callable from here.

pub mod cli;
mod commands;
mod console;
mod logging;
mod signals;

use cli::{Cli, Command};
use std::num::NonZero;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

/// What the end of a process leaves for the last lines of its log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The exit code of a command that could not do its work.
pub const COULD_NOT_RUN: u8 = 2;

/// Why a command could not do its work; the text is for people.
#[derive(Debug)]
pub struct Failure(pub String);

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a command came to: an exit code, or why it could not run.
pub type Ended = Result<u8, Failure>;

/// Runs the command and gives the process's exit code.
pub fn run(cli: Cli) -> ExitCode {
    let ended = match cli.command {
        Command::Channels(command) => commands::channels::run(&command),
        Command::Config(command) => commands::config::run(&command),
        Command::Completions(command) => Ok(commands::completions::run(&command)),
        Command::Serve(command) => in_runtime(commands::serve::run(command)),
        Command::Board(command) => in_runtime(commands::board::run(command)),
        Command::Accept(command) => in_runtime(commands::accept::run(*command)),
        Command::Post(command) => in_runtime(commands::post::run(*command)),
        Command::Deliveries(command) => in_runtime(commands::deliveries::run(*command)),
        Command::Demo(command) => in_runtime(commands::demo::run(command)),
    };
    let code = match ended {
        Ok(code) => code,
        Err(Failure(message)) => {
            console::complain(&message);
            COULD_NOT_RUN
        }
    };
    console::flush(LAST_LINES);
    ExitCode::from(code)
}

fn in_runtime(command: impl Future<Output = Ended>) -> Ended {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    check_threads(threads + 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let ended = runtime.block_on(command);
    // A call of the system that hangs, on a disk that doesn't answer, must not keep the process.
    runtime.shutdown_background();
    ended
}

/// The system gives no thread.
pub(crate) fn no_threads(error: &std::io::Error) -> Failure {
    Failure(format!(
        "the system gives no more threads ({error}), and commentd needs some; see ulimit -u, or the container's limit of \
         processes"
    ))
}

/// Whether there are as many threads as a runtime needs. It would panic for want of the first, and of the others leave
/// what they should do undone.
fn check_threads(count: usize) -> Result<(), Failure> {
    let mut started = Vec::with_capacity(count);
    for _ in 0..count {
        let (end, ends) = channel::<()>();
        let thread =
            thread::Builder::new().spawn(move || ends.recv().is_ok()).map_err(|error| no_threads(&error))?;
        started.push((end, thread));
    }
    for (end, thread) in started {
        drop(end);
        let _ = thread.join();
    }
    Ok(())
}
