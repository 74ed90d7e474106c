//! The configuration of `serve`, in two stages: as written, then checked, with illegal states gone.
//!
//! - `settings`: every setting, in one table of `setting`s, each of one of the `types` and `kind`s
//! - `layers`: flags over the environment over `commentd.toml` (`file`) over the documented defaults → [`Written`], which
//!   has an `entry` for each setting
//! - `checked`: [`Written`] → [`ServeConfig`], and what was found wrong (`findings`), by way of `access` (who may call,
//!   and from where), `channel` (the manifest and its typed settings), `fallbacks` (hook and UI worker), and `ledger`
//! - [`show`]: `config show`
//! - [`clap`]: the settings as arguments

mod access;
mod channel;
mod checked;
pub mod clap;
mod entry;
mod error;
mod fallbacks;
mod file;
mod findings;
mod kind;
mod layers;
mod ledger;
mod setting;
mod settings;
pub mod show;
#[cfg(test)]
mod tests;
mod types;
mod words;

pub use access::{Caller, Credential, Listen};
pub use channel::{ChannelChoice, manifests};
pub use checked::{Exchange, Limits, LogConfig, ServeConfig};
pub use error::{ConfigError, Source};
pub use layers::{Environment, Written, load};
pub use ledger::LedgerChoice;
pub use words::{LogFormat, UnknownAs};
