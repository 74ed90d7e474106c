//! `commentd channels`: the channels there are, and whether manifests pass their own examples.

mod tryout;

use crate::console;
use crate::failure::{CommandResult, Failure};
use comfy_table::{ContentArrangement, Table, presets};
use commentd_channels::{Manifest, built_in, check};
use std::io::Write;
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
    /// Write a commented manifest to start from, as NAME.toml in the directory; see docs/channels.md
    New {
        /// The channel's name: lower-case letters, digits and underscores
        name: String,
        /// Where to write it
        #[arg(long, value_name = "DIR", default_value = ".")]
        channels_dir: PathBuf,
    },
    /// Send one comment through a channel, once and for real, and show request, reply, verdict and lookup
    Try(Box<tryout::TryArgs>),
    /// Check manifests by their own examples; exits 1 if one is wrong
    Check {
        /// Manifest files, or names of built-in channels; all built-in ones if none is given
        files: Vec<String>,
    },
}

/// What `channels new` writes.
const START: &str = include_str!("channels/start.toml");

/// The width of texts where no terminal has one, in characters.
const PLAIN_WIDTH: u16 = 110;

pub(crate) fn run(command: &ChannelsCommand) -> CommandResult {
    match command {
        ChannelsCommand::List { channels_dir, json } => list(channels_dir.as_deref(), *json),
        ChannelsCommand::Show { name, channels_dir, toml } => show(name, channels_dir.as_deref(), *toml),
        ChannelsCommand::New { name, channels_dir } => new(name, channels_dir),
        ChannelsCommand::Try(args) => crate::runtime::in_runtime(tryout::run(args)),
        ChannelsCommand::Check { files } => check_all(files),
    }
}

fn list(directory: Option<&Path>, json: bool) -> CommandResult {
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
        console::say_json(&serde_json::to_string_pretty(&rows)?);
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

fn show(name: &str, directory: Option<&Path>, toml: bool) -> CommandResult {
    let manifests =
        commentd_sidecar::config::manifests(directory).map_err(|problems| Failure(problems.join("\n")))?;
    let Some(manifest) = manifests.iter().find(|manifest| manifest.is_called(name)) else {
        let names: Vec<&str> = manifests.iter().map(|manifest| manifest.written().name.as_str()).collect();
        return Err(Failure(format!("there is no channel {name:?}; there are: {}", names.join(", "))));
    };
    if toml {
        console::say_as_it_is(manifest.source());
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

/// Never writes over what is there.
fn new(name: &str, directory: &Path) -> CommandResult {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(fits) {
        return Err(Failure(format!(
            "NAME must be 1 to 64 lower-case letters, digits and underscores, is {name:?}"
        )));
    }
    let path = directory.join(format!("{name}.toml"));
    let shown = path.display();
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| match error
            .kind()
        {
            std::io::ErrorKind::AlreadyExists => {
                Failure(format!("{shown} exists already; choose another name"))
            }
            _ => Failure(format!("{shown} can't be made: {error}")),
        })?;
    file.write_all(START.replace("{{name}}", name).as_bytes())?;
    console::say(&format!("{shown} is written. Change it to what your service does, then:"));
    console::say(&format!("  commentd channels check {shown}"));
    console::say(&format!(
        "  commentd channels try {name} \"hello\" --channels-dir {} --channel-url http://… --sns-id … --exchange dry-run",
        directory.display()
    ));
    Ok(0)
}

fn check_all(files: &[String]) -> CommandResult {
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
