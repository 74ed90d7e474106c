//! Channel manifests: what a service that publishes comments needs to hear, and what its answers mean.
//!
//! - [`written`]: the TOML as people write it
//! - [`language`]: the one expression language
//! - [`settings`]: a channel's typed settings
//! - [`Manifest`]: a manifest that was read and compiled
//! - [`Channel`]: a manifest with its settings, which renders requests and judges replies
//! - [`check`]: a manifest proves itself by its own examples

mod auth;
mod built_in;
mod channel;
pub mod check;
mod foreign_pages;
mod freshness;
pub mod json;
mod judge;
mod key_line;
pub mod language;
mod leaf;
mod lookup;
mod manifest;
mod pace;
mod probe;
mod repair;
mod reply;
mod request;
mod scope;
pub mod settings;
mod signature;
#[cfg(test)]
mod tests;
pub mod written;

pub use auth::{Auth, Signing, Token, TokenCall};
pub use channel::Channel;
pub use lookup::{ListResult, ListedComment, LookupLimits, LookupPager, ReadBack};
pub use manifest::{Manifest, ManifestError, built_in};
pub use pace::Pace;
pub use probe::Ability;
pub use reply::{ChannelReply, ReplyHeaders, shortened};
pub use request::{HttpRequest, RenderError};
pub use scope::Scope;
