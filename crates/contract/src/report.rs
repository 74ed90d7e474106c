//! The acceptance report, as it is written to a file and read by scripts.
//!
//! The JSON Schema beside this crate (`report.schema.json`) says the same to other languages; a test holds
//! the two together.

use crate::code::Code;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The JSON Schema (2020-12) of [`Report`].
pub const SCHEMA: &str = include_str!("../report.schema.json");

/// A whole acceptance run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub finished_at: String,
    /// The run's arguments, secrets as `***`.
    pub args: BTreeMap<String, serde_json::Value>,
    /// In the order in which they ran.
    pub rounds: Vec<Round>,
    /// What the run comes to.
    pub summary: Summary,
    /// `data` of the sidecar's `/health` before the first round.
    pub sidecar_health: serde_json::Value,
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// The client's clock, in milliseconds.
    pub elapsed_ms: u64,
    /// The sidecar's `total_latency_ms`.
    pub batch_latency_ms: u64,
    /// How many comments were asked for.
    pub total: u32,
    /// Of them, delivered or held by their `outcome`.
    pub succeeded: u32,
    /// The others.
    pub failed: u32,
    /// Whether all succeeded, and with `--verify` each was found exactly once.
    pub strict_success: bool,
    /// Whether `batch_latency_ms` is under the target.
    pub under_target: bool,
    /// Always `http`.
    pub mode: String,
    /// From the batch reply.
    pub raw_batch_total: u32,
    /// From the batch reply.
    pub raw_batch_succeeded: u32,
    /// From the batch reply.
    pub raw_batch_failed: u32,
    /// From the batch reply.
    pub fallback_count: u32,
    /// How many items each provider answered.
    pub method_counts: BTreeMap<String, u32>,
    /// The items that did not succeed.
    pub failed_items: Vec<FailedItem>,
    /// The items that another provider than the primary carried.
    #[serde(default)]
    pub fallback_items: Vec<FallbackItem>,
    /// The primary provider, in the sidecar's words.
    pub provider: String,
    /// With `--verify`: found exactly once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified_once: Option<u32>,
    /// With `--verify`: not found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified_missing: Option<u32>,
    /// With `--verify`: found more than once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verified_duplicate: Option<u32>,
}

/// An item that did not succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedItem {
    /// Its place in the batch, from 1.
    pub index: u32,
    /// The item's code.
    pub error_code: Code,
    /// The item's message.
    pub error_message: String,
    /// The item's latency, in milliseconds.
    pub latency_ms: u64,
    /// Who answered it.
    pub method: String,
    /// Who answered it.
    pub provider: String,
    /// The channel's own code.
    pub provider_error_code: String,
    /// The channel's own text.
    pub provider_error_message: String,
}

/// An item that another provider than the primary carried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FallbackItem {
    /// Its place in the batch, from 1.
    pub index: u32,
    /// What the primary came to; 0 where the sidecar doesn't tell.
    pub error_code: Code,
    /// The primary's message.
    pub error_message: String,
    /// The item's latency, in milliseconds.
    pub latency_ms: u64,
    /// Who carried it.
    pub method: String,
    /// Who carried it.
    pub provider: String,
}

/// What the run comes to. Rates are 0–1; latencies are whole milliseconds over `batch_latency_ms`, rounded half to
/// even.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Rounds that ran.
    pub rounds: u32,
    /// Rounds that were asked for.
    pub configured_rounds: u32,
    /// Comments in each batch.
    pub comments_per_round: u32,
    /// The target for the p95.
    pub target_ms: u64,
    /// Rounds in which everything succeeded.
    pub strict_success_rounds: u32,
    /// Rounds under the target.
    pub under_target_rounds: u32,
    /// `strict_success_rounds / rounds`.
    pub strict_success_rate: f64,
    /// `under_target_rounds / rounds`.
    pub under_target_rate: f64,
    /// Mean.
    pub latency_avg_ms: u64,
    /// Median, by linear interpolation.
    pub latency_p50_ms: u64,
    /// 95th percentile, by linear interpolation.
    pub latency_p95_ms: u64,
    /// Maximum.
    pub latency_max_ms: u64,
    /// Every configured round ran and was strict, the p95 is under the target, and with `--verify` nothing is
    /// missing or duplicate.
    pub goal_passed: bool,
}
