//! What executes an attempt.
//!
//! [`Provider`] is all that the dispatcher knows. [`mock::Mock`] is the baseline; [`native::NativeHttp`] speaks to
//! an HTTP channel that a manifest describes, [`hook_pipe::HookPipe`] to the hook's pipe, and
//! [`ui_worker::UiWorker`] to a worker process. A provider never decides what follows from its verdict.

pub mod condition;
pub mod fence;
pub mod hook_pipe;
pub mod mock;
pub mod native;
mod step_aside;
pub mod ui_worker;

use commentd_channels::ReadBack;
use commentd_contract::ProviderName;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{Comment, DeliveryId, Gate, Moment, Verdict};
use condition::Condition;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use native::Turn;
pub use step_aside::step_aside;

/// What a provider's operations return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One comment to be handed over, or to be looked for.
#[derive(Clone, Debug)]
pub struct Job {
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

/// The executor of attempts.
pub trait Provider: Send + Sync {
    /// Its name in the chain.
    fn name(&self) -> ProviderName;

    /// Where its attempts go, for the record.
    fn destination(&self) -> &Arc<Destination>;

    /// What the delivery machine needs to know of it.
    fn rules(&self) -> ProviderRules;

    /// How many attempts and lookups it takes at a time; `None` for as many as come. The dispatcher queues the
    /// others, so that a queue is seen in one place and a deadline ends the wait; [`ProviderRules::queues`] says the same.
    fn lanes(&self) -> Option<usize>;

    /// What is known of it by now. Asks nobody.
    fn condition(&self) -> Condition;

    /// Whether [`Provider::probe`] asks anybody.
    fn has_probe(&self) -> bool;

    /// Asks whether it is up and able, without any effect at the channel, and keeps what it learns for
    /// [`Provider::condition`]. Ends by itself. Dropping it has no effect.
    fn probe(&self) -> Pending<'_, Condition>;

    /// What the channel carries of this delivery's id; empty if it carries none, as by itself.
    fn marker(&self, _id: DeliveryId) -> String {
        String::new()
    }

    /// Waits for the job's turn within the channel's pace, where it has one. A turn that leaves less than the
    /// minimum useful time isn't taken: then the verdict says when to come again, at once. The turn is the delivery's
    /// until its attempt has ended. Dropping the future gives the turn back.
    fn turn<'a>(&'a self, _job: &'a Job) -> Pending<'a, Result<Option<Turn>, Box<Verdict>>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether a marker of ours was seen where this leads, by an echo or a lookup: now, or as it was told by
    /// [`Provider::marker_was_seen`]. By itself, nothing hangs on markers.
    fn has_seen_marker(&self) -> bool {
        true
    }

    /// An earlier process has seen a marker of ours there.
    fn marker_was_seen(&self) {}

    /// Tries once.
    ///
    /// The provider calls [`Gate::pass`] immediately before the comment is handed to its connection, and hands it
    /// over only on true. It ends by itself within its timeout, and when it ends, by its own doing or because
    /// the future was dropped, its connection to the channel is closed or idle. Dropping it before the gate was
    /// passed has no effect on the channel; dropping it later leaves the comment's fate unknown.
    fn attempt<'a>(&'a self, job: &'a Job, gate: &'a Gate) -> Pending<'a, Verdict>;

    /// Asks the channel whether the comment is there. Never has an effect there. `receipt` is the comment id that
    /// a reply to the attempt gave, if its echo was ours; empty if there is none. By itself, nothing can be known.
    fn look<'a>(&'a self, _job: &'a Job, _receipt: &'a str) -> Pending<'a, LookupResult> {
        Box::pin(async { LookupResult::CannotBeKnown })
    }

    /// Reads the job's target back: every comment that the channel shows there and that isn't much older than the
    /// first attempt. For people; a text proves nothing.
    ///
    /// # Errors
    /// Says why it can't be read.
    fn read_target<'a>(&'a self, _job: &'a Job) -> Pending<'a, Result<ReadBack, String>> {
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
    fn rehearse(&self, job: &Job) -> Result<Rendered, Box<Verdict>>;
}
