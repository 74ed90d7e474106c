//! What the dispatcher knows of a provider.

use crate::rate_limiter::Slot;
use crate::status::ProviderStatus;
use commentd_channels::ReadBack;
use commentd_contract::ProviderName;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{Comment, DeliveryId, Gate, Moment, Verdict};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a provider's operations return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One comment to be handed over, or to be looked for.
#[derive(Clone, Debug)]
pub struct ProviderJob {
    /// The delivery's id.
    pub id: DeliveryId,
    /// The comment.
    pub comment: Arc<Comment>,
    /// The trace that the attempt belongs to.
    pub trace_id: Arc<str>,
    /// Which attempt of the delivery, from 1.
    pub attempt: u32,
    /// When its first attempt began: wall time, in milliseconds since 1970; `None` where that isn't known. A lookup
    /// needn't read what was stored long before.
    pub began_ms: Option<u64>,
    /// When its caller gets an answer: after this, a gate that wasn't passed is cancelled.
    pub deadline: Moment,
}

/// A request as it would be sent, without its secrets: what a dry run shows.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Rendered {
    /// The HTTP method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Header names and values, secrets as `***`.
    pub headers: Vec<(String, String)>,
    /// The body; null if there is none.
    pub body: serde_json::Value,
}

/// Executes attempts at one place, and looks there for comments.
///
/// # What an implementation owes
/// - [`Provider::attempt`] calls [`Gate::pass`] once, immediately before the comment is handed to its connection, and
///   hands it over only if that returns true. All that can be refused without the channel is refused before.
/// - Its verdict says only what is known: an error before the gate is `not_sent` or `denied`, one after it `unknown`,
///   unless the channel's own words, or a proof by protocol, say otherwise.
/// - Every operation ends by itself within a timeout of its own.
/// - [`Provider::lookup`], [`Provider::read_target`], [`Provider::probe`] and [`Provider::dry_run`] have no effect at
///   the channel.
/// - No message, reason or rendered request holds a secret.
///
/// # What the caller owes
/// At most [`Provider::concurrency`] attempts and lookups at a time, and for each attempt the slot that
/// [`Provider::reserve_slot`] gave, kept until the attempt has ended.
///
/// # Cancellation
/// Every future may be dropped at any time. A dropped attempt closes its connection: before the gate it has no effect
/// on the channel, after it the comment's fate is unknown. A dropped slot is given back. Dropping a lookup or a probe
/// has no effect. Token calls and the like that others wait for as well may go on.
///
/// # Panics
/// None is expected. The dispatcher catches a panic and takes the attempt for `unknown` if its gate was passed, so an
/// implementation must stay usable after one: no lock that stays poisoned, no state that is half changed.
pub trait Provider: Send + Sync {
    /// Its name in the chain.
    fn name(&self) -> ProviderName;

    /// Where its attempts go, for the record.
    fn destination(&self) -> &Arc<Destination>;

    /// What the delivery machine needs to know of it.
    fn rules(&self) -> ProviderRules;

    /// How many attempts and lookups it takes at a time; `None` for as many as come. The dispatcher queues the
    /// others, so that a queue is seen in one place and a deadline ends the wait; [`ProviderRules::queues`] says the same.
    fn concurrency(&self) -> Option<usize>;

    /// What is known of it by now. Asks nobody.
    fn status(&self) -> ProviderStatus;

    /// Whether [`Provider::probe`] asks anybody.
    fn has_probe(&self) -> bool;

    /// Asks whether it is up and able, without any effect at the channel, and keeps what it learns for
    /// [`Provider::status`]. Ends by itself. Dropping it has no effect.
    fn probe(&self) -> BoxFuture<'_, ProviderStatus>;

    /// What the channel carries of this delivery's id; empty if it carries none, as by itself.
    fn marker(&self, _id: DeliveryId) -> String {
        String::new()
    }

    /// Waits for the job's turn within the channel's pace, where it has one. A turn that leaves less than the
    /// minimum useful time isn't taken: then the verdict says when to come again, at once. The turn is the delivery's
    /// until its attempt has ended. Dropping the future gives the turn back.
    fn reserve_slot<'a>(
        &'a self,
        _job: &'a ProviderJob,
    ) -> BoxFuture<'a, Result<Option<Slot>, Box<Verdict>>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether a marker of ours was seen where this leads, by an echo or a lookup: now, or as it was told by
    /// [`Provider::marker_was_seen`]. By itself, nothing hangs on markers.
    fn has_seen_marker(&self) -> bool {
        true
    }

    /// An earlier process has seen a marker of ours there.
    fn marker_was_seen(&self) {}

    /// Tries once. When it ends, or is dropped, its connection to the channel is closed or idle.
    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict>;

    /// Asks the channel whether the comment is there. Never has an effect there. `receipt` is the comment id that
    /// a reply to the attempt gave, if its echo was ours; empty if there is none. By itself, nothing can be known.
    fn lookup<'a>(&'a self, _job: &'a ProviderJob, _receipt: &'a str) -> BoxFuture<'a, LookupResult> {
        Box::pin(async { LookupResult::CannotBeKnown })
    }

    /// Reads the job's target back: every comment that the channel shows there and that isn't much older than the
    /// first attempt. For people; a text proves nothing.
    ///
    /// # Errors
    /// Says why it can't be read.
    fn read_target<'a>(&'a self, _job: &'a ProviderJob) -> BoxFuture<'a, Result<ReadBack, String>> {
        Box::pin(async { Err(format!("what {} has posted can't be read back", self.name())) })
    }

    /// The longest that the channel may still store a request which was cut off; `None` if nobody says.
    fn settles_within(&self) -> Option<Duration> {
        None
    }

    /// How long ago the hook saw the client comment, by its last word; `None` where there is no hook, or none has
    /// said so.
    fn capture_age(&self) -> Option<Duration> {
        None
    }

    /// Renders the request and sends nothing; the verdict is what an attempt would have come to before its gate.
    fn dry_run(&self, job: &ProviderJob) -> Result<Rendered, Box<Verdict>>;
}
