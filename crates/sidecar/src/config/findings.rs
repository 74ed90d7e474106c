//! What checks find.

use super::entry::SettingEntry;
use super::error::ConfigError;

/// What is wrong, and what people should know. After an error a check goes on, to find the next.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    /// What is wrong with these by their kinds alone.
    pub(super) fn of<'a>(entries: impl IntoIterator<Item = &'a SettingEntry>) -> Self {
        let errors = entries.into_iter().filter_map(|entry| entry.check().err()).collect();
        Self { errors, warnings: Vec::new() }
    }

    /// A setting's value can't be used.
    pub(super) fn error(&mut self, entry: &SettingEntry, message: impl Into<String>) {
        self.errors.push(entry.error(message));
    }

    /// A setting must be given, and how it can be.
    pub(super) fn missing(&mut self, entry: &SettingEntry, what: &str) {
        let setting = entry.setting;
        let old: Vec<String> = setting.aliases.iter().map(|alias| format!("--{alias}")).collect();
        let old = if old.is_empty() { String::new() } else { format!(" (old name {})", old.join(", ")) };
        let variable = setting.variables().next().unwrap_or_default();
        let key = setting.file_key();
        self.error(
            entry,
            format!("is missing: {what}{old}; give it by flag, as {variable}, or as {key} in commentd.toml"),
        );
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.warnings.push(warning.into());
    }

    /// A setting was given in vain.
    pub(super) fn in_vain(&mut self, entry: &SettingEntry, why: &str) {
        if entry.is_given() {
            self.warn(format!("{} has no effect: {why} (from {})", entry.key(), entry.source));
        }
    }

    /// The value, unless something is wrong.
    pub(super) fn unless_wrong<T>(self, value: T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.errors) }
    }
}
