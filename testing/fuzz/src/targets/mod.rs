//! The targets.

mod manifest;
#[cfg(unix)]
mod pipe;
mod planted;
mod render;
mod reply;
mod request;

use crate::Target;
use commentd_channels::{Channel, Manifest, built_in};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "request", feed: request::feed },
    Target { name: "manifest", feed: manifest::feed },
    Target { name: "render", feed: render::feed },
    Target { name: "reply", feed: reply::feed },
    // Fed through a socket with a path.
    #[cfg(unix)]
    Target { name: "pipe", feed: pipe::feed },
];

/// Fails where it should: `scripts/fuzz 60 planted` must find it.
pub const PLANTED: Target = Target { name: "planted", feed: planted::feed };

/// Feeds the target of this name.
///
/// # Errors
/// Says what is wrong.
pub fn feed(target: &str, input: &[u8]) -> Result<(), String> {
    let mut all = ALL.iter().chain([&PLANTED]);
    let target = all.find(|one| one.name == target).ok_or_else(|| format!("there is no target {target}"))?;
    (target.feed)(input)
}

/// What the built-in channels must be told: their settings without a default.
const NEEDED: [(&str, &str); 2] = [("appid", "wx1"), ("secret", "s3cret")];

/// Every built-in channel with the least settings that it takes.
fn channels() -> &'static [Channel] {
    static CHANNELS: OnceLock<Vec<Channel>> = OnceLock::new();
    CHANNELS.get_or_init(|| {
        let manifests: Vec<Manifest> = built_in().unwrap_or_default();
        manifests.iter().filter_map(with_least_settings).collect()
    })
}

fn with_least_settings(manifest: &Manifest) -> Option<Channel> {
    let needed = NEEDED.map(|(name, value)| (name.to_owned(), toml::Value::from(value)));
    // Only those that need them know these settings.
    manifest.channel(&BTreeMap::new()).or_else(|_| manifest.channel(&BTreeMap::from(needed))).ok()
}

/// The channel that an input's first part names; any other text stands for some channel, too.
fn channel(part: Option<&String>) -> Option<&'static Channel> {
    let name = part?;
    let named = channels().iter().find(|channel| channel.name() == name);
    let number = name.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(10).wrapping_add(usize::from(byte)));
    named.or_else(|| channels().get(number.checked_rem(channels().len())?))
}

#[cfg(test)]
mod tests {
    /// A channel that needs settings would silently not be fed.
    #[test]
    fn every_built_in_channel_is_fed() {
        assert_eq!(super::channels().len(), commentd_channels::built_in().unwrap().len());
    }
}
