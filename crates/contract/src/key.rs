//! The idempotency key as callers write it.

use crate::limits::MAX_KEY_CHARS;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A caller's name for a delivery: 1–255 characters of visible ASCII (0x21–0x7E).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdempotencyKey(String);

/// Why a text is no idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(&'static str);

impl IdempotencyKey {
    /// Accepts a bare key, as it stands in the JSON field.
    ///
    /// # Errors
    /// When it is empty, longer than 255 characters or not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError("must have 1 to 255 characters, is empty"));
        }
        if text.len() > MAX_KEY_CHARS {
            return Err(KeyError("must have 1 to 255 characters, is longer"));
        }
        if !text.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(KeyError("must be visible ASCII without spaces"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Accepts the value of an `Idempotency-Key` header: a quoted string as in RFC 9651 (which the
    /// header's draft demands), or the bare key that most clients send.
    ///
    /// # Errors
    /// As [`IdempotencyKey::parse`], and when the quoting is broken.
    pub fn parse_header(value: &[u8]) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(value).map_err(|_| KeyError("must be visible ASCII"))?.trim();
        if !text.starts_with('"') {
            return Self::parse(text);
        }
        let item: sfv::Item = sfv::Parser::new(text)
            .parse()
            .map_err(|_| KeyError("starts with a quote but is no quoted string"))?;
        match item.bare_item {
            sfv::BareItem::String(key) => Self::parse(key.as_str()),
            _ => Err(KeyError("must be a string")),
        }
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for IdempotencyKey {
    type Error = KeyError;
    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::parse(&text)
    }
}

impl From<IdempotencyKey> for String {
    fn from(key: IdempotencyKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_and_quoted_headers_name_the_same_key() {
        let bare = IdempotencyKey::parse_header(b"order-17").unwrap();
        let quoted = IdempotencyKey::parse_header(b"\"order-17\"").unwrap();
        assert_eq!(bare, quoted);
        assert_eq!(IdempotencyKey::parse_header(br#""a\"b""#).unwrap().as_str(), "a\"b");
    }

    #[test]
    fn bounds_are_exact() {
        assert!(IdempotencyKey::parse(&"k".repeat(255)).is_ok());
        for bad in ["", &"k".repeat(256), "a b", "schlüssel", "tab\t"] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(IdempotencyKey::parse_header(b"\"open").is_err());
    }
}
