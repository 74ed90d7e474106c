//! The command line, and what runs for it.

use crate::commands::{accept, board, channels, completions, config, deliveries, demo, post, serve};
use crate::console;
use crate::failure::{COULD_NOT_RUN, Failure};
use crate::runtime::in_runtime;
use clap::{CommandFactory, Parser};
use commentd_sidecar::config::clap::take_old_ui_flags;
use std::process::ExitCode;
use std::time::Duration;

/// How long the end of a process waits for the last lines of its log.
const LAST_LINES: Duration = Duration::from_millis(500);

/// What scripts may rely on.
const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 not passed, or not delivered; 2 could not run; 3 unknown: none or one is there";

/// Deliver comments through whatever channel can carry them: once, and before a deadline
#[derive(Debug, Parser)]
#[command(
    name = "commentd", version, max_term_width = 110, disable_help_subcommand = true, after_help = EXIT_CODES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Run the sidecar
    Serve(serve::ServeArgs),
    /// Show the whole thing on this machine: a board, a sidecar, five rounds of ten comments, each there once
    #[command(after_help = EXIT_CODES)]
    Demo(demo::DemoArgs),
    /// Judge a running sidecar: rounds of batches, a report, exit 0 if the goal is passed
    #[command(after_help = EXIT_CODES)]
    Accept(Box<accept::AcceptCommand>),
    /// Post one comment, or a file of them that a second run goes on with; exit 0 if all are there, 1 if not, 3 if
    /// that is unknown, 2 if it could not run
    #[command(after_help = EXIT_CODES)]
    Post(Box<post::PostArgs>),
    /// Run a small comment service to post to, with faults on request
    Board(board::BoardArgs),
    /// Look at channels and check manifests
    #[command(subcommand)]
    Channels(channels::ChannelsCommand),
    /// See deliveries, and settle those that are unknown
    #[command(subcommand, after_help = EXIT_CODES)]
    Deliveries(Box<deliveries::DeliveriesCommand>),
    /// Show the configuration that `serve` would run with
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a shell's completions
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Parses the process's arguments; on an error, prints it and ends the process with 2.
    pub fn from_command_line() -> Self {
        let (args, old_flags) = take_old_ui_flags(std::env::args_os());
        let mut cli = Self::parse_from(args);
        if let Command::Serve(serve) = &mut cli.command {
            serve.flags.put_before(old_flags);
        }
        cli
    }

    /// Runs the command and gives the process's exit code.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Channels(command) => channels::run(&command),
            Command::Config(command) => config::run(&command),
            Command::Completions(args) => Ok(completions::run(&args, &mut Self::command())),
            Command::Serve(args) => in_runtime(serve::run(args)),
            Command::Board(args) => in_runtime(board::run(args)),
            Command::Accept(args) => in_runtime(accept::run(*args)),
            Command::Post(args) => in_runtime(post::run(*args)),
            Command::Deliveries(command) => in_runtime(deliveries::run(*command)),
            Command::Demo(args) => in_runtime(demo::run(args)),
        };
        let code = result.unwrap_or_else(|Failure(message)| {
            console::complain(&message);
            COULD_NOT_RUN
        });
        console::flush(LAST_LINES);
        ExitCode::from(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
