//! The written values by type, and what is wrong with them.

use super::error::ConfigError;
use super::kind::{Kind, ratio, switch};
use super::layers::{Entry, Written};
use super::registry::Setting;
use std::time::Duration;

/// What a check came to.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
}

/// The written values, each checked against its kind. Where one is wrong, the error is among the findings and
/// the value reads as if it were unset, so that a check can go on and find the next.
pub(super) struct Values<'a> {
    pub(super) written: &'a Written,
    pub(super) findings: Findings,
}

impl<'a> Values<'a> {
    /// Checks those settings that `concerns` picks.
    pub(super) fn new(written: &'a Written, concerns: impl Fn(&Setting) -> bool) -> Self {
        let mut values = Self { written, findings: Findings::default() };
        for entry in written.entries.iter().filter(|entry| concerns(entry.setting)) {
            let kind = entry.setting.kind;
            if !kind.is_unset(entry.text())
                && let Err(message) = kind.check(entry.text())
            {
                values.findings.errors.push(entry.error(message));
            }
        }
        values
    }

    pub(super) fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.written.entry(name)
    }

    /// Whether somebody gave it; a default isn't given.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.entry(name).is_some_and(Entry::is_given)
    }

    /// The text; empty if unset. Blanks around it don't count, unless it is a secret.
    pub(super) fn text(&self, name: &str) -> &'a str {
        self.entry(name).map_or("", |entry| match entry.setting.kind {
            Kind::Secret => entry.text(),
            _ => entry.text().trim(),
        })
    }

    pub(super) fn integer(&self, name: &str) -> u64 {
        let number = self.entry(name).and_then(|entry| entry.setting.kind.integer(entry.text()));
        number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or(usize::MAX)
    }

    pub(super) fn ms(&self, name: &str) -> Duration {
        Duration::from_millis(self.integer(name))
    }

    pub(super) fn ratio(&self, name: &str) -> f64 {
        ratio(self.text(name)).unwrap_or_default()
    }

    pub(super) fn switch(&self, name: &str) -> bool {
        switch(self.text(name)).unwrap_or_default()
    }

    pub(super) fn word(&self, name: &str) -> &'static str {
        self.entry(name).and_then(|entry| entry.setting.kind.word(entry.text())).unwrap_or_default()
    }

    /// Records that a setting's value can't be used.
    pub(super) fn error(&mut self, name: &str, message: impl Into<String>) {
        if let Some(entry) = self.entry(name) {
            self.findings.errors.push(entry.error(message));
        }
    }

    /// Records that a setting must be given, and how it can be.
    pub(super) fn missing(&mut self, name: &str, what: &str) {
        let Some(setting) = self.entry(name).map(|entry| entry.setting) else { return };
        let old: Vec<String> = setting.aliases.iter().map(|alias| format!("--{alias}")).collect();
        let old = if old.is_empty() { String::new() } else { format!(" (old name {})", old.join(", ")) };
        let variable = setting.variables().next().unwrap_or_default();
        let key = setting.file_key();
        self.error(
            name,
            format!("is missing: {what}{old}; give it by flag, as {variable}, or as {key} in commentd.toml"),
        );
    }

    pub(super) fn warn(&mut self, warning: impl Into<String>) {
        self.findings.warnings.push(warning.into());
    }

    /// Warns that a setting was given in vain.
    pub(super) fn in_vain(&mut self, name: &str, why: &str) {
        if let Some(entry) = self.entry(name).filter(|entry| entry.is_given()) {
            self.warn(format!("{} has no effect: {why} (from {})", entry.key(), entry.source));
        }
    }
}
