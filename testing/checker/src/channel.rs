//! What the channel has stored, and what it admits to have done to its clients.

use commentd_contract::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A comment at the channel, as the channel itself shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelComment {
    /// The channel's id.
    pub id: String,
    /// Its text.
    pub text: String,
    /// When it was stored, in milliseconds since 1970; 0 if the channel doesn't say.
    #[serde(default)]
    pub stored_at_ms: u64,
    /// How it stands there: `delivered`, `held` or `misplaced`; `None` if the channel doesn't say.
    #[serde(default)]
    pub stands: Option<Outcome>,
}

/// A fault that the channel has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelFault {
    /// Its name.
    pub fault: String,
    /// How long after the connection's end it stored the comment, in milliseconds, where it did so late.
    #[serde(default)]
    pub late_ms: Option<u64>,
    /// The texts of the comments that met it.
    pub texts: Vec<String>,
}

/// The channel's own record.
#[derive(Clone, Debug, Default)]
pub struct ChannelRecord {
    /// Comments by text.
    pub stored: BTreeMap<String, Vec<ChannelComment>>,
    /// Texts that met any fault.
    pub hit: BTreeSet<String>,
    /// Texts that the channel has refused after it had stored them: it lies.
    pub lied: BTreeSet<String>,
    /// Texts that it stored later than it says it ever does.
    pub stayed_away: BTreeSet<String>,
    /// Faults by name, as often as they were made.
    pub faults: BTreeMap<String, u64>,
    /// When requests with each text left for the channel, in milliseconds since 1970, where somebody has seen them
    /// leave.
    pub left: BTreeMap<String, Vec<u64>>,
}

/// The one fault that is a lie: a refusal after the comment was stored.
const LIE: &str = "refuse_after";

impl ChannelRecord {
    /// A record of these comments and faults. A comment that was stored later than `settles_within_ms` after its
    /// connection's end has stayed away.
    pub fn new(
        stored: impl IntoIterator<Item = ChannelComment>,
        faults: impl IntoIterator<Item = ChannelFault>,
        settles_within_ms: u64,
    ) -> Self {
        let mut record = Self::default();
        for comment in stored {
            record.stored.entry(comment.text.clone()).or_default().push(comment);
        }
        for fault in faults {
            for text in fault.texts {
                if fault.fault == LIE {
                    record.lied.insert(text.clone());
                }
                if fault.late_ms.is_some_and(|late_ms| late_ms > settles_within_ms) {
                    record.stayed_away.insert(text.clone());
                }
                record.hit.insert(text);
            }
            *record.faults.entry(fault.fault).or_default() += 1;
        }
        record
    }

    /// The same record, with the text and the moment (in milliseconds since 1970) of every request that left.
    #[must_use]
    pub fn with_departures(mut self, left: impl IntoIterator<Item = (String, u64)>) -> Self {
        for (text, at_ms) in left {
            self.left.entry(text).or_default().push(at_ms);
        }
        self
    }

    /// The comments with this text, in the order in which they were stored.
    pub fn of(&self, text: &str) -> &[ChannelComment] {
        self.stored.get(text).map_or(&[], Vec::as_slice)
    }
}
