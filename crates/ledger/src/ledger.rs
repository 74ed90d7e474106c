//! What a ledger is to do: the trait, and what its operations take and return.

use crate::error::LedgerError;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, Destination, KeyRef, Resolution};
use commentd_delivery::{Comment, DeliveryId, Fingerprint, Verdict};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What every ledger operation returns. Dropping it does not undo the operation: what was asked for is done or
/// not, and only the answer is lost.
pub type LedgerFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerError>> + Send + 'a>>;

/// What a ledger is stamped with at birth: deliveries to real channels, or rehearsals of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stamp {
    /// Deliveries to channels.
    Live,
    /// Mock and replayed exchanges.
    Rehearsal,
}

/// A key's claim, with the first attempt's intent: one commit.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The delivery's id, if it is new.
    pub id: DeliveryId,
    /// The caller's name for it.
    pub key: KeyRef,
    /// What the comment is.
    pub fingerprint: Fingerprint,
    /// The comment.
    pub comment: Arc<Comment>,
    /// The trace of the request.
    pub trace_id: Arc<str>,
    /// The first attempt; its `number` is 1 and its `verdict` and `resolution` are `None`.
    pub intent: AttemptRecord,
}

/// What became of an [`Opening`].
#[derive(Clone, Debug, PartialEq)]
pub enum Opened {
    /// The key was free; delivery and intent are durable.
    New,
    /// The key is taken; nothing was recorded.
    Known(Box<DeliveryRecord>),
}

/// What an attempt came to, to be recorded.
#[derive(Clone, Debug)]
pub struct Settling {
    /// Which delivery.
    pub id: DeliveryId,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Its own end, or what resolved it after it had ended unknown.
    pub end: AttemptEnd,
    /// Wall time, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The two ways in which a settling says what an attempt came to.
#[derive(Clone, Debug)]
pub enum AttemptEnd {
    /// The attempt itself ended so.
    Verdict(Verdict),
    /// The attempt had ended unknown, and this made it certain.
    Resolution(Resolution),
}

impl AttemptEnd {
    /// What the attempt came to.
    pub fn into_verdict(self) -> Verdict {
        match self {
            AttemptEnd::Verdict(verdict) => verdict,
            AttemptEnd::Resolution(resolution) => resolution.verdict,
        }
    }
}

/// What became of a [`Settling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is durable, its comment id claimed where the verdict proves that it is ours.
    Recorded,
    /// The comment id belongs to another delivery. Nothing was recorded.
    ClaimLost,
}

/// Which record to read.
#[derive(Clone, Debug)]
pub enum FindBy {
    /// By the delivery's id.
    Id(DeliveryId),
    /// By the whole key.
    Key(KeyRef),
}

/// A place and an account at which a marker of ours was seen, so that the channel keeps markers there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarkedPlace {
    /// The channel's name.
    pub channel: String,
    /// Its base URL, without userinfo or query.
    pub base_url: String,
    /// Who comments there.
    pub account: String,
}

impl MarkedPlace {
    /// Where this leads.
    pub fn of(destination: &Destination) -> Self {
        let Destination { channel, base_url, account, .. } = destination.clone();
        Self { channel, base_url, account }
    }

    /// Whether this leads there.
    pub fn is_at(&self, destination: &Destination) -> bool {
        *self == Self::of(destination)
    }
}

/// Most records that one [`Ledger::list`] returns, whatever its limit says.
pub const MAX_LISTED: u32 = 1000;

/// Which records to list.
#[derive(Clone, Debug, Default)]
pub struct RecordFilter {
    /// Only deliveries with this outcome; one with an open attempt counts as unknown.
    pub outcome: Option<commentd_contract::Outcome>,
    /// Only this caller's.
    pub caller: Option<String>,
    /// Only the items of this caller's key.
    pub key: Option<(String, String)>,
    /// At most this many, newest first; no ledger returns more than [`MAX_LISTED`].
    pub limit: u32,
}

/// What a ledger says about itself, for `/health`, the start line and the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerDescription {
    /// `sqlite` or `memory`.
    pub kind: &'static str,
    /// Its own id, made at birth: 32 hexadecimal digits, the same for as long as the ledger lives. `None` for one
    /// that ends with its process, so that nobody counts on finding it again.
    pub id: Option<String>,
    /// The file, if there is one.
    pub location: String,
    /// What it holds.
    pub stamp: Stamp,
    /// Whether what it records survives the process.
    pub durable: bool,
}

/// The record of deliveries.
///
/// An operation that has answered `Ok` is durable (as far as the ledger is) and visible to every later
/// operation. Operations that record are carried out one after another in the order in which they were called; one
/// that reads sees all that was called before it, and may see what was called after it while it waited.
pub trait Ledger: Send + Sync {
    /// Claims a key and records the first intent, or returns what stands under the key.
    fn open(&self, opening: Opening) -> LedgerFuture<'_, Opened>;

    /// Records the intent of a further attempt of a delivery (`number` is one more than the last's). The
    /// delivery is unsettled again.
    ///
    /// # Errors
    /// `Conflict` if the delivery's outcome is final, or an attempt is open, or the number isn't the next.
    fn intend(&self, id: DeliveryId, intent: AttemptRecord) -> LedgerFuture<'_, ()>;

    /// Records what an attempt came to. A verdict of an attempt that has one, or a resolution of one that is
    /// not unknown, is a `Conflict`: certain things never change. So is a resolution while any attempt of the
    /// delivery is open, or one whose own verdict leaves it unknown.
    fn settle(&self, settling: Settling) -> LedgerFuture<'_, Settled>;

    /// Reads one record.
    fn find(&self, find: FindBy) -> LedgerFuture<'_, Option<DeliveryRecord>>;

    /// Reads records, newest first.
    fn list(&self, filter: RecordFilter) -> LedgerFuture<'_, Vec<DeliveryRecord>>;

    /// At start: gives every open attempt the verdict `interrupted`, and returns the ids of all deliveries whose
    /// outcome is unknown, oldest first. Ids alone, because there may be a million of them. It is `at_ms` now (wall
    /// time, milliseconds since 1970).
    fn recover(&self, at_ms: u64) -> LedgerFuture<'_, Vec<DeliveryId>>;

    /// Erases the comment of a settled delivery; key, fingerprint and outcome stay.
    fn forget(&self, id: DeliveryId) -> LedgerFuture<'_, ()>;

    /// Tells the ledger that a process has run on it for `passed_ms` more (monotonic time, milliseconds), and that it
    /// is `at_ms` now (wall time, milliseconds since 1970). By that it ages; and at a recovery by the wall time that
    /// has passed since, up to an hour, so that no wrong wall clock makes it old. It may keep that in memory for some
    /// minutes.
    fn age(&self, passed_ms: u64, at_ms: u64) -> LedgerFuture<'_, ()>;

    /// Removes up to `most` deliveries that were settled when the ledger was younger by `kept_ms` or more, their claims
    /// included; those whose outcome is unknown stay. Returns how many it removed.
    fn sweep(&self, kept_ms: u64, most: u32) -> LedgerFuture<'_, u32>;

    /// Remembers that a marker of ours was seen at this place, at this wall time in milliseconds since 1970, for as long
    /// as the ledger lives. Of one that is remembered already, nothing changes.
    fn note_marker(&self, place: MarkedPlace, at_ms: u64) -> LedgerFuture<'_, ()>;

    /// The places where a marker of ours was seen, in their order.
    fn marked_places(&self) -> LedgerFuture<'_, Vec<MarkedPlace>>;

    /// Proves that it can still record, without recording anything about a delivery.
    fn check(&self) -> LedgerFuture<'_, ()>;

    /// What this ledger is.
    fn describe(&self) -> LedgerDescription;

    /// Carries out what was asked for already, flushes and closes; later operations are `Closed`.
    fn close(&self) -> LedgerFuture<'_, ()>;
}
