//! Where markers of ours were seen, remembered in the ledger: only there does a lookup's silence prove anything.

use super::Inner;
use commentd_delivery::Clock;
use commentd_ledger::MarkedPlace;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which links' places the ledger knows to keep markers.
#[derive(Debug)]
pub(super) struct Markers {
    /// One for each link.
    noted: Vec<AtomicBool>,
}

impl Markers {
    pub(super) fn new(links: usize) -> Self {
        Self { noted: (0..links).map(|_| AtomicBool::new(false)).collect() }
    }
}

/// Tells the providers what earlier processes have seen. Call it once, at the start.
pub(super) async fn load(inner: &Inner) {
    let places = inner.ledger.marked_places().await.unwrap_or_else(|error| {
        tracing::warn!(
            "where markers were seen can't be read: {error}; until one is seen again, nothing is taken for absent"
        );
        Vec::new()
    });
    for (provider, noted) in inner.links.providers().iter().zip(&inner.markers.noted) {
        if places.iter().any(|place| place.is_at(provider.destination())) {
            provider.marker_was_seen();
            noted.store(true, Ordering::Relaxed);
        }
    }
}

/// Has the ledger remember the places where a marker was seen for the first time. Nobody waits for it: lost with the
/// process, it is seen again.
pub(super) fn note(inner: &Arc<Inner>) {
    for (provider, noted) in inner.links.providers().iter().zip(&inner.markers.noted) {
        let is_new = !noted.load(Ordering::Relaxed)
            && provider.rules().lookup.is_some_and(|ability| ability.needs_marker)
            && provider.has_seen_marker()
            && !noted.swap(true, Ordering::Relaxed);
        if !is_new {
            continue;
        }
        let place = MarkedPlace::of(provider.destination());
        let recording = inner.ledger.note_marker(place, inner.clock.unix_ms());
        // What was asked for is done, whoever waits for the answer.
        drop(recording);
    }
}
