//! The configuration of `serve`, in two stages: as written, then checked, with illegal states gone.
//!
//! - [`registry`]: every setting, in one table
//! - `kind`: what a value may be
//! - `layers`: flags over the environment over `commentd.toml` over the documented defaults → [`Written`]
//! - `channel`: the channel's manifest and its typed settings
//! - `net`: hook and UI worker
//! - `checked`: [`Written`] → [`ServeConfig`]
//! - `access`: who may call, and from where
//! - [`show`]: `config show`
//! - [`clap`]: the registry as arguments

mod access;
mod channel;
mod checked;
pub mod clap;
mod error;
mod file;
mod kind;
mod layers;
mod net;
pub mod registry;
pub mod show;
#[cfg(test)]
mod tests;
mod values;

pub use access::{Caller, Credential, Listen};
pub use channel::{ChannelChoice, manifests};
pub use checked::{Exchange, LedgerChoice, Limits, Log, LogFormat, ServeConfig, UnknownAs};
pub use error::{ConfigError, Source};
pub use kind::Kind;
pub use layers::{Entry, Environment, Written, load};
