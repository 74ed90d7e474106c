//! Manifests, as people may write them: whatever they say, they are taken or refused with a reason.

use commentd_channels::{Manifest, check};
use std::collections::BTreeMap;

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    match Manifest::parse(&text, "fuzzed.toml") {
        Ok(manifest) => {
            // It may fail its own examples; it must come to an end.
            let _ = check::check(&manifest);
            match manifest.channel(&BTreeMap::new()) {
                Err(reason) if reason.is_empty() => Err("its settings are refused without a reason".into()),
                _ => Ok(()),
            }
        }
        Err(error) if error.to_string().is_empty() => Err("it is refused without a reason".into()),
        Err(_) => Ok(()),
    }
}
