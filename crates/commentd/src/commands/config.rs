//! `commentd config show`.

use crate::cli::ConfigCommand;
use crate::{Ended, console};
use commentd_sidecar::config::show;

pub(crate) fn run(command: &ConfigCommand) -> Ended {
    let ConfigCommand::Show { json, flags } = command;
    let written = flags.clone().load().map_err(super::serve::config_failure)?;
    let rows = show::rows(&written);
    let shown =
        if *json { serde_json::to_string_pretty(&show::as_json(&rows))? } else { show::as_text(&rows) };
    console::say(shown.trim_end());
    Ok(0)
}
