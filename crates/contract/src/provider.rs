//! What `GET /api/providers` and `/ready` tell.

use crate::outcome::ProviderName;
use serde::{Deserialize, Serialize};

/// `data` of `GET /api/providers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProvidersData {
    /// The chain, in order; the primary first.
    pub providers: Vec<ProviderView>,
    /// How many lookups came to what, since the start.
    #[serde(default)]
    pub lookups: LookCounts,
}

/// One provider of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderView {
    /// Which.
    pub provider: ProviderName,
    /// Whether it gets every comment first.
    pub primary: bool,
    /// Whether it answered when it was last heard of; null if it was never asked.
    pub healthy: Option<bool>,
    /// Why it isn't healthy; empty otherwise.
    pub health_reason: String,
    /// Whether it has shown that it is what it should be: a probe recognized it, or it has stored a comment. Null if it
    /// was never asked; stays true once it was.
    #[serde(default)]
    pub recognized: Option<bool>,
    /// Why it isn't recognized; empty otherwise.
    #[serde(default)]
    pub identity_reason: String,
    /// Whether it is able to comment; null if it was never asked. One that isn't is skipped.
    pub able: Option<bool>,
    /// Why it isn't able; empty otherwise.
    pub capability_reason: String,
    /// How long ago the hook saw the client comment, in milliseconds; absent where there is no hook, or none has
    /// said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_age_ms: Option<u64>,
    /// Whether it may be tried.
    pub breaker: BreakerView,
    /// What it takes.
    pub limits: ProviderLimits,
    /// Attempts and lookups under way.
    pub lanes_in_use: u64,
    /// Comments that wait for a lane.
    pub queue_length: u64,
}

/// How many lookups came to what, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookCounts {
    /// The comment was there.
    pub found: u64,
    /// Everything was read that could be the comment, and it wasn't there.
    pub not_found: u64,
    /// It wasn't found, and that shows nothing.
    pub undetermined: u64,
    /// The channel couldn't be asked, or its answer was too long, unreadable or out of a cache.
    pub failed: u64,
}

/// A breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BreakerView {
    /// Where it stands.
    pub state: BreakerState,
    /// For how long it stays open at least, in milliseconds; null unless it is open.
    pub retry_after_ms: Option<u64>,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Everything may pass.
    Closed,
    /// Nothing may pass.
    Open,
    /// One delivery may try.
    HalfOpen,
}

/// What a provider takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderLimits {
    /// Attempts and lookups at a time; null for as many as come.
    pub lanes: Option<u64>,
    /// Attempts of one delivery.
    pub max_attempts: u32,
    /// With less time left than this, in milliseconds, an attempt isn't started.
    pub min_useful_ms: u64,
}

/// `data` of `/ready`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadyData {
    /// Whether comments can be recorded and some provider is able to carry them.
    pub ready: bool,
    /// What stands in the way.
    pub reasons: Vec<String>,
}
