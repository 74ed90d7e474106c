//! Asks providers how they are: at start, while they aren't able, and before a breaker lets a delivery try again.
//!
//! A provider that is able and known to be there isn't asked: its attempts show how it is, and the hook's pipe serves one
//! client at a time, who shouldn't be us for nothing.

use super::Inner;
use commentd_delivery::{Clock, Moment};
use commentd_providers::Provider;
use commentd_providers::status::ProbeState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often it is considered whether somebody should be asked.
const TICK: Duration = Duration::from_millis(250);
/// Between two probes of a provider that isn't able.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Watches one link until the drain begins.
pub(super) async fn watch(inner: Arc<Inner>, link: usize) {
    let drain = inner.drain.clone();
    tokio::select! {
        () = drain.cancelled() => {}
        () = ask_when_due(&inner, link) => {}
    }
}

async fn ask_when_due(inner: &Inner, link: usize) {
    let Some(provider) = inner.links.get(link).filter(|provider| provider.has_probe()) else { return };
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: Option<Moment> = None;
    loop {
        ticks.tick().await;
        let now = inner.clock.now();
        let breaker_asks = inner.links.wants_probe(link, now);
        if !breaker_asks && !is_due(&**provider, asked, now) {
            continue;
        }
        let before = provider.status();
        let condition = provider.probe().await;
        let now = inner.clock.now();
        asked = Some(now);
        inner.links.probed(link, condition.is_good(), now);
        if condition != before {
            let health = condition.health.why_not().unwrap_or("up");
            let capability = condition.capability.why_not().unwrap_or("able");
            tracing::info!(provider = %provider.name(), health, capability, "probed");
        }
    }
}

fn is_due(provider: &dyn Provider, asked: Option<Moment>, now: Moment) -> bool {
    let is_well = provider.status().capability == ProbeState::Yes && !is_unrecognized(provider);
    !is_well && asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN_AFTER)
}

/// Whether it hasn't shown by now that it is there and is what it should be.
pub(super) fn is_unrecognized(provider: &dyn Provider) -> bool {
    provider.status().identity != ProbeState::Yes
}
