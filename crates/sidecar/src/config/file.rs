//! A `commentd.toml`, read into keys and texts.

use super::error::{ConfigError, Source};
use super::kind::{Kind, near};
use super::setting::Setting;
use super::settings::SETTINGS;
use std::io::Read;
use std::path::Path;
use toml::{Table, Value};

/// Largest file that is read, in bytes (1 MiB).
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The table of the channel's own settings.
const CHANNEL_SETTINGS: &str = "channel.settings";

/// The settings of one file.
#[derive(Default)]
pub(super) struct SettingsFile {
    /// How people know it.
    pub(super) path: String,
    /// The values that are set, as texts.
    pub(super) values: Vec<(&'static Setting, String)>,
    /// The table `channel.settings`, as it is.
    pub(super) channel: Table,
}

impl SettingsFile {
    /// Reads a file whose name came from `source`.
    pub(super) fn read(path: &Path, source: &Source) -> Result<Self, Vec<ConfigError>> {
        let shown = path.display().to_string();
        let text = read_text(path, MAX_FILE_BYTES).map_err(|message| {
            vec![ConfigError::new("--config", source, format!("is {shown}, which {message}"))]
        })?;
        Self::parse(&text, &shown, source)
    }

    pub(super) fn parse(text: &str, path: &str, source: &Source) -> Result<Self, Vec<ConfigError>> {
        // Not the error's own text: it quotes the line, which may hold a secret.
        let table: Table = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| text.bytes().take(span.start).filter(|b| *b == b'\n').count() + 1);
            let message = format!("is {path}, which is not TOML; line {line}: {}", error.message());
            vec![ConfigError::new("--config", source, message)]
        })?;
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        let mut errors = Vec::new();
        file.walk(table, "", &mut errors);
        if errors.is_empty() { Ok(file) } else { Err(errors) }
    }

    fn walk(&mut self, table: Table, prefix: &str, errors: &mut Vec<ConfigError>) {
        for (name, value) in table {
            let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
            match value {
                Value::Table(settings) if key == CHANNEL_SETTINGS => self.channel = settings,
                Value::Table(inner) if is_table(&key) => self.walk(inner, &key, errors),
                value => {
                    if let Err(message) = self.take(&key, &value) {
                        let source = Source::File { path: self.path.clone(), key: key.clone() };
                        errors.push(ConfigError::new(key, &source, message));
                    }
                }
            }
        }
    }

    fn take(&mut self, key: &str, value: &Value) -> Result<(), String> {
        let Some(setting) = SETTINGS.iter().copied().find(|setting| setting.file_key() == key) else {
            return Err(unknown(key));
        };
        self.values.push((setting, as_text(setting.kind, value)?));
        Ok(())
    }
}

/// Whether a key is the table of known keys, such as `channel`.
fn is_table(key: &str) -> bool {
    let prefix = format!("{key}.");
    SETTINGS.iter().any(|setting| setting.file_key().starts_with(&prefix))
}

fn unknown(key: &str) -> String {
    let as_flag = key.replace('_', "-");
    if let Some(setting) = SETTINGS.iter().copied().find(|setting| setting.is_called(&as_flag)) {
        return format!("is not a key; what you mean is `{}` in this file", setting.file_key());
    }
    let mut keys: Vec<String> = SETTINGS
        .iter()
        .filter(|setting| setting.obsolete.is_none())
        .map(|setting| setting.file_key())
        .collect();
    keys.push(CHANNEL_SETTINGS.to_owned());
    match near(key, keys.iter().map(String::as_str)) {
        Some(meant) => format!("is not a key; did you mean `{meant}`?"),
        None => format!("is not a key; the keys are {}", keys.join(", ")),
    }
}

/// A value as a text, as a flag would give it. Whether it is allowed is decided later, for all layers alike.
fn as_text(kind: Kind, value: &Value) -> Result<String, String> {
    match (kind, value) {
        (_, Value::String(text)) => Ok(text.clone()),
        (Kind::Switch, Value::Boolean(truth)) => Ok(truth.to_string()),
        (Kind::Integer { .. } | Kind::Ratio | Kind::Text, Value::Integer(number)) => Ok(number.to_string()),
        (Kind::Ratio, Value::Float(number)) => Ok(number.to_string()),
        (Kind::List, Value::Array(parts)) => {
            let texts = parts.iter().map(|part| part.as_str().filter(|text| !text.contains(',')));
            let texts: Option<Vec<&str>> = texts.collect();
            texts
                .map(|texts| texts.join(","))
                .ok_or_else(|| "must be an array of texts without commas".into())
        }
        (Kind::Integer { .. }, _) => Err("must be a whole number".into()),
        (Kind::Ratio, _) => Err("must be a number".into()),
        (Kind::Switch, _) => Err("must be true or false".into()),
        (Kind::List, _) => Err("must be an array of texts, or a text with commas".into()),
        _ => Err("must be a text in quotes".into()),
    }
}

/// A text file of at most `max_bytes`; the error continues a sentence about the file.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("can't be opened: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(max_bytes + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("can't be read: {error}"))?;
    if bytes.len() as u64 > max_bytes {
        return Err(format!("is too large; at most {max_bytes} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    // Editors of Windows put a byte order mark in front, which is no part of the text.
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}
