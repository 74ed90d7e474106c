//! What people do with deliveries: see them, settle what is unknown, have content forgotten.

use super::dispatcher::Dispatcher;
use super::state::DispatcherState;
use commentd_channels::language::plain;
use commentd_channels::{ListedComment, ReadBack};
use commentd_contract::deliveries::{
    AttemptDetail, Candidate, Candidates, CommentView, DeliveryView, LastLook, ResolutionDetail,
    ResolveRequest, VerdictDetail,
};
use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::outcome::speaking;
use commentd_delivery::record::{AttemptRecord, DeliveryRecord, Resolution, ResolvedBy};
use commentd_delivery::step::Event;
use commentd_delivery::verdict::Effect;
use commentd_delivery::{Clock, DeliveryId, Verdict};
use commentd_ledger::{AttemptEnd, FindBy, LedgerError, RecordFilter, Settled, Settling};
use commentd_providers::ProviderJob;
use std::time::Duration;

/// How long a channel that states no `settles_within` is given before a person may say that a comment isn't
/// there. Of the channels that were measured none took longer than 3 s.
const UNSTATED_SETTLES_WITHIN: Duration = Duration::from_secs(60);

/// Why a delivery stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such delivery.
    #[error("there is no such delivery")]
    NotFound,
    /// Nobody may say this of a delivery.
    #[error("{0}")]
    Malformed(String),
    /// The record, or the time that has passed, forbids it.
    #[error("{0}")]
    Conflict(String),
    /// The ledger can't do it.
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<LedgerError> for Refused {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NotFound => Refused::NotFound,
            LedgerError::Conflict(reason) => Refused::Conflict(reason),
            error => Refused::Ledger(error),
        }
    }
}

impl Dispatcher {
    /// The record of a delivery.
    ///
    /// # Errors
    /// `NotFound`, or the ledger's.
    pub async fn delivery(&self, id: DeliveryId) -> Result<DeliveryRecord, Refused> {
        self.state.ledger.find(FindBy::Id(id)).await?.ok_or(Refused::NotFound)
    }

    /// Records, newest first.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn deliveries(&self, filter: RecordFilter) -> Result<Vec<DeliveryRecord>, Refused> {
        Ok(self.state.ledger.list(filter).await?)
    }

    /// What the channel shows that reads like this delivery's comment, or why nobody can look. A text proves
    /// nothing: it is for a person to judge.
    pub async fn candidates(&self, record: &DeliveryRecord) -> Candidates {
        match self.read_candidates(record).await {
            Ok(ReadBack { items, doubt }) => {
                let candidate =
                    |item: ListedComment| Candidate { comment_id: item.comment_id, text: item.text };
                Candidates { comments: items.into_iter().map(candidate).collect(), error: doubt }
            }
            Err(error) => Candidates { comments: Vec::new(), error },
        }
    }

    /// What the last lookup for this delivery came to, if it is one of the latest since the start.
    pub fn last_lookup(&self, id: DeliveryId) -> Option<LastLook> {
        self.state.lookups.last(id)
    }

    async fn read_candidates(&self, record: &DeliveryRecord) -> Result<ReadBack, String> {
        let comment = record.comment.clone().ok_or("its comment was forgotten")?;
        let attempt = unclear(record).last().or(record.attempts.last()).ok_or("it has no attempt")?;
        let index = self.state.chain.leading_to(&attempt.destination);
        let provider = index
            .and_then(|index| self.state.chain.get(index))
            .ok_or_else(|| format!("it was sent to {}, which isn't configured any more", place(attempt)))?;
        let job = ProviderJob {
            id: record.id,
            comment,
            trace_id: record.trace_id.clone(),
            attempt: attempt.number,
            began_ms: Some(record.created_ms),
            deadline: self.state.clock.now(),
        };
        let _slot = self.state.lookups.slot(self.state.clock, true).await;
        let mut back = provider.read_target(&job).await?;
        let ours = plain(&job.comment.content);
        back.items.retain(|item| plain(&item.text) == ours);
        Ok(back)
    }

    /// Makes an unknown delivery certain by what a person says, and tells whoever waits for it.
    ///
    /// # Errors
    /// See [`Refused`]; the delivery then is as it was, but for a crash of the ledger in between.
    pub async fn resolve(&self, id: DeliveryId, said: &ResolveRequest) -> Result<DeliveryRecord, Refused> {
        let kind = said.check().map_err(Refused::Malformed)?;
        let mut record = self.delivery(id).await?;
        if self.state.in_flight.get(&record.key).is_none() {
            record = self.state.interrupt(record).await?;
        }
        self.state.check_may_resolve(&record, kind)?;
        let at_ms = self.state.clock.unix_ms();
        // One stored comment settles the delivery; that there is none must be true of every attempt.
        let attempts = unclear(&record).rev();
        let attempts = attempts.take(if kind == VerdictKind::NotSent { usize::MAX } else { 1 });
        for attempt in attempts {
            let mut verdict = Verdict::new(kind, "");
            if kind == VerdictKind::NotSent {
                verdict.message = format!("{} says that the comment isn't there", said.by);
            }
            verdict.comment_id_is_ours = !said.comment_id.is_empty();
            verdict.comment_id.clone_from(&said.comment_id);
            let by = ResolvedBy::Person { name: said.by.clone() };
            let end = AttemptEnd::Resolution(Resolution { by, at_ms, verdict });
            match self.state.ledger.settle(Settling { id, attempt: attempt.number, end, at_ms }).await? {
                Settled::Recorded => {}
                Settled::ClaimLost => {
                    return Err(Refused::Conflict(format!(
                        "comment_id: the comment {:?} belongs to another delivery",
                        said.comment_id
                    )));
                }
            }
        }
        let record = self.delivery(id).await?;
        tracing::info!(%id, by = %said.by, outcome = %record.outcome(), "settled by a person");
        if let Some(delivery) = self.state.in_flight.get(&record.key) {
            delivery.events.send(Event::ResolvedByPerson);
        }
        Ok(record)
    }

    /// Erases the content of a delivery; key, fingerprint and outcome stay.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn forget(&self, id: DeliveryId) -> Result<DeliveryRecord, Refused> {
        self.state.ledger.forget(id).await?;
        self.delivery(id).await
    }
}

impl DispatcherState {
    fn check_may_resolve(&self, record: &DeliveryRecord, kind: VerdictKind) -> Result<(), Refused> {
        if record.is_open() {
            return Err(Refused::Conflict(
                "an attempt is open; what it comes to is still to be seen, so ask again in a moment".into(),
            ));
        }
        if unclear(record).next().is_none() || record.outcome() != Outcome::Unknown {
            return Err(Refused::Conflict(format!(
                "its outcome is {}, which is certain; only an unknown delivery can be resolved",
                record.outcome()
            )));
        }
        let settled_at = record.settled_ms.unwrap_or(u64::MAX);
        let settles_within = unclear(record).map(|attempt| self.settles_within(attempt)).max();
        let settles_within_ms =
            commentd_contract::time::whole_ms(settles_within.unwrap_or(UNSTATED_SETTLES_WITHIN));
        let left_ms = settled_at.saturating_add(settles_within_ms).saturating_sub(self.clock.unix_ms());
        if kind == VerdictKind::NotSent && left_ms > 0 {
            return Err(Refused::Conflict(format!(
                "the channel may still store it within {settles_within_ms} ms of the attempt's end; look again \
                 in {} s, and then say that it isn't there",
                left_ms.div_ceil(1000)
            )));
        }
        Ok(())
    }

    fn settles_within(&self, attempt: &AttemptRecord) -> Duration {
        let provider = self.chain.leading_to(&attempt.destination).and_then(|index| self.chain.get(index));
        provider.and_then(|provider| provider.settles_within()).unwrap_or(UNSTATED_SETTLES_WITHIN)
    }
}

/// The attempts that nobody knows the effect of.
fn unclear(record: &DeliveryRecord) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
    let is_unclear = |verdict: &Verdict| verdict.rule().effect == Effect::Unclear;
    record.attempts.iter().filter(move |attempt| attempt.settled().is_some_and(is_unclear))
}

fn place(attempt: &AttemptRecord) -> String {
    let to = &attempt.destination;
    format!("{} {} {}", to.provider, to.channel, to.base_url).trim_end().to_owned()
}

/// A record as the API shows it: the whole record; candidates and the last lookup are left to whoever asks for them.
#[must_use]
pub fn delivery_view(record: &DeliveryRecord) -> DeliveryView {
    let speaking = speaking(record.attempts.iter().map(AttemptRecord::settled)).map(|(_, verdict)| verdict);
    let stored = speaking.filter(|verdict| verdict.rule().effect == Effect::One);
    DeliveryView {
        id: record.id.to_string(),
        outcome: record.outcome(),
        open: record.is_open(),
        caller: record.key.caller.clone(),
        idempotency_key: record.key.key.to_string(),
        item: record.key.item,
        trace_id: record.trace_id.to_string(),
        created_ms: record.created_ms,
        settled_ms: record.settled_ms,
        comment_id: stored.map(|verdict| verdict.comment_id.clone()).unwrap_or_default(),
        comment: record.comment.as_ref().map(|comment| CommentView {
            content: comment.content.clone(),
            addressing: comment.addressing.clone(),
        }),
        attempts: record.attempts.iter().map(attempt_detail).collect(),
        candidates: None,
        last_lookup: None,
    }
}

fn attempt_detail(record: &AttemptRecord) -> AttemptDetail {
    let to = &record.destination;
    AttemptDetail {
        number: record.number,
        provider: to.provider,
        channel: to.channel.clone(),
        base_url: to.base_url.clone(),
        account: to.account.clone(),
        manifest_version: to.manifest_version,
        marker: record.marker.clone(),
        started_ms: record.started_ms,
        verdict: record.verdict.as_ref().map(verdict_detail),
        resolution: record.resolution.as_deref().map(resolution_detail),
    }
}

fn verdict_detail(verdict: &Verdict) -> VerdictDetail {
    VerdictDetail {
        verdict: verdict.kind,
        error_code: verdict.code,
        error_message: verdict.message.clone(),
        provider_error_code: verdict.provider_error_code.clone(),
        provider_error_message: verdict.provider_error_message.clone(),
        comment_id: verdict.comment_id.clone(),
        latency_ms: verdict.latency_ms,
    }
}

fn resolution_detail(resolution: &Resolution) -> ResolutionDetail {
    let (by, name) = match &resolution.by {
        ResolvedBy::Lookup => ("lookup", String::new()),
        ResolvedBy::Person { name } => ("person", name.clone()),
    };
    ResolutionDetail {
        by: by.into(),
        name,
        at_ms: resolution.at_ms,
        verdict: verdict_detail(&resolution.verdict),
    }
}
