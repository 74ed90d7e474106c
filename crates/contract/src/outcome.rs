//! The words that say what became of an attempt and of a delivery.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a delivery came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The comment is there.
    Delivered,
    /// The comment is stored and awaits moderation.
    Held,
    /// The comment is stored, but not as asked.
    Misplaced,
    /// The comment is bad anywhere; nothing was added.
    Refused,
    /// Nothing was added; the same key may be tried again.
    NotSent,
    /// None or one; only a lookup or a person makes it certain.
    Unknown,
    /// The exchange was a dry run: rendered and validated, nothing sent.
    DryRun,
}

impl Outcome {
    /// The wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Held => "held",
            Outcome::Misplaced => "misplaced",
            Outcome::Refused => "refused",
            Outcome::NotSent => "not_sent",
            Outcome::Unknown => "unknown",
            Outcome::DryRun => "dry_run",
        }
    }

    /// The outcome with this wire word.
    pub fn parse(word: &str) -> Option<Outcome> {
        [
            Outcome::Delivered,
            Outcome::Held,
            Outcome::Misplaced,
            Outcome::Refused,
            Outcome::NotSent,
            Outcome::Unknown,
            Outcome::DryRun,
        ]
        .into_iter()
        .find(|outcome| outcome.as_str() == word)
    }

    /// Whether `success`/`ok` is true whatever the operator's preference about doubt.
    pub fn is_success(self) -> bool {
        matches!(self, Outcome::Delivered | Outcome::Held | Outcome::DryRun)
    }

    /// Whether this outcome never changes while the ledger retains it.
    pub fn is_final(self) -> bool {
        matches!(self, Outcome::Delivered | Outcome::Held | Outcome::Misplaced | Outcome::Refused)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an attempt came to. The rules that hang on it are `delivery`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Stored and shown.
    Delivered,
    /// Stored, awaiting moderation.
    Held,
    /// Stored, but not as asked.
    Misplaced,
    /// The channel says that it has this comment already.
    Duplicate,
    /// Bad anywhere.
    Refused,
    /// This provider can't do this one.
    Denied,
    /// The channel asks to slow down.
    Throttled,
    /// Certainly not handed over.
    NotSent,
    /// Anything else.
    Unknown,
}

impl VerdictKind {
    /// Every verdict, in the order of the rule table.
    pub const ALL: [VerdictKind; 9] = [
        VerdictKind::Delivered,
        VerdictKind::Held,
        VerdictKind::Misplaced,
        VerdictKind::Duplicate,
        VerdictKind::Refused,
        VerdictKind::Denied,
        VerdictKind::Throttled,
        VerdictKind::NotSent,
        VerdictKind::Unknown,
    ];

    /// The wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            VerdictKind::Delivered => "delivered",
            VerdictKind::Held => "held",
            VerdictKind::Misplaced => "misplaced",
            VerdictKind::Duplicate => "duplicate",
            VerdictKind::Refused => "refused",
            VerdictKind::Denied => "denied",
            VerdictKind::Throttled => "throttled",
            VerdictKind::NotSent => "not_sent",
            VerdictKind::Unknown => "unknown",
        }
    }
}

impl fmt::Display for VerdictKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The executor of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderName {
    /// The baseline: pretends to deliver.
    Mock,
    /// An HTTP channel described by a manifest.
    NativeHttp,
    /// The hook's pipe.
    RealHook,
    /// The user's UI worker.
    RealUi,
}

impl ProviderName {
    /// Every provider, in the order of the chain after the baseline.
    pub const ALL: [ProviderName; 4] =
        [ProviderName::Mock, ProviderName::NativeHttp, ProviderName::RealHook, ProviderName::RealUi];

    /// The wire word.
    pub fn as_str(self) -> &'static str {
        match self {
            ProviderName::Mock => "mock",
            ProviderName::NativeHttp => "native_http",
            ProviderName::RealHook => "real_hook",
            ProviderName::RealUi => "real_ui",
        }
    }

    /// The provider with this name, trimmed and case-insensitive.
    pub fn parse(word: &str) -> Option<ProviderName> {
        let word = word.trim().to_ascii_lowercase();
        ProviderName::ALL.into_iter().find(|name| name.as_str() == word)
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
