//! Plays many seeds and tells what they came to.

use crate::{Story, Tier};
use commentd_delivery::rule_switch::RuleSwitch;
use serde::Serialize;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Seeds that a thread takes at a time.
const CHUNK: u64 = 64;

/// What many seeds came to: the line that `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Which tier.
    pub tier: &'static str,
    /// The first seed.
    pub first_seed: u64,
    /// How many histories were played; fewer than asked for if one broke a promise.
    pub histories: u64,
    /// How long it took.
    pub seconds: f64,
    /// How fast that was.
    pub histories_per_second: u64,
    /// Histories that broke a promise; the run ends with the first, so 0 or 1.
    pub violations: u64,
    /// The lowest seed that was seen to break a promise.
    pub failed_seed: Option<u64>,
    /// The command that plays it again, with everything that happened.
    pub replay: Option<String>,
    /// What it broke.
    pub broken: Option<String>,
    /// Rules that were switched off.
    pub off: Vec<&'static str>,
    /// How often what happened, over all histories.
    pub counts: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct Sum {
    histories: u64,
    counts: BTreeMap<&'static str, u64>,
    failed: Option<(u64, String)>,
}

/// Plays these seeds on as many threads as there are cores. Ends early once one breaks a promise.
#[expect(clippy::disallowed_methods, reason = "only the speed that is reported depends on it")]
pub fn many(tier: Tier, seeds: Range<u64>, off: &[RuleSwitch]) -> Report {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if first >= seeds.end {
                        return;
                    }
                    if play_chunk(tier, first..(first + CHUNK).min(seeds.end), &sum) {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    report(tier, &seeds, off, sum.into_inner().unwrap_or_else(PoisonError::into_inner), seconds)
}

/// True if one of them broke a promise.
fn play_chunk(tier: Tier, seeds: Range<u64>, sum: &Mutex<Sum>) -> bool {
    let mut own = Sum::default();
    for seed in seeds {
        let Story { broken, counts, .. } = tier.play(seed, false);
        own.histories += 1;
        for (what, count) in counts {
            *own.counts.entry(what).or_default() += count;
        }
        if let Some(broken) = broken {
            own.failed = Some((seed, broken));
            break;
        }
    }
    let has_failed = own.failed.is_some();
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    sum.histories += own.histories;
    for (what, count) in own.counts {
        *sum.counts.entry(what).or_default() += count;
    }
    sum.failed = match (sum.failed.take(), own.failed) {
        (Some(one), Some(other)) => Some(if one.0 < other.0 { one } else { other }),
        (one, other) => one.or(other),
    };
    has_failed
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate for people"
)]
fn report(tier: Tier, seeds: &Range<u64>, off: &[RuleSwitch], sum: Sum, seconds: f64) -> Report {
    let off: Vec<&'static str> = off.iter().map(|rule| rule.as_str()).collect();
    let replay = sum.failed.as_ref().map(|(seed, _)| {
        let switches: String = off.iter().map(|rule| format!(" --without {rule}")).collect();
        format!("commentd-simulate {} --seeds {seed}..{} --trace{switches}", tier.as_str(), seed + 1)
    });
    Report {
        tier: tier.as_str(),
        first_seed: seeds.start,
        histories: sum.histories,
        seconds,
        histories_per_second: (sum.histories as f64 / seconds.max(1e-9)) as u64,
        violations: u64::from(sum.failed.is_some()),
        failed_seed: sum.failed.as_ref().map(|(seed, _)| *seed),
        replay,
        broken: sum.failed.map(|(_, broken)| broken),
        off,
        counts: sum.counts,
    }
}
