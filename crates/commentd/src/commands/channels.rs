//! `commentd channels`: what can be posted to, and whether a manifest proves itself.

use crate::{Ended, Failure, console};
use comfy_table::{ContentArrangement, Table, presets};
use commentd_providers::manifest::{Manifest, built_in, check};
use std::path::{Path, PathBuf};

/// Look at channels and check manifests.
#[derive(Debug, clap::Subcommand)]
pub enum ChannelsCommand {
    /// List the channels
    List {
        /// Directory with manifests of your own (*.toml)
        #[arg(long, value_name = "DIR")]
        channels_dir: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a channel needs and what its target and reply mean
    Show {
        /// The channel's name
        name: String,
        /// Directory with manifests of your own (*.toml)
        #[arg(long, value_name = "DIR")]
        channels_dir: Option<PathBuf>,
        /// Print the manifest itself
        #[arg(long)]
        toml: bool,
    },
    /// Check manifests by their own examples; exits 1 if one is wrong
    Check {
        /// Manifest files, or names of built-in channels; all built-in ones if none is given
        files: Vec<String>,
    },
}

/// Where nothing says how wide the paper is, in characters.
const PLAIN_WIDTH: u16 = 110;

pub(crate) fn run(command: &ChannelsCommand) -> Ended {
    match command {
        ChannelsCommand::List { channels_dir, json } => list(channels_dir.as_deref(), *json),
        ChannelsCommand::Show { name, channels_dir, toml } => show(name, channels_dir.as_deref(), *toml),
        ChannelsCommand::Check { files } => check_all(files),
    }
}

fn list(directory: Option<&Path>, json: bool) -> Ended {
    let manifests =
        commentd_sidecar::config::manifests(directory).map_err(|problems| Failure(problems.join("\n")))?;
    if json {
        let rows: Vec<serde_json::Value> = manifests
            .iter()
            .map(|manifest| {
                let written = manifest.written();
                serde_json::json!({"name": written.name, "aliases": written.aliases, "version": written.version,
                    "summary": written.summary, "origin": manifest.origin()})
            })
            .collect();
        console::say(&serde_json::to_string_pretty(&rows)?);
        return Ok(0);
    }
    let mut table = plain_table();
    table.set_header(["channel", "what it is", "marker", "lookup"]);
    for manifest in &manifests {
        let written = manifest.written();
        let yes = |there: bool| if there { "yes" } else { "–" };
        table.add_row([
            written.name.as_str(),
            written.summary.as_str(),
            yes(written.marker.is_some()),
            yes(written.lookup.is_some()),
        ]);
    }
    console::say(&table.to_string());
    Ok(0)
}

fn show(name: &str, directory: Option<&Path>, toml: bool) -> Ended {
    let manifests =
        commentd_sidecar::config::manifests(directory).map_err(|problems| Failure(problems.join("\n")))?;
    let Some(manifest) = manifests.iter().find(|manifest| manifest.is_called(name)) else {
        let names: Vec<&str> = manifests.iter().map(|manifest| manifest.written().name.as_str()).collect();
        return Err(Failure(format!("there is no channel {name:?}; there are: {}", names.join(", "))));
    };
    if toml {
        console::say(manifest.source());
        return Ok(0);
    }
    let written = manifest.written();
    console::say(&format!("{}: {}", written.name, written.summary));
    console::say(&format!("  target (sns_id): {}", written.target));
    console::say(&format!("  reply (reply_to): {}", written.reply));
    console::say(&format!(
        "  marker: {}",
        if written.marker.is_some() {
            "yes, a lookup can know its own comment"
        } else {
            "no, an unknown comment stays unknown until a person settles it"
        }
    ));
    console::say(&format!("  lookup: {}", if written.lookup.is_some() { "yes" } else { "no" }));
    let mut table = plain_table();
    table.set_header(["--set", "type", "default", "what it is for"]);
    for (name, setting) in &written.settings {
        let default = setting.default.as_ref().map_or("(needed)".to_owned(), ToString::to_string);
        let kind = format!("{:?}", setting.kind).to_lowercase();
        table.add_row([name.clone(), kind, default, setting.help.clone()]);
    }
    console::say(&table.to_string());
    Ok(0)
}

fn check_all(files: &[String]) -> Ended {
    let mut manifests = Vec::new();
    for file in files {
        manifests.push(read(file)?);
    }
    if files.is_empty() {
        manifests = built_in()?.into_iter().map(Ok).collect();
    }
    let mut bad = 0;
    for manifest in manifests {
        match manifest {
            Err(error) => {
                bad += 1;
                console::say(&format!("✗ {error}"));
            }
            Ok(manifest) => {
                let checked = check::check(&manifest);
                if checked.problems.is_empty() {
                    console::say(&format!("✓ {}: {} examples", manifest.origin(), checked.passed));
                    continue;
                }
                bad += 1;
                console::say(&format!("✗ {}", manifest.origin()));
                for problem in &checked.problems {
                    console::say(&format!("    {problem}"));
                }
            }
        }
    }
    Ok(u8::from(bad > 0))
}

/// A file that can't be read is exit 2; one that is no manifest is a finding.
fn read(file: &str) -> Result<Result<Manifest, String>, Failure> {
    if let Some(manifest) = built_in()?.into_iter().find(|manifest| manifest.is_called(file)) {
        return Ok(Ok(manifest));
    }
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure(format!("{file}: can't be read ({error}), and no built-in channel has this name"))
    })?;
    Ok(Manifest::parse(&text, file).map_err(|error| error.to_string()))
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if !table.is_tty() {
        table.set_width(PLAIN_WIDTH);
    }
    table
}
