//! What goes into the delivery machine and what comes out of it.

use crate::breaker::{BreakerEpoch, BreakerPermit};
use crate::lookup::{LookupAbility, LookupResult};
use crate::retry::RetryPermit;
use crate::verdict::Verdict;
use commentd_contract::time::Moment;
use commentd_contract::{Code, Outcome};
use std::fmt;
use std::time::Duration;

/// A link of the chain, as far as decisions need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderRules {
    /// Most attempts of this provider in one run.
    pub max_attempts: u32,
    /// With less time left than this, an attempt isn't started.
    pub min_useful: Duration,
    /// How long the channel deduplicates by our key; `None`: it doesn't. An unknown attempt is repeated, in the same
    /// call or a later one, only if this reaches from the delivery's first attempt here to the deadline.
    pub deduplicates_within: Option<Duration>,
    /// What a lookup here can show; `None`: there is none.
    pub lookup: Option<LookupAbility>,
    /// Whether an attempt needs a lane or a turn within the channel's pace, for which it may have to queue.
    pub queues: bool,
}

/// An attempt of an earlier run of this delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierAttempt {
    /// The link that leads to where it was sent; `None` if that isn't configured any more.
    pub link: Option<usize>,
    /// What is known of it.
    pub verdict: Verdict,
    /// When it began, by this process's clock; `None` if an earlier process began it, or nobody has kept it.
    pub started: Option<Moment>,
    /// Whether it may have passed its gate, whatever a lookup or a person has made of it since.
    pub was_sent: bool,
}

/// What a machine is made from.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The providers in order.
    pub chain: Vec<ProviderRules>,
    /// When the caller gets an answer, whatever happened.
    pub deadline: Moment,
    /// How long after the deadline a settling may still be waited for.
    pub grace: Duration,
    /// Attempts of earlier runs, in order.
    pub earlier: Vec<EarlierAttempt>,
    /// The seed of this delivery's own random stream.
    pub seed: u64,
    /// Whether there is a caller to answer; a recovery at start has none.
    pub has_caller: bool,
}

/// What all deliveries share about the providers. The machine asks; the owner counts.
pub trait ProviderHealth {
    /// Why no attempt may start at this link now: its breaker is open, or its provider isn't able. The verdict is
    /// what the caller reads about the link that is skipped.
    fn obstacle(&mut self, link: usize, now: Moment) -> Option<Verdict>;
    /// Whether a marker of ours was seen at this link's place, so that the channel keeps them there.
    fn has_seen_marker(&mut self, link: usize) -> bool;
    /// An attempt is about to go out to this link. The permit comes back with [`ProviderHealth::attempt_ends`], or is dropped
    /// where nothing is sent.
    fn attempt_starts(&mut self, link: usize) -> BreakerPermit;
    /// The attempt goes to its provider, as a retry if it has a permit.
    fn attempt_is_sent(&mut self, link: usize, retry: Option<RetryPermit>, now: Moment);
    /// An attempt with this permit, which was sent, has ended after this time at the provider.
    fn attempt_ends(
        &mut self,
        link: usize,
        permit: BreakerPermit,
        verdict: &Verdict,
        took: Duration,
        now: Moment,
    );
    /// An attempt that has ended as unknown in this epoch was found at the channel.
    fn attempt_is_found(&mut self, link: usize, epoch: BreakerEpoch);
    /// Reserves one retry of the link's budget; `None` if there is none left.
    fn withdraw_retry(&mut self, link: usize, now: Moment) -> Option<RetryPermit>;
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin.
    Start,
    /// The delivery has the lane that [`Action::Queue`] asked for, and its turn has come.
    LaneFree {
        /// Whose lane.
        link: usize,
    },
    /// The delivery's turn within the channel's pace would come too late.
    NoTurn {
        /// Whose pace.
        link: usize,
        /// What the caller reads, with the time to come again.
        verdict: Verdict,
    },
    /// The intent is durable.
    IntentRecorded,
    /// The intent can't be recorded.
    IntentFailed,
    /// The running attempt came to this.
    Ended(Verdict),
    /// What became of [`Action::Cancel`]: true if the gate was not passed and now never will be.
    Cancelled(bool),
    /// The settling is durable.
    Settled,
    /// The settling names a comment id that another delivery has claimed; nothing was recorded.
    ClaimLost,
    /// The settling can't be recorded.
    SettlingFailed,
    /// The moment of the last [`Action::Wake`] has come.
    Woken,
    /// The caller hung up.
    CallerGone,
    /// A lookup that began at the given moment came to this.
    Looked(LookupResult, Moment),
    /// Whoever waits is to be answered now, with what is known: the deadline has come early.
    AnswerNow,
    /// Somebody asks for this delivery while it is only being looked up: look now.
    LookNow,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait for a lane of this link and for the delivery's turn, and report [`Event::LaneFree`], or
    /// [`Event::NoTurn`]. The lane is the delivery's until its attempt
    /// has ended or [`Action::Leave`].
    Queue {
        /// Which link.
        link: usize,
    },
    /// Give back the lane, or the place in the queue for one.
    Leave,
    /// The link is skipped, for the reason that the verdict gives. There is no attempt, and nothing to record.
    Skip {
        /// Which link.
        link: usize,
        /// Why, as callers read it.
        verdict: Verdict,
    },
    /// Make the intent of this attempt (from 0, over the delivery's whole life) durable.
    RecordIntent {
        /// Which attempt.
        attempt: usize,
        /// Which link.
        link: usize,
    },
    /// Let the provider try.
    Send {
        /// Which attempt.
        attempt: usize,
        /// Which link.
        link: usize,
    },
    /// Try to close the running attempt's gate and report [`Event::Cancelled`].
    Cancel,
    /// Make this verdict durable; `resolves` if it replaces an unknown one.
    RecordSettling {
        /// Which attempt.
        attempt: usize,
        /// What it came to.
        verdict: Verdict,
        /// Whether it is the resolution of an attempt that was recorded as unknown.
        resolves: bool,
    },
    /// Report [`Event::Woken`] at this moment, unless another wake-up replaces it.
    Wake(Moment),
    /// Ask the channel for the comment of this attempt.
    Look {
        /// Which attempt.
        attempt: usize,
        /// Which link.
        link: usize,
    },
    /// Answer the caller. Comes exactly once where there is a caller.
    Answer(Answer),
    /// Nothing more will happen.
    Finish,
}

/// In a few words, for example `settle 0 denied` or `answer unknown 56`: what traces and tests show.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Queue { link } => write!(f, "queue {link}"),
            Action::Leave => f.write_str("leave"),
            Action::Skip { link, verdict } => {
                write!(f, "skip {link} {} {}", verdict.kind, verdict.code.number())
            }
            Action::RecordIntent { attempt, link } => write!(f, "intent {attempt}@{link}"),
            Action::Send { attempt, link } => write!(f, "send {attempt}@{link}"),
            Action::Cancel => f.write_str("cancel"),
            Action::RecordSettling { attempt, verdict, resolves } => {
                write!(f, "{} {attempt} {}", if *resolves { "resolve" } else { "settle" }, verdict.kind)
            }
            Action::Wake(moment) => write!(f, "wake {}", moment.since_start().as_millis()),
            Action::Look { attempt, link } => write!(f, "look {attempt}@{link}"),
            Action::Answer(answer) => {
                write!(f, "answer {} {}", answer.outcome, answer.code.number())?;
                if let Some(hint_ms) = answer.retry_after_ms {
                    write!(f, " hint {hint_ms}")?;
                }
                f.write_str(if answer.recorded { "" } else { " unrecorded" })
            }
            Action::Finish => f.write_str("finish"),
        }
    }
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the delivery came to, as far as is known.
    pub outcome: Outcome,
    /// The code.
    pub code: Code,
    /// The text.
    pub message: String,
    /// When it makes sense to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// False if not even the first intent could be recorded, so that there is nothing to replay.
    pub recorded: bool,
}
