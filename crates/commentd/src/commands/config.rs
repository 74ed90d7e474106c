//! `commentd config show`.

use crate::cli::ConfigCommand;
use crate::{Ended, console};
use commentd_sidecar::config::show;

pub(crate) fn run(command: &ConfigCommand) -> Ended {
    let ConfigCommand::Show { json, flags } = command;
    let written = flags.clone().load().map_err(super::serve::config_failure)?;
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
