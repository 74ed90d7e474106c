//! Reading a manifest: its text, its keys, its expressions.

use crate::built_in::BUILT_IN;
use crate::channel::{Channel, Compiled};
use crate::key_line;
use crate::settings::environment_name;
use crate::written::WrittenManifest;
use std::collections::BTreeMap;

/// The only format there is.
const FORMAT: u32 = 1;

/// What is wrong with a manifest, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}{}: {message}", .line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ManifestError {
    /// The file, or the name of a built-in.
    pub origin: String,
    /// The line, from 1, if it can be told.
    pub line: Option<usize>,
    /// DeliveryNames the key, and says what to write instead.
    pub message: String,
}

/// A manifest whose expressions are compiled; still without settings.
#[derive(Clone, Debug)]
pub struct Manifest {
    origin: String,
    source: String,
    written: WrittenManifest,
    compiled: Compiled,
}

impl Manifest {
    /// Reads and compiles a manifest.
    ///
    /// # Errors
    /// DeliveryNames line, key and what is allowed there.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ManifestError> {
        let failed = |message: String| ManifestError {
            origin: origin.to_owned(),
            line: key_line::key_of(&message).and_then(|key| key_line::line_of(text, key)),
            message,
        };
        let written: WrittenManifest = toml::from_str(text).map_err(|error| {
            let (line, message) = key_line::explain(text, &error);
            ManifestError { origin: origin.to_owned(), line, message }
        })?;
        if written.manifest != FORMAT {
            return Err(failed(format!(
                "manifest: this release reads format {FORMAT}, not {}",
                written.manifest
            )));
        }
        let written_secret = written.settings.iter().find(|(_, setting)| setting.has_written_secret());
        if let Some((name, _)) = written_secret {
            return Err(failed(format!(
                "settings.{name}.default: a secret must not stand in a manifest; leave it out or empty, and give it \
                 with {} or {}_FILE",
                environment_name(name),
                environment_name(name)
            )));
        }
        let compiled = Compiled::compile(&written).map_err(failed)?;
        Ok(Self { origin: origin.to_owned(), source: text.to_owned(), written, compiled })
    }

    /// As it was written.
    pub fn written(&self) -> &WrittenManifest {
        &self.written
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Where it came from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it is one of those that come with commentd, to the letter.
    pub fn is_built_in(&self) -> bool {
        BUILT_IN.iter().any(|(_, text)| *text == self.source)
    }

    /// The line, from 1, on which a key stands, for example `example[0]`.
    pub(crate) fn line_of(&self, key: &str) -> Option<usize> {
        key_line::line_of(&self.source, key)
    }

    /// Whether the name or one of the older names is this one.
    pub fn is_called(&self, name: &str) -> bool {
        self.written.name == name || self.written.aliases.iter().any(|alias| alias == name)
    }

    /// A channel of this kind with these settings.
    ///
    /// # Errors
    /// DeliveryNames the setting.
    pub fn channel(&self, given: &BTreeMap<String, toml::Value>) -> Result<Channel, String> {
        Channel::new(&self.written, &self.compiled, given)
    }
}

/// Every built-in manifest with the name of its source.
///
/// # Errors
/// If one of them is broken, which the tests rule out for a released build.
pub fn built_in() -> Result<Vec<Manifest>, ManifestError> {
    BUILT_IN.iter().map(|(origin, text)| Manifest::parse(text, origin)).collect()
}
