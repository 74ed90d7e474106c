//! The first tier: the pure machine against a modelled ledger, channels and network.
//!
//! A history is the whole life of one delivery: several runs of the machine over a chain of up to four channels,
//! with crashes, hang-ups, requests that come again under the same key, lookups, a person who settles what is
//! unknown, and a ledger that fails. The model knows what really happened, and holds every answer and every record
//! against it.

#![allow(clippy::indexing_slicing, reason = "in a model, an index that is wrong should fail loudly")]

pub mod channel;
pub mod dice;
mod driver;
pub mod history;
mod promise;

use commentd_contract::VerdictKind;
use commentd_delivery::breaker::{BreakerEpoch, BreakerPermit};
use commentd_delivery::retry::RetryPermit;
use commentd_delivery::step::ProviderHealth;
use commentd_delivery::{Moment, Verdict};
use std::time::Duration;

/// This many milliseconds.
const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A verdict of this kind with a text that names it.
fn verdict(kind: VerdictKind) -> Verdict {
    Verdict::new(kind, format!("the channel says {kind}"))
}

/// A retry budget with this much left in it, and the links that can't be tried.
#[derive(Debug, Default)]
struct FakeProviderHealth {
    /// Retries left.
    retries: u32,
    /// Links whose breaker is open.
    shut: Vec<usize>,
    /// At which links' places a marker was seen.
    marked: Vec<bool>,
    /// Attempts that were sent and have not ended.
    under_way: i64,
}

impl FakeProviderHealth {
    /// One with this many retries and no link shut.
    fn of(retries: u32) -> Self {
        Self { retries, ..Self::default() }
    }
}

impl ProviderHealth for FakeProviderHealth {
    fn obstacle(&mut self, link: usize, _now: Moment) -> Option<Verdict> {
        self.shut.contains(&link).then(|| Verdict {
            retry_after_ms: Some(1000),
            ..Verdict::new(VerdictKind::Denied, format!("link {link} is shut"))
        })
    }

    fn has_seen_marker(&mut self, link: usize) -> bool {
        self.marked.get(link).copied().unwrap_or_default()
    }

    fn attempt_starts(&mut self, link: usize) -> BreakerPermit {
        assert!(!self.shut.contains(&link), "an attempt at a link that is shut");
        BreakerPermit::default()
    }

    fn attempt_is_sent(&mut self, _link: usize, _retry: Option<RetryPermit>, _now: Moment) {
        self.under_way += 1;
    }

    fn attempt_ends(
        &mut self,
        _link: usize,
        _pass: BreakerPermit,
        _verdict: &Verdict,
        _took: Duration,
        _now: Moment,
    ) {
        self.under_way -= 1;
    }

    fn attempt_is_found(&mut self, _link: usize, _era: BreakerEpoch) {}

    fn withdraw_retry(&mut self, _link: usize, _now: Moment) -> Option<RetryPermit> {
        let granted = (self.retries > 0).then(RetryPermit::default);
        self.retries = self.retries.saturating_sub(1);
        granted
    }
}
