//! What a run came to, in figures.

use crate::channel::ChannelRecord;
use crate::check::{Excuse, Violation, check, effects};
use crate::log::{CallLog, CommentHistory};
use commentd_contract::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a run came to. A comment is one item of one key.
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
    /// Comments that the channel has and that were asked for before it had them.
    pub effects: u64,
    /// Comments of somebody else: the channel had them before anybody asked.
    pub foreign: u64,
    /// Comments by the last outcome that was answered; `none` for those of which nothing was ever said.
    pub outcomes: BTreeMap<String, u64>,
    /// Faults of the channel, by name.
    pub faults: BTreeMap<String, u64>,
    /// Comments hit by a fault: of the channel, or a call about them had no answer, or `unknown` for an answer.
    pub hit: u64,
    /// Of those, the ones whose first answer was `unknown`, or that had no answer to their first call.
    pub unknown_before_lookup: u64,
    /// Of those, the ones whose last answer was `unknown`, or that never had one; lies and late ones left aside.
    pub unknown_after_lookup: u64,
    /// Comments that look like violations because the channel lied about them.
    pub channel_lies: u64,
    /// Comments that look like violations because the channel stored them later than it says it does.
    pub stayed_away: u64,
    /// Comments whose history breaks the promise.
    pub violations: u64,
}

impl Summary {
    /// Judges a run; also gives the violations, without those that are the channel's.
    pub fn of(log: &CallLog, record: &ChannelRecord) -> (Self, Vec<Violation>) {
        let mut summary = Summary {
            keys: log.keys,
            comments: log.histories.len() as u64,
            calls: log.calls,
            unanswered: log.unanswered,
            faults: record.faults.clone(),
            ..Summary::default()
        };
        for (text, history) in &log.histories {
            summary.count(text, history, record);
        }
        let mut comments: BTreeMap<Option<Excuse>, BTreeSet<String>> = BTreeMap::new();
        let mut ours = Vec::new();
        for violation in check(log, record) {
            // A comment that nobody asked for has no key; its text tells it from others.
            let name = match violation.promise {
                0 => violation.what.clone(),
                _ => format!("{}[{}]", violation.key, violation.item),
            };
            comments.entry(violation.excuse).or_default().insert(name);
            if violation.excuse.is_none() {
                ours.push(violation);
            }
        }
        let count = |excuse| comments.get(&excuse).map_or(0, |names| names.len() as u64);
        summary.channel_lies = count(Some(Excuse::Lied));
        summary.stayed_away = count(Some(Excuse::StayedAway));
        summary.violations = count(None);
        (summary, ours)
    }

    fn count(&mut self, text: &str, history: &CommentHistory, record: &ChannelRecord) {
        let (effects, others) = effects(history, record.of(text));
        self.effects += effects.len() as u64;
        self.foreign += others as u64;
        let answers = || history.calls.iter().filter_map(|call| Some((call.ended?, call.answer.as_ref()?)));
        let last = answers().max_by_key(|(ended, _)| *ended).map(|(_, answer)| answer.outcome);
        let word = last.map_or_else(|| "none".to_owned(), |outcome| outcome.to_string());
        *self.outcomes.entry(word).or_default() += 1;
        let silent = history.calls.iter().any(|call| call.answer.is_none() && !call.put_off);
        let ever_unknown = answers().any(|(_, answer)| answer.outcome == Outcome::Unknown);
        if !(record.hit.contains(text) || silent || ever_unknown) {
            return;
        }
        self.hit += 1;
        let first = history.calls.iter().find(|call| !call.put_off).and_then(|call| call.answer.as_ref());
        if first.is_none_or(|answer| answer.outcome == Outcome::Unknown) {
            self.unknown_before_lookup += 1;
        }
        let excused = record.lied.contains(text) || record.stayed_away.contains(text);
        if last.is_none_or(|outcome| outcome == Outcome::Unknown) && !excused {
            self.unknown_after_lookup += 1;
        }
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
        writeln!(f, "  comments stored       {} ({} of others)", self.effects, self.foreign)?;
        let faults: Vec<String> =
            self.faults.iter().map(|(fault, count)| format!("{fault} {count}")).collect();
        if !faults.is_empty() {
            writeln!(f, "  faults of the channel {}", faults.join(", "))?;
        }
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
