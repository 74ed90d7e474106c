//! What is wrong with a setting, and where its value came from.

use std::fmt;

/// Which layer a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line: the flag without its dashes.
    Flag(String),
    /// The environment: the variable.
    Environment(String),
    /// A `commentd.toml`.
    File {
        /// The file.
        path: String,
        /// The key in it, with dots.
        key: String,
    },
    /// Nobody gave one.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "flag --{flag}"),
            Source::Environment(variable) => write!(f, "environment {variable}"),
            Source::File { path, key } => write!(f, "{path}: {key}"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// Why a configuration can't be used. Holds no secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The setting: its flag with dashes, or what stands in its place.
    pub key: String,
    /// Where the value came from; [`Source::Default`] if there is none.
    pub source: Source,
    /// What is allowed, and what was found; continues a sentence that begins with the key.
    pub message: String,
}

impl ConfigError {
    pub(super) fn new(key: impl Into<String>, source: &Source, message: impl Into<String>) -> Self {
        Self { key: key.into(), source: source.clone(), message: message.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.message)?;
        match self.source {
            Source::Default => Ok(()),
            _ => write!(f, " (from {})", self.source),
        }
    }
}

impl std::error::Error for ConfigError {}
