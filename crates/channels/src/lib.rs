//! Channel manifests: what a service that publishes comments needs to hear, and what its answers mean.
//!
//! - [`written`]: the TOML as people write it
//! - [`language`]: the one expression language
//! - [`settings`]: a channel's typed settings
//! - [`Channel`]: a manifest compiled against its settings, which renders requests and judges replies
//! - [`check`]: a manifest proves itself by its own examples

mod auth;
mod channel;
pub mod check;
mod freshness;
pub mod json;
mod judge;
pub mod language;
mod lookup;
mod mended;
mod names;
mod pace;
mod place;
mod probe;
mod request;
pub mod settings;
mod signature;
mod strangers;
#[cfg(test)]
mod tests;
pub mod written;

pub use auth::{Auth, Signing, Token, TokenCall};
pub use channel::{Channel, Manifest, ManifestError};
pub use judge::shortened;
pub use judge::{Headers, Reply};
pub use lookup::{Item, LookupLimits, ReadBack, Scan, Sighting};
pub use names::Scope;
pub use pace::Pace;
pub use probe::Ability;
pub use request::{HttpRequest, RenderError};

/// The manifests that come with commentd.
const BUILT_IN: [(&str, &str); 8] = [
    ("channels/generic.toml", include_str!("../../../channels/generic.toml")),
    ("channels/wxbot.toml", include_str!("../../../channels/wxbot.toml")),
    ("channels/isso.toml", include_str!("../../../channels/isso.toml")),
    ("channels/wordpress.toml", include_str!("../../../channels/wordpress.toml")),
    ("channels/waline.toml", include_str!("../../../channels/waline.toml")),
    ("channels/twikoo.toml", include_str!("../../../channels/twikoo.toml")),
    ("channels/wechat_official.toml", include_str!("../../../channels/wechat_official.toml")),
    ("channels/board.toml", include_str!("../../../channels/board.toml")),
];

/// Every built-in manifest with the name of its source.
///
/// # Errors
/// If one of them is broken, which the tests rule out for a released build.
pub fn built_in() -> Result<Vec<Manifest>, ManifestError> {
    BUILT_IN.iter().map(|(origin, text)| Manifest::parse(text, origin)).collect()
}
