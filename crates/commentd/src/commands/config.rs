//! `commentd config show`.

use super::flags::ServeFlags;
use crate::console;
use crate::failure::{CommandResult, config_failure};
use commentd_sidecar::config::show;

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

pub(crate) fn run(command: &ConfigCommand) -> CommandResult {
    let ConfigCommand::Show { json, flags } = command;
    let written = flags.clone().load().map_err(config_failure)?;
    for warning in written.secrets_on_command_line() {
        console::warn(&warning);
    }
    let rows = show::rows(&written);
    if *json {
        console::say_json(&serde_json::to_string_pretty(&show::as_json(&rows))?);
    } else {
        console::say(show::as_text(&rows).trim_end());
    }
    Ok(0)
}
