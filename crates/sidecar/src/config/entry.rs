//! What was written for a setting, and where.

use super::error::{ConfigError, Source};
use super::setting::Setting;
use super::types::SettingType;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// One setting's value and where it came from.
#[derive(Clone)]
pub(super) struct SettingEntry {
    /// The setting.
    pub(super) setting: &'static Setting,
    /// Which layer gave the value.
    pub(super) source: Source,
    text: String,
}

impl SettingEntry {
    pub(super) fn new(setting: &'static Setting, source: Source, text: impl Into<String>) -> Self {
        Self { setting, source, text: text.into() }
    }

    /// Whether there is no value, as people write none.
    pub(super) fn is_unset(&self) -> bool {
        self.setting.kind.is_unset(&self.text)
    }

    /// What is wrong with its value, by its kind alone.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.is_unset() {
            Ok(())
        } else {
            self.setting.kind.check(&self.text).map_err(|what| self.error(what))
        }
    }

    /// The value as it was written, secrets in the clear; empty if unset.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The value as people may see it: secrets and credentials in addresses as `***`. Empty if unset.
    pub(super) fn shown(&self) -> String {
        self.setting.kind.shown(&self.text)
    }

    /// Whether somebody gave it.
    pub(super) fn is_given(&self) -> bool {
        self.source != Source::Default
    }

    /// Brings a number of the older sidecar's that is out of range to the nearest in it, as that sidecar did, and
    /// says so.
    pub(super) fn clamp(&mut self) -> Option<String> {
        let clamped = matches!(self.source, Source::Flag(_)).then(|| self.setting.clamped(&self.text))??;
        let warning = format!(
            "{} is {}, which is out of range; {clamped} is taken",
            self.key(),
            self.setting.kind.quoted(&self.text)
        );
        self.text = clamped;
        Some(warning)
    }

    /// How people call it: the flag as it was given, old names included.
    pub(super) fn key(&self) -> String {
        match &self.source {
            Source::Flag(flag) => format!("--{flag}"),
            _ => format!("--{}", self.setting.name),
        }
    }

    /// The error that says what is wrong with it.
    pub(super) fn error(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.key(), &self.source, message)
    }
}

impl fmt::Debug for SettingEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?} ({})", self.setting.name, self.shown(), self.source)
    }
}

/// The entry of a setting of this type.
#[derive(Clone)]
pub(super) struct SettingValue<T> {
    entry: SettingEntry,
    of_type: PhantomData<T>,
}

impl<T: SettingType> SettingValue<T> {
    pub(super) fn new(entry: SettingEntry) -> Self {
        Self { entry, of_type: PhantomData }
    }

    /// The value, as its type reads it.
    pub(super) fn get(&self) -> T::Value<'_> {
        T::read(&self.entry.text)
    }
}

impl<T> Deref for SettingValue<T> {
    type Target = SettingEntry;

    fn deref(&self) -> &SettingEntry {
        &self.entry
    }
}
