//! Acceptance: rounds of batches against a running sidecar, judged by the v1 contract only.
//!
//! The way through this crate: [`AcceptArgs`] (as written) → [`AcceptArgs::check`] → [`AcceptOptions`] →
//! [`run()`] → [`Report`] → [`write_report`] and [`render_summary`] → [`exit_code`]. Nothing here knows a
//! channel: with `--verify` the target is read by a [`TargetReader`] that the caller hands in. Nothing here prints.
//!
//! [`Address`] serves every command that is a client of the contract.

mod address;
mod args;
mod comments;
mod error;
mod options;
mod output;
mod report;
mod round;
mod run;
mod settings;
mod stats;
mod verify;

pub use address::{Address, given_base_url, secrets_on_command_line};
pub use args::AcceptArgs;
pub use commentd_contract::report::Report;
pub use error::{AcceptError, exit_code};
pub use options::AcceptOptions;
pub use output::{render_summary, report_path, write_report};
pub use run::{NoProgress, Progress, health, run};
pub use stats::{mean_ms, percentile_ms};
pub use verify::{ReadComment, TargetReader};
