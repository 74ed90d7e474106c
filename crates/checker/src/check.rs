//! The promises of SPEC 3, key by key.

use crate::channel::{Record, Stored};
use crate::log::{Call, History, Log};
use commentd_contract::Outcome;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Why a key's history breaks the promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which promise, from 1 to 5; 0 for a comment that nobody asked for.
    pub promise: u8,
    /// The key.
    pub key: String,
    /// The comment's place in the batch.
    pub item: usize,
    /// What is wrong.
    pub what: String,
    /// The comment's history, a line an event.
    pub history: Vec<String>,
}

/// Goes through all keys, and through all comments of the channel.
pub fn check(log: &Log, record: &Record) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut owners: BTreeMap<&str, &History> = BTreeMap::new();
    for (text, history) in &log.histories {
        let mut found = check_one(history, record.of(text));
        for answer in history.calls.iter().filter_map(|call| call.answer.as_ref()) {
            if answer.comment_id.is_empty() || !exists(answer.outcome) {
                continue;
            }
            let owner = owners.entry(&answer.comment_id).or_insert(history);
            if !std::ptr::eq(*owner, history) {
                let other = format!("{}[{}]", owner.key, owner.item);
                found.push((2, format!("comment {} was claimed for {other}, too", answer.comment_id)));
            }
        }
        found.sort();
        found.dedup();
        violations.extend(found.into_iter().map(|(promise, what)| Violation {
            promise,
            key: history.key.clone(),
            item: history.item,
            what,
            history: told(text, history, record),
        }));
    }
    for (text, stored) in &record.stored {
        if !log.histories.contains_key(text) {
            violations.push(Violation {
                promise: 0,
                key: String::new(),
                item: 0,
                what: format!("the channel has {} comments that nobody asked for: {text:?}", stored.len()),
                history: Vec::new(),
            });
        }
    }
    violations
}

fn exists(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Delivered | Outcome::Held | Outcome::Misplaced)
}

fn check_one(history: &History, stored: &[Stored]) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    if stored.len() > 1 {
        found.push((1, format!("the channel has it {} times", stored.len())));
    }
    for call in &history.calls {
        let (Some(answer), Some(ended_ms)) = (&call.answer, call.ended_ms) else { continue };
        match answer.outcome {
            Outcome::Delivered | Outcome::Held | Outcome::Misplaced => {
                check_existing(call, ended_ms, stored, &mut found);
            }
            Outcome::Refused => {
                if !stored.is_empty() {
                    found.push((3, "it was answered refused, and the channel has it".into()));
                }
            }
            Outcome::NotSent => check_absent(history, call, ended_ms, stored, &mut found),
            // None or one; promise 1 has counted already.
            Outcome::Unknown | Outcome::DryRun => {}
        }
    }
    check_changes(history, &mut found);
    found
}

fn check_existing(call: &Call, ended_ms: u64, stored: &[Stored], found: &mut Vec<(u8, String)>) {
    let Some(answer) = &call.answer else { return };
    let outcome = answer.outcome;
    // Milliseconds are cut off on both sides alike, so a comment stored before the answer never looks younger.
    if !stored.iter().any(|comment| comment.stored_at_ms <= ended_ms) {
        let what = if stored.is_empty() { "has none" } else { "stored it only later" };
        found.push((2, format!("it was answered {outcome}, and the channel {what}")));
    } else if !answer.comment_id.is_empty() && !stored.iter().any(|comment| comment.id == answer.comment_id) {
        found.push((
            2,
            format!("it was answered {outcome} as comment {}, which is another one", answer.comment_id),
        ));
    }
}

/// After `not_sent` there is none, until a call that was still open then, or came later, adds one.
fn check_absent(
    history: &History,
    call: &Call,
    ended_ms: u64,
    stored: &[Stored],
    found: &mut Vec<(u8, String)>,
) {
    if stored.iter().any(|comment| comment.stored_at_ms > 0 && comment.stored_at_ms < ended_ms) {
        found.push((3, "it was answered not_sent while the channel had it".into()));
    }
    let end = call.ended.unwrap_or(usize::MAX);
    let others_may_send = history
        .calls
        .iter()
        .any(|other| other.asked != call.asked && other.ended.is_none_or(|other_end| other_end > end));
    if !stored.is_empty() && !others_may_send {
        found.push((3, "its last word was not_sent, and the channel has it".into()));
    }
}

fn check_changes(history: &History, found: &mut Vec<(u8, String)>) {
    let answered = || history.calls.iter().filter(|call| call.answer.is_some());
    for first in answered() {
        let Some(certain) = first.answer.as_ref().filter(|answer| answer.outcome.is_final()) else {
            continue;
        };
        for later in answered() {
            let Some(answer) = &later.answer else { continue };
            let is_later = first.ended.is_some_and(|ended| later.asked > ended);
            if answer.outcome.is_final() {
                if answer.outcome != certain.outcome {
                    found.push((5, format!("{} became {}", certain.outcome, answer.outcome)));
                } else if answer.comment_id != certain.comment_id {
                    found.push((5, "its comment id changed".into()));
                }
            } else if is_later {
                found.push((5, format!("{} became {}", certain.outcome, answer.outcome)));
            }
        }
    }
}

/// A comment's history, for people.
fn told(text: &str, history: &History, record: &Record) -> Vec<String> {
    let mut lines = vec![format!("key {}[{}], text {text:?}", history.key, history.item)];
    for call in &history.calls {
        let mut line = format!("#{} asked at {}", call.asked, call.asked_ms);
        let _ = match (&call.answer, call.ended, call.ended_ms) {
            (Some(answer), Some(ended), Some(at_ms)) => write!(
                line,
                "; #{ended} answered at {at_ms}: {} {} {}{}",
                answer.outcome,
                answer.comment_id,
                answer.error_message,
                if answer.replayed { " (replayed)" } else { "" }
            ),
            (_, Some(ended), Some(at_ms)) => write!(line, "; #{ended} ended at {at_ms}: {}", call.silence),
            _ => write!(line, "; {}", call.silence),
        };
        lines.push(line);
    }
    for comment in record.of(text) {
        lines.push(format!("the channel has {} since {}", comment.id, comment.stored_at_ms));
    }
    for (texts, what) in [
        (&record.hit, "met a fault"),
        (&record.lied, "the channel lied about it"),
        (&record.stayed_away, "the channel stored it later than it says it does"),
    ] {
        if texts.contains(text) {
            lines.push(what.to_owned());
        }
    }
    lines
}
