//! `config show`: what every setting is, and where that came from. Secrets are `***`.

use super::channel::resolve;
use super::entry::SettingEntry;
use super::error::Source;
use super::kind::REDACTED;
use super::layers::Written;
use comfy_table::{Table, presets};
use commentd_contract::terminal;
use serde::Serialize;
use std::collections::BTreeMap;

/// One line of `config show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShownSetting {
    /// The flag without its dashes; `channel.settings.<name>` for the channel's own.
    pub name: String,
    /// The value as people may see it; empty if unset.
    pub value: String,
    /// Where it came from.
    pub source: String,
}

/// The settings in the table's order, then the channel's own by name. Works on a configuration that doesn't
/// pass its check, too. Settings without an effect are left out unless somebody gave them. Reads manifests,
/// blocking.
pub fn rows(written: &Written) -> Vec<ShownSetting> {
    let shown = written.settings.entries().filter(|entry| is_worth_showing(entry));
    let settings = shown.map(|entry| ShownSetting {
        name: entry.setting.name.to_owned(),
        value: entry.shown(),
        source: entry.source.to_string(),
    });
    settings.chain(channel_rows(written)).collect()
}

fn is_worth_showing(entry: &SettingEntry) -> bool {
    entry.is_given() || (entry.setting.obsolete.is_none() && entry.setting.channel_setting.is_none())
}

fn channel_rows(written: &Written) -> Vec<ShownSetting> {
    let name = |name: &str| format!("channel.settings.{name}");
    let chosen = written.settings.channel.get();
    let manifests = written.manifests().unwrap_or_default();
    let Some(manifest) = manifests.iter().find(|manifest| manifest.is_called(chosen)) else {
        // Without a manifest nobody knows which of them are secrets.
        let given = &written.channel;
        let names = given.sets.keys().chain(given.table.keys());
        let row = |setting: &String| ShownSetting {
            name: name(setting),
            value: REDACTED.to_owned(),
            source: "unknown channel".to_owned(),
        };
        return names.map(row).collect();
    };
    let mut rows: BTreeMap<&str, ShownSetting> = BTreeMap::new();
    for (setting, wanted) in &manifest.written().settings {
        let value = wanted.default.as_ref().map(plain).unwrap_or_default();
        rows.insert(
            setting,
            ShownSetting { name: name(setting), value, source: Source::Default.to_string() },
        );
    }
    let resolved = resolve(manifest, written);
    for given in &resolved.given {
        let value = if given.secret { REDACTED.to_owned() } else { plain(&given.value) };
        let row = ShownSetting { name: name(&given.name), value, source: given.source.to_string() };
        rows.insert(&given.name, row);
    }
    rows.into_values().collect()
}

fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The rows as a table for people; ends with a line break, has no colours and no control characters but line
/// breaks.
pub fn as_text(rows: &[ShownSetting]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_BORDERS_ONLY_CONDENSED).set_header(["setting", "value", "source"]);
    for row in rows {
        table.add_row([&row.name, &row.value, &row.source].map(|text| terminal::one_line(text)));
    }
    format!("{table}\n")
}

/// The rows as a JSON array of objects with `name`, `value` and `source`.
pub fn as_json(rows: &[ShownSetting]) -> serde_json::Value {
    rows.iter().map(|row| serde_json::json!(row)).collect()
}
