//! Where a comment goes.

use super::error::{RequestError, at_most};
use crate::limits::{MAX_ADDRESS_BYTES, MAX_VARS_BYTES};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A value of `vars`: what a channel's templates may use beside the comment itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Var {
    /// A number, kept as it was written.
    Number(serde_json::Number),
    /// A text.
    Text(String),
}

/// Where a comment goes: everything of a request that all comments of a batch share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Addressing {
    /// The target; what that is, the channel's manifest says.
    pub sns_id: String,
    /// Who wrote the target (a hint to find it), never who comments.
    pub author: String,
    /// A hash of the target's content (a hint to find it).
    pub content_hash: String,
    /// The comment that this one answers; empty for none.
    pub reply_to: String,
    /// The account of the older gateways' contract.
    pub wxid: String,
    /// Values for the channel's templates, sorted by name.
    pub vars: BTreeMap<String, Var>,
}

impl Addressing {
    /// Whether each field keeps its limit.
    ///
    /// # Errors
    /// `TooLarge` names the field that is too long.
    pub fn check(&self) -> Result<(), RequestError> {
        for (name, text) in [
            ("sns_id (target)", &self.sns_id),
            ("author", &self.author),
            ("content_hash", &self.content_hash),
            ("reply_to", &self.reply_to),
            ("wxid", &self.wxid),
        ] {
            at_most(MAX_ADDRESS_BYTES, name, text.len())?;
        }
        let value = |var: &Var| match var {
            Var::Text(text) => text.len(),
            Var::Number(number) => number.to_string().len(),
        };
        at_most(MAX_VARS_BYTES, "vars", self.vars.iter().map(|(name, var)| name.len() + value(var)).sum())
    }
}
