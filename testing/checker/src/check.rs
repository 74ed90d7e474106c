//! The promises of SPEC 3, key by key.

use crate::channel::{ChannelComment, ChannelRecord};
use crate::log::{CallLog, CommentCall, CommentHistory, ItemReply};
use commentd_contract::Outcome;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
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
    /// Whose it is, where the channel broke its own word about this comment in a way that looks like this.
    pub excuse: Option<Excuse>,
    /// The comment's history, a line an event.
    pub history: Vec<String>,
}

/// What the channel did that no client of it could have known. The promise is given only for channels that don't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Excuse {
    /// It stored the comment and answered that it had refused it.
    Lied,
    /// It stored the comment later than it says it ever does.
    StayedAway,
}

/// A way in which the history of one comment breaks the promise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Breach {
    promise: u8,
    what: String,
    excuse: Option<Excuse>,
}

/// What the channel did to one comment, and so what it can be blamed for.
struct ChannelBlame {
    lied: bool,
    stayed_away: bool,
}

impl ChannelBlame {
    fn away(&self) -> Option<Excuse> {
        self.stayed_away.then_some(Excuse::StayedAway)
    }

    fn lie_or_away(&self) -> Option<Excuse> {
        if self.lied { Some(Excuse::Lied) } else { self.away() }
    }
}

/// The breaches of the promise in one comment.
#[derive(Default)]
struct Breaches(BTreeSet<Breach>);

impl Breaches {
    fn add(&mut self, promise: u8, excuse: Option<Excuse>, what: impl Into<String>) {
        self.0.insert(Breach { promise, what: what.into(), excuse });
    }
}

/// Goes through all keys, and through all comments of the channel.
pub fn check(log: &CallLog, record: &ChannelRecord) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut owners: BTreeMap<&str, &CommentHistory> = BTreeMap::new();
    for (text, history) in &log.histories {
        let blame =
            ChannelBlame { lied: record.lied.contains(text), stayed_away: record.stayed_away.contains(text) };
        let (stored, _) = effects(history, record.of(text));
        let mut found = check_one(history, &stored, &blame);
        check_departures(history, record.left.get(text).map_or(&[], Vec::as_slice), &mut found);
        for answer in history.calls.iter().filter_map(|call| call.answer.as_ref()) {
            if answer.comment_id.is_empty() || !exists(answer.outcome) {
                continue;
            }
            let owner = owners.entry(&answer.comment_id).or_insert(history);
            if !std::ptr::eq(*owner, history) {
                let other = format!("{}[{}]", owner.key, owner.item);
                found.add(2, None, format!("comment {} was claimed for {other}, too", answer.comment_id));
            }
        }
        violations.extend(found.0.into_iter().map(|breach| Violation {
            promise: breach.promise,
            key: history.key.clone(),
            item: history.item,
            what: breach.what,
            excuse: breach.excuse,
            history: lines_of(text, history, record),
        }));
    }
    for (text, stored) in &record.stored {
        if !log.histories.contains_key(text) {
            violations.push(Violation {
                promise: 0,
                key: String::new(),
                item: 0,
                what: format!("the channel has {} comments that nobody asked for: {text:?}", stored.len()),
                excuse: None,
                history: Vec::new(),
            });
        }
    }
    violations
}

/// The comments with this text that its key may have added, and how many were there before anybody asked for it:
/// those are somebody else's.
pub(crate) fn effects<'a>(
    history: &CommentHistory,
    stored: &'a [ChannelComment],
) -> (Vec<&'a ChannelComment>, usize) {
    let asked_ms = history.calls.iter().map(|call| call.asked_ms).min().unwrap_or(0);
    let is_ours = |comment: &&ChannelComment| comment.stored_at_ms == 0 || comment.stored_at_ms >= asked_ms;
    let ours: Vec<&ChannelComment> = stored.iter().filter(is_ours).collect();
    let others = stored.len() - ours.len();
    (ours, others)
}

fn exists(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Delivered | Outcome::Held | Outcome::Misplaced)
}

fn check_one(history: &CommentHistory, stored: &[&ChannelComment], blame: &ChannelBlame) -> Breaches {
    let mut found = Breaches::default();
    if stored.len() > 1 {
        // A lie is no excuse: what was refused is never sent again.
        found.add(1, blame.away(), format!("the channel has it {} times", stored.len()));
    }
    for call in &history.calls {
        let (Some(answer), Some(ended_ms)) = (&call.answer, call.ended_ms) else { continue };
        match answer.outcome {
            Outcome::Delivered | Outcome::Held | Outcome::Misplaced => {
                check_existing(answer, ended_ms, stored, &mut found);
            }
            Outcome::Refused => {
                if !stored.is_empty() {
                    let what = "it was answered refused, and the channel has it";
                    found.add(3, blame.lie_or_away(), what);
                }
            }
            Outcome::NotSent => check_absent(history, call, ended_ms, stored, blame, &mut found),
            // None or one; promise 1 has counted already.
            Outcome::Unknown => {}
            Outcome::DryRun => found.add(0, None, "a dry run was answered to a client that asked for none"),
        }
    }
    for call in &history.calls {
        check_words(history, call, &mut found);
    }
    check_changes(history, &mut found);
    found
}

/// What is said beside an outcome, or instead of one, must be true as well.
fn check_words(history: &CommentHistory, call: &CommentCall, found: &mut Breaches) {
    let is_before =
        |other: &&CommentCall| other.asked != call.asked && call.ended.is_none_or(|end| other.asked < end);
    if call.says_in_flight && !history.calls.iter().any(|other| is_before(&other)) {
        found.add(4, None, "it was told to be in flight, and nobody else had asked for it");
    }
    let fails = call
        .answer
        .as_ref()
        .is_none_or(|answer| matches!(answer.outcome, Outcome::NotSent | Outcome::Refused));
    if call.says_success && fails {
        found.add(4, None, "it was told a success, and nothing of it is recorded or there");
    }
}

/// A comment leaves only while somebody waits for it.
fn check_departures(history: &CommentHistory, left_ms: &[u64], found: &mut Breaches) {
    for left_ms in left_ms {
        let waits = |call: &CommentCall| {
            call.asked_ms <= *left_ms && call.ended_ms.is_none_or(|ended_ms| *left_ms <= ended_ms)
        };
        if !history.calls.iter().any(waits) {
            found.add(3, None, format!("it was sent at {left_ms}, when nobody waited for it"));
        }
    }
}

fn check_existing(answer: &ItemReply, ended_ms: u64, stored: &[&ChannelComment], found: &mut Breaches) {
    let outcome = answer.outcome;
    // Milliseconds are cut off on both sides alike, so a comment stored before the answer never looks younger.
    if !stored.iter().any(|comment| comment.stored_at_ms <= ended_ms) {
        let what = if stored.is_empty() { "has none" } else { "stored it only later" };
        found.add(2, None, format!("it was answered {outcome}, and the channel {what}"));
        return;
    }
    let named = stored.iter().find(|comment| comment.id == answer.comment_id);
    if named.is_none() && !answer.comment_id.is_empty() {
        let id = &answer.comment_id;
        found.add(2, None, format!("it was answered {outcome} as comment {id}, which is another one"));
    }
    let stands = named.or(stored.first()).and_then(|comment| comment.stands);
    if let Some(stands) = stands.filter(|stands| !fits(outcome, *stands)) {
        found.add(2, None, format!("it was answered {outcome}, and at the channel it is {stands}"));
    }
}

/// Whether an outcome fits how the comment stands now. Somebody may have published meanwhile what was held.
fn fits(outcome: Outcome, stands: Outcome) -> bool {
    outcome == stands || (outcome == Outcome::Held && stands == Outcome::Delivered)
}

/// After `not_sent` there is none, until a call that was still open then, or came later, adds one.
fn check_absent(
    history: &CommentHistory,
    call: &CommentCall,
    ended_ms: u64,
    stored: &[&ChannelComment],
    blame: &ChannelBlame,
    found: &mut Breaches,
) {
    let end = call.ended.unwrap_or(usize::MAX);
    let others = || {
        let ended_later = |other: &&CommentCall| other.ended.is_none_or(|other_end| other_end > call.asked);
        history.calls.iter().filter(|other| other.asked != call.asked).filter(ended_later)
    };
    // While another call is open, it may add the comment between this answer's making and its arrival.
    let before_ms = if others().any(|other| other.asked < end) { call.asked_ms } else { ended_ms };
    if stored.iter().any(|comment| comment.stored_at_ms > 0 && comment.stored_at_ms < before_ms) {
        found.add(3, blame.away(), "it was answered not_sent while the channel had it");
    }
    if !stored.is_empty() && others().next().is_none() {
        found.add(3, blame.away(), "its last word was not_sent, and the channel has it");
    }
}

fn check_changes(history: &CommentHistory, found: &mut Breaches) {
    let answered = || history.calls.iter().filter(|call| call.answer.is_some());
    // Against the first certain answer, every other certain one and every later doubt is a change.
    let is_certain =
        |call: &&CommentCall| call.answer.as_ref().is_some_and(|answer| answer.outcome.is_final());
    let first = answered().filter(is_certain).min_by_key(|call| call.ended);
    let Some((first, certain)) = first.and_then(|first| Some((first, first.answer.as_ref()?))) else {
        return;
    };
    for later in answered() {
        let Some(answer) = &later.answer else { continue };
        let is_later = first.ended.is_some_and(|ended| later.asked > ended);
        if answer.outcome.is_final() {
            if answer.outcome != certain.outcome {
                found.add(5, None, format!("{} became {}", certain.outcome, answer.outcome));
            } else if answer.comment_id != certain.comment_id {
                let (was, is) = (&certain.comment_id, &answer.comment_id);
                found.add(5, None, format!("its comment id changed from {was:?} to {is:?}"));
            }
        } else if is_later {
            found.add(5, None, format!("{} became {}", certain.outcome, answer.outcome));
        }
    }
}

/// A comment's history, for people.
fn lines_of(text: &str, history: &CommentHistory, record: &ChannelRecord) -> Vec<String> {
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
