//! What a run came to, in figures.

use crate::channel::Record;
use crate::check::{Violation, check};
use crate::log::Log;
use commentd_contract::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Keys.
    pub keys: u64,
    /// Comments that were asked for, all keys' items together.
    pub comments: u64,
    /// Calls.
    pub calls: u64,
    /// Calls without an answer.
    pub unanswered: u64,
    /// Comments that the channel has.
    pub effects: u64,
    /// Comments by the last outcome that was answered; `none` for those that never had an answer.
    pub outcomes: BTreeMap<String, u64>,
    /// Comments hit by a fault: of the channel, or a call about them had no answer, or `unknown` for an answer.
    pub hit: u64,
    /// Of those, the ones whose first answer was `unknown`, or that had no answer to their first call.
    pub unknown_before_lookup: u64,
    /// Of those, the ones whose last answer was `unknown`; lies and late ones left aside.
    pub unknown_after_lookup: u64,
    /// Comments about which the channel lied, and that look like violations because of it.
    pub channel_lies: u64,
    /// Comments that the channel stored later than it says it does, and that look like violations because of it.
    pub stayed_away: u64,
    /// Comments whose history breaks the promise.
    pub violations: u64,
}

impl Summary {
    /// Judges a run; also gives the violations, without those that are the channel's.
    pub fn of(log: &Log, record: &Record) -> (Self, Vec<Violation>) {
        let mut summary = Summary {
            keys: log.keys,
            comments: log.histories.len() as u64,
            calls: log.calls,
            unanswered: log.unanswered,
            effects: record.stored.values().map(|stored| stored.len() as u64).sum(),
            ..Summary::default()
        };
        for (text, history) in &log.histories {
            let answers = || history.calls.iter().filter_map(|call| call.answer.as_ref());
            let last = answers().next_back().map(|answer| answer.outcome);
            let word = last.map_or_else(|| "none".to_owned(), |outcome| outcome.to_string());
            *summary.outcomes.entry(word).or_default() += 1;
            let silent = history.calls.iter().any(|call| call.answer.is_none());
            let ever_unknown = answers().any(|answer| answer.outcome == Outcome::Unknown);
            if !(record.hit.contains(text) || silent || ever_unknown) {
                continue;
            }
            summary.hit += 1;
            let first = history.calls.first().and_then(|call| call.answer.as_ref());
            if first.is_none_or(|answer| answer.outcome == Outcome::Unknown) {
                summary.unknown_before_lookup += 1;
            }
            let excused = record.lied.contains(text) || record.stayed_away.contains(text);
            if last.is_none_or(|outcome| outcome == Outcome::Unknown) && !excused {
                summary.unknown_after_lookup += 1;
            }
        }
        let texts: BTreeMap<(&str, usize), &str> =
            log.histories.iter().map(|(text, h)| ((h.key.as_str(), h.item), text.as_str())).collect();
        let is_in = |violation: &Violation, set: &BTreeSet<String>| {
            texts.get(&(violation.key.as_str(), violation.item)).is_some_and(|text| set.contains(*text))
        };
        let mut ours = Vec::new();
        let (mut lies, mut away) = (BTreeSet::new(), BTreeSet::new());
        for violation in check(log, record) {
            let name = (violation.key.clone(), violation.item);
            if is_in(&violation, &record.lied) {
                lies.insert(name);
            } else if is_in(&violation, &record.stayed_away) {
                away.insert(name);
            } else {
                ours.push(violation);
            }
        }
        let broken: BTreeSet<(&str, usize, &str)> = ours
            .iter()
            .map(|v| (v.key.as_str(), v.item, if v.promise == 0 { &*v.what } else { "" }))
            .collect();
        summary.channel_lies = lies.len() as u64;
        summary.stayed_away = away.len() as u64;
        summary.violations = broken.len() as u64;
        (summary, ours)
    }

    /// The share of the comments hit by a fault that stayed unknown, in percent.
    pub fn unknown_after_percent(&self) -> f64 {
        percent(self.unknown_after_lookup, self.hit)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<String> =
            self.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        writeln!(f, "  keys                  {}", self.keys)?;
        writeln!(f, "  comments              {}", self.comments)?;
        writeln!(f, "  calls                 {} ({} unanswered)", self.calls, self.unanswered)?;
        writeln!(f, "  comments stored       {}", self.effects)?;
        writeln!(f, "  last outcomes         {}", outcomes.join(", "))?;
        writeln!(f, "  hit by a fault        {}", self.hit)?;
        writeln!(
            f,
            "  unknown of those      {} before lookup ({:.2} %), {} after ({:.4} %)",
            self.unknown_before_lookup,
            percent(self.unknown_before_lookup, self.hit),
            self.unknown_after_lookup,
            self.unknown_after_percent()
        )?;
        writeln!(f, "  lies of the channel   {}", self.channel_lies)?;
        writeln!(f, "  stored too late       {}", self.stayed_away)?;
        write!(f, "  violations            {}", self.violations)
    }
}
