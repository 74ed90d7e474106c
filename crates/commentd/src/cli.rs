//! The command line, as written.

use crate::commands::{accept, board, channels, completions, deliveries, demo, post};
use clap::{ArgMatches, FromArgMatches, Parser};
use commentd_sidecar::config::{self, ConfigError, Environment, Written};
use std::path::PathBuf;

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
    Serve(ServeArgs),
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
    Config(ConfigCommand),
    /// Print a shell's completions
    Completions(completions::CompletionsArgs),
}

/// Look at the configuration.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Every setting, its value and where it comes from
    Show {
        /// As JSON
        #[arg(long)]
        json: bool,
        /// The flags of `serve`.
        #[command(flatten)]
        flags: ServeFlags,
    },
}

/// The arguments of `serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// The flags that the settings' registry knows.
    #[command(flatten)]
    pub flags: ServeFlags,
}

impl Cli {
    /// Parses the process's arguments; on an error, prints it and ends the process with 2.
    pub fn from_command_line() -> Self {
        let (args, old_flags) = config::clap::take_old_ui_flags(std::env::args_os());
        let mut cli = Self::parse_from(args);
        if let Command::Serve(serve) = &mut cli.command {
            serve.flags.0.flags.splice(0..0, old_flags);
        }
        cli
    }
}

/// Flags as they were given, for the configuration's layers.
#[derive(Clone, Debug, Default)]
struct Given {
    flags: Vec<(String, String)>,
    sets: Vec<String>,
    config: Option<PathBuf>,
}

impl Given {
    fn read(matches: &ArgMatches) -> Self {
        let flags = config::clap::given(matches);
        Self { flags, sets: config::clap::sets(matches), config: config::clap::config_file(matches) }
    }

    fn load(self) -> Result<Written, Vec<ConfigError>> {
        config::load(self.flags, self.sets, self.config, &Environment::of_process())
    }
}

/// Every setting of `serve`, as flags.
#[derive(Clone, Debug, Default)]
pub struct ServeFlags(Given);

/// The settings that choose a channel, as flags.
#[derive(Clone, Debug, Default)]
pub struct ChannelFlags(Given);

impl ServeFlags {
    /// The configuration with these flags on top.
    ///
    /// # Errors
    /// What is wrong with the layers themselves.
    pub fn load(self) -> Result<Written, Vec<ConfigError>> {
        self.0.load()
    }
}

impl ChannelFlags {
    /// The same with this channel.
    #[must_use]
    pub fn with_channel(mut self, name: &str) -> Self {
        self.0.flags.retain(|(flag, _)| flag != "channel");
        self.0.flags.push(("channel".into(), name.into()));
        self
    }

    /// The configuration with these flags on top.
    ///
    /// # Errors
    /// What is wrong with the layers themselves.
    pub fn load(self) -> Result<Written, Vec<ConfigError>> {
        self.0.load()
    }
}

macro_rules! flags_from_registry {
    ($name:ident, $args:path) => {
        impl clap::Args for $name {
            fn augment_args(command: clap::Command) -> clap::Command {
                command.args($args())
            }
            fn augment_args_for_update(command: clap::Command) -> clap::Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(Given::read(matches)))
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

flags_from_registry!(ServeFlags, config::clap::clap_args);
flags_from_registry!(ChannelFlags, config::clap::clap_args_of_channel);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
