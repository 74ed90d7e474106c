//! What the dispatcher asks of an HTTP channel.

use super::attempts::MAX_ATTEMPTS;
use super::identity::identity;
use super::native_http::{NativeHttp, is_unauthorized};
use crate::provider::{BoxFuture, Provider, ProviderJob, Rendered};
use crate::rate_limiter::Slot;
use crate::status::{ProbeState, ProviderStatus};
use commentd_channels::ReadBack;
use commentd_channels::settings::REDACTED;
use commentd_contract::time::whole_ms;
use commentd_contract::{ProviderName, VerdictKind};
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{DeliveryId, Gate, Moment, Verdict};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Less time than this isn't worth an attempt.
const MIN_USEFUL: Duration = Duration::from_millis(50);

impl Provider for NativeHttp {
    fn name(&self) -> ProviderName {
        ProviderName::NativeHttp
    }

    fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    fn rules(&self) -> ProviderRules {
        ProviderRules {
            name: self.name(),
            max_attempts: MAX_ATTEMPTS,
            min_useful: MIN_USEFUL,
            deduplicates_within: self.channel.deduplicates_within(),
            lookup: self.channel.lookup_ability(),
            queues: self.concurrency().is_some() || !self.rate_limiter.are_free(),
        }
    }

    fn concurrency(&self) -> Option<usize> {
        self.channel.concurrency()
    }

    fn status(&self) -> ProviderStatus {
        self.status.get()
    }

    fn has_probe(&self) -> bool {
        true
    }

    fn probe(&self) -> BoxFuture<'_, ProviderStatus> {
        Box::pin(async move {
            let condition = self.ask_condition().await;
            self.status.set(condition.clone());
            condition
        })
    }

    fn marker(&self, id: DeliveryId) -> String {
        self.channel.marker(id)
    }

    fn reserve_slot<'a>(&'a self, job: &'a ProviderJob) -> BoxFuture<'a, Result<Option<Slot>, Box<Verdict>>> {
        Box::pin(async move {
            let now = self.now();
            let latest = Moment::at(job.deadline.since_start().saturating_sub(MIN_USEFUL));
            let turn = self.rate_limiter.reserve(Some(&job.comment.addressing.sns_id), now, latest);
            let turn = turn.map_err(|late| Box::new(late.verdict(self.channel.name())))?;
            turn.wait(now).await;
            Ok(Some(turn))
        })
    }

    fn has_seen_marker(&self) -> bool {
        self.marker_seen.load(Ordering::Relaxed)
    }

    fn marker_was_seen(&self) {
        self.marker_seen.store(true, Ordering::Relaxed);
    }

    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let began = self.now();
            let (verdict, _) = self.try_once(job, gate).await;
            self.learn(&verdict);
            verdict.after_ms(whole_ms(self.now() - began))
        })
    }

    fn lookup<'a>(&'a self, job: &'a ProviderJob, receipt: &'a str) -> BoxFuture<'a, LookupResult> {
        Box::pin(self.lookup_once(job, receipt))
    }

    fn read_target<'a>(&'a self, job: &'a ProviderJob) -> BoxFuture<'a, Result<ReadBack, String>> {
        Box::pin(async move { self.read(&self.lookup_scope(job), job.id).await })
    }

    fn settles_within(&self) -> Option<Duration> {
        self.channel.settles_within()
    }

    fn dry_run(&self, job: &ProviderJob) -> Result<Rendered, Box<Verdict>> {
        self.prepare(job, &self.scope(job))?;
        let scope =
            self.channel.redacted_scope(Arc::clone(&job.comment), job.id, self.client.clock.unix_ms());
        let scope = scope.with_caller(whole_ms(job.deadline.since(self.now())), &job.trace_id);
        let mut request = self.prepare(job, &scope)?;
        self.senders.apply_redacted(&mut request);
        let mut headers: Vec<(String, String)> = identity(job)
            .iter()
            .chain(&request.headers)
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        if self.client.base.basic().is_some() {
            headers.push(("authorization".into(), REDACTED.into()));
        }
        Ok(Rendered {
            method: request.method.to_string(),
            url: format!("{}{}", self.client.base.origin(), self.client.base.join(&request.path_and_query))
                .replace("%2A%2A%2A", REDACTED),
            headers,
            body: shown_body(&request.body),
        })
    }
}

impl NativeHttp {
    /// What an attempt has shown. A refusal of our credentials that no renewal helps against is asked about again
    /// where the channel has a probe to ask with.
    fn learn(&self, verdict: &Verdict) {
        if verdict.uncounted {
            return;
        }
        let is_down = matches!(verdict.kind, VerdictKind::NotSent | VerdictKind::Unknown);
        self.status.set_health(if is_down {
            ProbeState::No(verdict.message.clone())
        } else {
            ProbeState::Yes
        });
        if matches!(verdict.kind, VerdictKind::Delivered | VerdictKind::Held | VerdictKind::Misplaced) {
            self.status.recognize();
        }
        if is_unauthorized(verdict) && !verdict.renewed && self.channel.tells_ability() {
            self.status.set_capability(ProbeState::No(verdict.message.clone()));
        }
    }
}

fn shown_body(body: &[u8]) -> serde_json::Value {
    if body.is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into())
}
