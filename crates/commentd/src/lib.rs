//! The `commentd` program. Everything it does is callable from here.

pub mod cli;
mod commands;
mod console;
mod logging;
mod signals;

use cli::{Cli, Command};
use std::process::ExitCode;

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
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(Failure(message)) => {
            console::complain(&message);
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn in_runtime(command: impl Future<Output = Ended>) -> Ended {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)
}
