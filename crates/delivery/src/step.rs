//! What goes into the delivery machine and what comes out of it.

use crate::breaker::{BreakerEpoch, BreakerPermit};
use crate::fingerprint::Fingerprint;
use crate::gate::OwnWait;
use crate::id::DeliveryId;
use crate::known::KnownDelivery;
use crate::lookup::{LookupAbility, LookupResult};
use crate::reply::{DeliverError, DeliveryResult};
use crate::retry::RetryPermit;
use crate::verdict::Verdict;
use commentd_contract::time::Moment;
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A provider of the chain, as far as decisions need to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProviderRules {
    /// Which provider.
    pub name: ProviderName,
    /// Most attempts of this provider in one run.
    pub max_attempts: u32,
    /// With less time left than this, an attempt isn't started.
    pub min_useful: Duration,
    /// How long the channel deduplicates by our key; `None`: it doesn't. An unknown attempt is repeated, in the same
    /// call or a later one, only if this reaches from the delivery's first attempt here to the deadline.
    pub deduplicates_within: Option<Duration>,
    /// What a lookup here can show; `None`: there is none.
    pub lookup: Option<LookupAbility>,
    /// Whether an attempt needs a permit or a slot within the channel's pace, for which it may have to queue.
    pub queues: bool,
}

/// What a machine is made from. Providers are meant by their index in the chain, here and in events and actions.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The delivery's id, if it turns out to be a new one.
    pub id: DeliveryId,
    /// The trace of the request.
    pub trace_id: Arc<str>,
    /// What its comment is.
    pub fingerprint: Fingerprint,
    /// The providers in order.
    pub chain: Vec<ProviderRules>,
    /// When the caller gets an answer, whatever happened.
    pub deadline: Moment,
    /// How long after the deadline a settling, or a reading of the key, may still be waited for.
    pub grace: Duration,
    /// Whether the server made the key, so that nothing can stand under it.
    pub key_is_new: bool,
    /// The delivery as the ledger knows it, where that is known from the start.
    pub known: Option<Box<KnownDelivery>>,
    /// Whether there is a caller to answer. A lookup in the background has none; it has its lookup permit instead.
    pub has_caller: bool,
}

/// What all deliveries share about the providers. The machine asks; the owner counts.
pub trait ProviderHealth {
    /// Why no attempt may start at this provider now: its breaker is open, or its provider isn't able. The verdict is
    /// what the caller reads about the provider that is skipped.
    fn obstacle(&mut self, provider: usize, now: Moment) -> Option<Verdict>;
    /// Whether this provider's breaker lets one delivery at a time try.
    fn is_half_open(&mut self, provider: usize, now: Moment) -> bool;
    /// Whether a marker of ours was seen at this provider's place, so that the channel keeps them there.
    fn has_seen_marker(&mut self, provider: usize) -> bool;
    /// An attempt is about to go out to this provider. The permit comes back with [`ProviderHealth::attempt_ends`], or
    /// is dropped where nothing is sent.
    fn attempt_starts(&mut self, provider: usize) -> BreakerPermit;
    /// The attempt goes to its provider, as a retry if it has a permit.
    fn attempt_is_sent(&mut self, provider: usize, retry: Option<RetryPermit>, now: Moment);
    /// An attempt with this permit, which was sent, has ended after this time at the provider.
    fn attempt_ends(
        &mut self,
        provider: usize,
        permit: BreakerPermit,
        verdict: &Verdict,
        took: Duration,
        now: Moment,
    );
    /// An attempt that has ended as unknown in this epoch was found at the channel.
    fn attempt_is_found(&mut self, provider: usize, epoch: BreakerEpoch);
    /// Reserves one retry of the provider's budget; `None` if there is none left.
    fn withdraw_retry(&mut self, provider: usize, now: Moment) -> Option<RetryPermit>;
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Begin.
    Start,
    /// The ledger has this delivery: under the key, or by its id, as was asked.
    KeyKnown(Box<KnownDelivery>),
    /// The ledger has nothing under the key.
    KeyFree,
    /// The ledger can't be read.
    KeyUnreadable,
    /// The delivery has the permit, and the slot within the channel's pace, that [`Action::Queue`] asked for.
    PermitGranted {
        /// Whose.
        provider: usize,
    },
    /// The delivery's slot within the channel's pace would come too late.
    NoSlot {
        /// Whose pace.
        provider: usize,
        /// What the caller reads, with the time to come again.
        verdict: Verdict,
    },
    /// The intent is durable, and with the first one the key is claimed.
    IntentRecorded,
    /// The intent can't be recorded, for this reason.
    IntentFailed(String),
    /// The running attempt came to this.
    AttemptEnded(Verdict),
    /// What became of [`Action::Cancel`].
    Cancelled {
        /// Whether the gate was not passed and now never will be.
        unsent: bool,
        /// Whether the attempt has waited for something that isn't its provider's.
        own_wait: OwnWait,
    },
    /// The settling is durable.
    Settled,
    /// The settling names a comment id that another delivery has claimed; nothing was recorded.
    ClaimLost,
    /// The settling wasn't recorded, for this reason.
    SettleFailed(SettleFailure, String),
    /// The moment of the last [`Action::Wake`] has come.
    Woken,
    /// The caller hung up.
    CallerGone,
    /// A lookup that began at the given moment came to this.
    LookupDone(LookupResult, Moment),
    /// Whether [`Action::TakeLookupPermit`] found one.
    LookupPermit(bool),
    /// Whoever waits is to be answered now, with what is known: the deadline has come early.
    AnswerNow,
    /// Somebody asks for this delivery while it is only being looked up, and waits for that.
    FollowerAsks {
        /// How long.
        until: Moment,
    },
    /// Somebody asks for this delivery while it is only being looked up, and may have it sent again.
    HandOver,
    /// A person has made certain what was unknown.
    ResolvedByPerson,
    /// The sidecar is shutting down: what is only looked up is left for the next start.
    Drain,
}

/// Why a settling wasn't recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleFailure {
    /// It may pass: a full disk, a full queue.
    Transient,
    /// Somebody else has settled it.
    Conflict,
    /// It won't pass.
    Permanent,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Read what stands under the key, and report [`Event::KeyKnown`], [`Event::KeyFree`] or [`Event::KeyUnreadable`].
    ReadKey,
    /// Read this delivery by its id, and report as for the key.
    ReadDelivery(DeliveryId),
    /// Record of this delivery's open attempts that they were interrupted, because nobody has them in flight, and report
    /// it as for the key.
    CloseOpenAttempts(DeliveryId),
    /// Wait for a permit of this provider and for the delivery's slot, and report [`Event::PermitGranted`] or
    /// [`Event::NoSlot`]. The permit is the delivery's until its attempt has ended or [`Action::LeaveQueue`].
    Queue {
        /// Which provider.
        provider: usize,
    },
    /// Give back the permit, or the place in the queue for one.
    LeaveQueue,
    /// The provider is skipped, for the reason that the verdict gives. There is no attempt, and nothing to record.
    Skip {
        /// Which provider.
        provider: usize,
        /// Why, as callers read it.
        verdict: Verdict,
    },
    /// Make the intent of this attempt (from 0, over the delivery's whole life) durable, and report
    /// [`Event::IntentRecorded`] or [`Event::IntentFailed`].
    RecordIntent {
        /// Which attempt.
        attempt: usize,
        /// Which provider.
        provider: usize,
        /// Whether the key is to be claimed with it. Then [`Event::KeyKnown`] may come back, too.
        claims_key: bool,
    },
    /// Let the provider try, and report [`Event::AttemptEnded`].
    Send {
        /// Which attempt.
        attempt: usize,
        /// Which provider.
        provider: usize,
    },
    /// Try to close the running attempt's gate and report [`Event::Cancelled`].
    Cancel,
    /// Make this verdict durable, and report [`Event::Settled`], [`Event::ClaimLost`] or [`Event::SettleFailed`].
    RecordSettling {
        /// Which attempt.
        attempt: usize,
        /// What it came to.
        verdict: Verdict,
        /// Whether it is the resolution of an attempt that was recorded as unknown.
        resolves: bool,
        /// When that was known; earlier than now where an earlier recording has failed.
        known_at: Moment,
        /// How long to wait before.
        after: Duration,
    },
    /// Report [`Event::Woken`] at this moment, unless another wake-up replaces it.
    Wake(Moment),
    /// Ask the channel for the comment of this attempt, and report [`Event::LookupDone`].
    LookUp {
        /// Which attempt.
        attempt: usize,
        /// Which provider.
        provider: usize,
        /// The comment id that a reply to the attempt gave, if its echo was ours; else empty.
        receipt: String,
        /// Whether somebody waits for what it finds.
        awaited: bool,
    },
    /// Take the right to go on looking it up once nobody waits any more, give back the place among those that are to be
    /// sent, and report [`Event::LookupPermit`].
    TakeLookupPermit,
    /// Answer the caller. Comes at most once, and exactly once where a caller waits to the end.
    Reply(DeliveryResult),
    /// What is known has changed since the caller was answered, or hung up: this is for those who follow.
    UpdateReply(DeliveryResult),
    /// Tell those who follow whether it is only looked up, and until when it may be sent again.
    ShowProgress {
        /// Whether nothing more is sent.
        only_lookups: bool,
        /// Until when a caller whose deadline comes earlier may have it sent again.
        repeats_until: Option<Moment>,
    },
    /// Write this to the log.
    Log(Notice),
    /// Nothing more will happen here.
    Finish(Ending),
}

/// How a machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing more is to be done, or the next start will do it.
    Over,
    /// It is unknown, and to be looked up once there is a permit for it.
    ToBacklog,
    /// It is left to a caller that may have it sent again, and to be looked up if that one doesn't.
    HandedOver,
}

/// Something for the people who read the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The intent can't be recorded, for this reason; what stands under the key is read.
    KeyMayBeKnown(String),
    /// The intent can't be recorded, for this reason, so nothing is sent.
    IntentFailed(String),
    /// The channel names a comment that another delivery has claimed.
    ClaimLost,
    /// The settling can't be recorded yet, for this reason; it is tried again.
    SettlesLater(String),
    /// Somebody else has settled it, as this says.
    SettledByOthers(String),
    /// The settling can't be recorded, for this reason.
    NotSettled(String),
    /// A verdict was recorded after the answer, and this is the outcome now.
    SettledAfterReply(VerdictKind, Outcome),
}

/// In a few words, for example `settle 0 denied` or `answer unknown 56`: what traces and tests show.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::ReadKey => f.write_str("read key"),
            Action::ReadDelivery(_) => f.write_str("read delivery"),
            Action::CloseOpenAttempts(_) => f.write_str("close open attempts"),
            Action::Queue { provider } => write!(f, "queue {provider}"),
            Action::LeaveQueue => f.write_str("leave"),
            Action::Skip { provider, verdict } => {
                write!(f, "skip {provider} {} {}", verdict.kind, verdict.code.number())
            }
            Action::RecordIntent { attempt, provider, .. } => write!(f, "intent {attempt}@{provider}"),
            Action::Send { attempt, provider } => write!(f, "send {attempt}@{provider}"),
            Action::Cancel => f.write_str("cancel"),
            Action::RecordSettling { attempt, verdict, resolves, after, .. } => {
                let what = if *resolves { "resolve" } else { "settle" };
                write!(f, "{what} {attempt} {}", verdict.kind)?;
                if after.is_zero() { Ok(()) } else { write!(f, " in {}", after.as_millis()) }
            }
            Action::Wake(moment) => write!(f, "wake {}", moment.since_start().as_millis()),
            Action::LookUp { attempt, provider, .. } => write!(f, "lookup {attempt}@{provider}"),
            Action::TakeLookupPermit => f.write_str("take lookup permit"),
            Action::Reply(reply) => write_reply(f, "answer", reply),
            Action::UpdateReply(reply) => write_reply(f, "update", reply),
            Action::ShowProgress { only_lookups, repeats_until } => {
                let repeats = if repeats_until.is_some() { ", repeats" } else { "" };
                write!(
                    f,
                    "show {}{repeats}",
                    if *only_lookups { "only lookups" } else { "more than lookups" }
                )
            }
            Action::Log(notice) => write!(f, "log {notice:?}"),
            Action::Finish(Ending::Over) => f.write_str("finish"),
            Action::Finish(Ending::ToBacklog) => f.write_str("finish to backlog"),
            Action::Finish(Ending::HandedOver) => f.write_str("finish handed over"),
        }
    }
}

fn write_reply(f: &mut fmt::Formatter<'_>, verb: &str, reply: &DeliveryResult) -> fmt::Result {
    let reply = match reply {
        Ok(reply) => reply,
        Err(error) => {
            let what = match error {
                DeliverError::KeyReused(_) => "key reused",
                DeliverError::KeyInFlight => "key in flight",
                DeliverError::LedgerSilent => "ledger silent",
                DeliverError::NotRecorded(_) => "not recorded",
                DeliverError::NotReadable(_) => "not readable",
                DeliverError::Failed => "failed",
            };
            return write!(f, "{verb} {what}");
        }
    };
    write!(f, "{verb} {} {}", reply.outcome, reply.code.number())?;
    if let Some(hint_ms) = reply.retry_after_ms {
        write!(f, " hint {hint_ms}")?;
    }
    f.write_str(if reply.replayed { " replayed" } else { "" })?;
    f.write_str(if reply.id.is_some() { "" } else { " unrecorded" })
}
