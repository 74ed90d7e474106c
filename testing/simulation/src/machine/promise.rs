//! The promises of SPEC 3 and 4, checked against the hidden effects while a history unfolds.

use commentd_contract::{Code, Outcome, ProviderName, VerdictKind};
use commentd_delivery::reply::{DeliverError, DeliveryReply, DeliveryResult};
use commentd_delivery::step::Ending;
use commentd_delivery::{Moment, Verdict};
use std::time::Duration;

/// How much later than asked the model's wake-ups and replies may come, all together.
pub(crate) const SLACK: Duration = Duration::from_millis(12);

/// An attempt as the model's ledger has it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The channel that it was sent to.
    pub(crate) channel: usize,
    /// When its intent was asked for.
    pub(crate) started: Moment,
    /// What was recorded; `None` while it is open.
    pub(crate) verdict: Option<Verdict>,
    /// What a lookup made of it.
    pub(crate) resolution: Option<Verdict>,
    /// It became durable although the machine was told that it didn't.
    pub(crate) phantom: bool,
}

impl Row {
    /// What is known of it.
    pub(crate) fn settled(&self) -> Option<&Verdict> {
        self.resolution.as_ref().or(self.verdict.as_ref())
    }

    fn kind(&self) -> Option<VerdictKind> {
        self.settled().map(|verdict| verdict.kind)
    }

    /// Open or unknown.
    pub(crate) fn is_unresolved(&self) -> bool {
        matches!(self.kind(), None | Some(VerdictKind::Unknown))
    }
}

/// What these attempts come to, by the words of SPEC 4 and without the crate's own code.
pub(crate) fn comes_to<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> Outcome {
    for row in rows.clone() {
        match row.kind() {
            Some(VerdictKind::Delivered) => return Outcome::Delivered,
            Some(VerdictKind::Held) => return Outcome::Held,
            Some(VerdictKind::Misplaced) => return Outcome::Misplaced,
            _ => {}
        }
    }
    if rows.clone().any(Row::is_unresolved) {
        return Outcome::Unknown;
    }
    match rows.last().and_then(Row::kind) {
        Some(VerdictKind::Refused | VerdictKind::Duplicate) => Outcome::Refused,
        _ => Outcome::NotSent,
    }
}

/// What one run of a delivery has come to so far.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what has happened, each by itself")]
pub(crate) struct Run {
    /// Whether there is somebody to answer, or was until they hung up.
    pub(crate) has_caller: bool,
    /// They hung up.
    pub(crate) gone: bool,
    /// When the answer is due.
    pub(crate) deadline: Moment,
    /// How long a settling may be waited for after it.
    pub(crate) grace: Duration,
    /// The caller was told something.
    pub(crate) is_answered: bool,
    /// It asks for another comment under the key of one that is known.
    pub(crate) other_comment: bool,
    /// The server made the key.
    pub(crate) key_is_new: bool,
    /// The ledger has said what stands under the key.
    pub(crate) key_is_told: bool,
    /// The ledger has said that it can't be read.
    pub(crate) key_is_unreadable: bool,
    /// As `--unknown-as success` has it.
    pub(crate) unknown_is_success: bool,
    /// The ledger refused a settling or an intent.
    pub(crate) ledger_failed: bool,
    /// A settling failed that may pass, and wasn't tried again yet.
    pub(crate) owes_settling: bool,
    /// Ended in this run, and not in the ledger yet.
    pub(crate) unrecorded: bool,
    /// The sidecar is shutting down.
    pub(crate) is_draining: bool,
    /// A person has settled it in this run.
    pub(crate) person_resolved: bool,
    /// The channel and the moment of every attempt of this run.
    pub(crate) sends: Vec<(usize, Moment)>,
    /// A channel has asked not to be asked again before that.
    pub(crate) patience: Vec<(usize, Moment)>,
}

impl Run {
    /// One that has just begun.
    pub(crate) fn new(deadline: Moment, grace: Duration) -> Self {
        Self {
            has_caller: false,
            gone: false,
            deadline,
            grace,
            is_answered: false,
            other_comment: false,
            key_is_new: false,
            key_is_told: false,
            key_is_unreadable: false,
            unknown_is_success: false,
            ledger_failed: false,
            owes_settling: false,
            unrecorded: false,
            is_draining: false,
            person_resolved: false,
            sends: Vec::new(),
            patience: Vec::new(),
        }
    }
}

fn say(broken: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if broken { Err(text()) } else { Ok(()) }
}

/// Checks what the caller is told.
pub(crate) fn on_reply(
    run: &Run,
    result: &DeliveryResult,
    rows: &[Row],
    effects: usize,
    now: Moment,
) -> Result<(), String> {
    say(!run.has_caller || run.gone, || "an answer to nobody".into())?;
    say(run.is_answered, || "a second answer".into())?;
    say(now > run.deadline + run.grace + SLACK, || "the answer comes after deadline and grace".into())?;
    let reply = match result {
        Ok(reply) => reply,
        Err(error) => return on_error(run, error, rows, effects, now),
    };
    say(run.other_comment, || "a request for another comment is answered with this one's outcome".into())?;
    let recorded = comes_to(rows.iter().filter(|row| !row.phantom));
    let outcome = reply.outcome;
    match outcome {
        Outcome::Delivered | Outcome::Held | Outcome::Misplaced => {
            say(effects != 1, || format!("answered {outcome} while {effects} comments exist"))?;
        }
        Outcome::Refused | Outcome::NotSent => {
            say(effects != 0, || format!("answered {outcome} while {effects} comments exist"))?;
        }
        Outcome::Unknown => {
            let excused = run.ledger_failed || now >= run.deadline + run.grace;
            say(run.unrecorded && !excused, || "answered before the verdict was recorded".into())?;
            say(recorded != Outcome::Unknown && !run.unrecorded && !excused, || {
                format!("answered unknown although it is {recorded}")
            })?;
        }
        Outcome::DryRun => return Err("answered dry_run".into()),
    }
    say(outcome != Outcome::Unknown && outcome != recorded, || {
        format!("answered {outcome} while the ledger says {recorded}")
    })?;
    say(!code_fits(outcome, reply.code), || format!("answered {outcome} with code {}", reply.code.number()))?;
    say(reply.id.is_none() && !run.sends.is_empty(), || "answered as unrecorded after sending".into())?;
    on_attempts(run, reply, rows)
}

/// Checks that a reply tells of every attempt that is recorded, and of its recorded verdict.
fn on_attempts(run: &Run, reply: &DeliveryReply, rows: &[Row]) -> Result<(), String> {
    let recorded: Vec<&Row> = rows.iter().filter(|row| !row.phantom).collect();
    if reply.id.is_none() || run.ledger_failed {
        return Ok(());
    }
    say(reply.attempts.len() != recorded.len(), || {
        format!("the answer tells of {} attempts, and {} are recorded", reply.attempts.len(), recorded.len())
    })?;
    let differs = |((_, told), row): (&(ProviderName, Option<Verdict>), &&Row)| {
        told.as_ref().is_some_and(|told| row.kind() != Some(told.kind))
    };
    say(reply.attempts.iter().zip(&recorded).any(differs), || {
        "the answer tells of a verdict that isn't recorded".into()
    })
}

/// Checks an error that somebody is told.
fn on_error(
    run: &Run,
    error: &DeliverError,
    rows: &[Row],
    effects: usize,
    now: Moment,
) -> Result<(), String> {
    say(error.is_success(run.unknown_is_success), || {
        format!("{error:?} counts as a success, and nothing is recorded")
    })?;
    match error {
        DeliverError::KeyInFlight => Err("the key is said to be in flight, and nobody else has it".into()),
        DeliverError::LedgerSilent => {
            let is_early = now < run.deadline && !run.key_is_unreadable;
            say(is_early, || "the ledger is called silent before the deadline".into())?;
            say(!run.sends.is_empty(), || "the ledger is called silent after sending".into())?;
            say(run.key_is_told, || "the ledger is called silent after it has told".into())
        }
        DeliverError::NotRecorded(_) => {
            let recorded = comes_to(rows.iter().filter(|row| !row.phantom));
            let is_wrong = recorded != Outcome::NotSent || effects != 0;
            say(is_wrong, || format!("said never to have been sent, and the ledger says {recorded}"))
        }
        DeliverError::NotReadable(_) => {
            say(!run.sends.is_empty(), || "nothing is said to have been sent now, and it was".into())
        }
        DeliverError::KeyReused(_) => {
            say(!run.other_comment, || "the key is said to belong to another comment".into())
        }
        DeliverError::Failed => Err("it fails".into()),
    }
}

/// Checks what those who follow are told instead, once the caller was answered or has hung up.
pub(crate) fn on_update(
    run: &Run,
    result: &DeliveryResult,
    rows: &[Row],
    effects: usize,
) -> Result<(), String> {
    match result {
        Ok(reply) if reply.id.is_some() => on_known(reply.outcome, rows, effects),
        // Nothing is recorded by this request: whoever follows tries afresh.
        Ok(reply) => say(reply.outcome != Outcome::NotSent, || {
            format!("{} is said of what isn't recorded", reply.outcome)
        }),
        Err(DeliverError::KeyInFlight) => Err("the key is said to be in flight after its end".into()),
        Err(error) => say(error.is_success(run.unknown_is_success), || {
            format!("{error:?} counts as a success, and nothing is recorded")
        }),
    }
}

/// Checks what a follower is told. `is_over`: the delivery isn't in flight any more.
pub(crate) fn on_follower(
    run: &Run,
    result: Option<&DeliveryResult>,
    rows: &[Row],
    effects: usize,
    is_over: bool,
) -> Result<(), String> {
    match result {
        // It tries by itself.
        None => say(!is_over, || "a follower is sent off while the delivery is in flight".into()),
        Some(Err(DeliverError::KeyInFlight)) => {
            say(is_over, || "a follower hears of a key in flight that isn't".into())
        }
        Some(result) => on_update(run, result, rows, effects),
    }
}

fn on_known(outcome: Outcome, rows: &[Row], effects: usize) -> Result<(), String> {
    let recorded = comes_to(rows.iter().filter(|row| !row.phantom));
    say(outcome != Outcome::Unknown && outcome != recorded, || {
        format!("{outcome} is said while the ledger says {recorded}")
    })?;
    let stored = matches!(outcome, Outcome::Delivered | Outcome::Held | Outcome::Misplaced);
    let wrong = if stored { effects != 1 } else { outcome != Outcome::Unknown && effects != 0 };
    say(wrong, || format!("{outcome} is said while {effects} comments exist"))
}

/// Whether the contract's effect column lets this code stand beside this outcome.
fn code_fits(outcome: Outcome, code: Code) -> bool {
    let code = code.number();
    match outcome {
        Outcome::Delivered | Outcome::Held => code == 0,
        Outcome::Misplaced => code == 57,
        Outcome::Unknown => [1, 2, 3, 30, 51, 55, 56].contains(&code),
        _ => [10, 20, 31, 40, 50, 51, 52, 53, 54, 60, 61, 62, 63, 65, 66].contains(&code),
    }
}

/// Checks that this attempt may go out now. `window`: how long its channel deduplicates.
pub(crate) fn on_send(
    run: &Run,
    rows: &[Row],
    attempt: usize,
    channel: usize,
    most: u32,
    window: Option<Duration>,
    now: Moment,
) -> Result<(), String> {
    let own = rows.get(attempt);
    say(own.is_none_or(|row| row.channel != channel || row.verdict.is_some() || row.phantom), || {
        format!("attempt {attempt} is sent without a durable intent")
    })?;
    say(attempt + 1 != rows.len(), || format!("attempt {attempt} is sent, which is not the last"))?;
    say(!run.has_caller || run.gone, || "a comment is sent for nobody".into())?;
    say(run.is_answered, || "a comment is sent after the answer".into())?;
    say(run.other_comment, || "another comment is sent under the key of one that is known".into())?;
    say(now >= run.deadline, || "a comment is sent after the deadline".into())?;
    say(run.ledger_failed, || "a comment is sent although the ledger fails".into())?;
    let earlier = &rows[..attempt];
    let before = comes_to(earlier.iter());
    say(before != Outcome::NotSent && before != Outcome::Unknown, || {
        format!("a comment is sent although it is {before}")
    })?;
    for row in earlier.iter().filter(|row| row.is_unresolved()) {
        say(row.channel != channel, || "a comment is sent elsewhere while an attempt is unresolved".into())?;
        let covered = window.is_some_and(|window| now.since(row.started) < window);
        say(!covered, || "an unresolved attempt is repeated without deduplication".into())?;
    }
    let tries = run.sends.iter().filter(|(other, _)| *other == channel).count();
    say(tries >= most as usize, || format!("attempt {} of at most {most} at a provider", tries + 1))?;
    let asked = run.patience.iter().any(|(other, until)| *other == channel && now < *until);
    say(asked, || "a comment is sent before the channel's hint has passed".into())
}

/// Checks that a settling changes the ledger only as promised.
pub(crate) fn on_settling(
    rows: &[Row],
    attempt: usize,
    verdict: &Verdict,
    resolves: bool,
) -> Result<(), String> {
    let Some(row) = rows.get(attempt) else {
        return Err(format!("attempt {attempt} is settled without an intent"));
    };
    if !resolves {
        return say(row.verdict.is_some(), || format!("attempt {attempt} is settled twice"));
    }
    let unknown = row.verdict.as_ref().is_some_and(|known| known.kind == VerdictKind::Unknown) || row.phantom;
    say(!unknown || row.resolution.is_some(), || format!("attempt {attempt} is resolved, but was certain"))?;
    say(verdict.kind == VerdictKind::Unknown, || format!("attempt {attempt} is resolved as unknown"))?;
    let says_it_has_it = |row: &Row| row.verdict.as_ref().is_some_and(|said| said.contradiction.is_some());
    let contradicted =
        rows[attempt..].iter().any(|later| later.channel == row.channel && says_it_has_it(later));
    say(verdict.kind == VerdictKind::NotSent && contradicted, || {
        format!("attempt {attempt} is said to be absent, and the channel has said that it has it")
    })
}

/// Checks what the ledger says after a change.
pub(crate) fn on_change(before: Outcome, rows: &[Row], effects: usize) -> Result<(), String> {
    let after = comes_to(rows.iter());
    say(before.is_final() && before != after, || format!("{before} became {after}"))?;
    on_truth(after, effects)
}

/// Checks what the ledger says against what is.
pub(crate) fn on_truth(outcome: Outcome, effects: usize) -> Result<(), String> {
    say(effects > 1, || format!("{effects} comments exist"))?;
    let stored = matches!(outcome, Outcome::Delivered | Outcome::Held | Outcome::Misplaced);
    let wrong = if stored { effects != 1 } else { outcome != Outcome::Unknown && effects != 0 };
    say(wrong, || format!("the ledger says {outcome} while {effects} comments exist"))
}

/// Checks that a run that is over has answered, and owes the ledger nothing that it could have recorded.
pub(crate) fn on_finish(run: &Run, ending: Option<Ending>) -> Result<(), String> {
    let is_owed = run.has_caller && !run.gone && !run.is_answered;
    say(is_owed, || "it finishes without an answer".into())?;
    say(run.owes_settling && !run.is_draining, || {
        "it finishes, and what could be recorded later never will be".into()
    })?;
    say(ending == Some(Ending::HandedOver) && run.owes_settling, || "it is handed over unrecorded".into())
}
