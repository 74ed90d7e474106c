//! The baseline: takes a while and says yes, so that everything around a channel can be measured alone.

use crate::provider::BoxFuture;
use crate::provider::Provider;
use crate::provider::ProviderJob;
use crate::provider::Rendered;
use crate::status::ProviderStatus;
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::lookup::LookupAbility;
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{Gate, Verdict};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How the mock behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MockOptions {
    /// Time that each attempt takes, in milliseconds.
    pub latency_ms: u64,
    /// Up to this much more, uniformly, in milliseconds.
    pub jitter_ms: u64,
    /// Share of attempts that are refused, 0–1.
    pub fail_ratio: f64,
    /// The seed of jitter and failures.
    pub seed: u64,
}

/// A provider without a channel.
#[derive(Debug)]
pub struct Mock {
    options: MockOptions,
    destination: Arc<Destination>,
    random: Mutex<fastrand::Rng>,
}

impl Mock {
    /// A mock that behaves so.
    pub fn new(options: MockOptions) -> Self {
        let destination = Arc::new(Destination {
            provider: ProviderName::Mock,
            channel: String::new(),
            base_url: String::new(),
            account: String::new(),
            manifest_version: 0,
        });
        Self { options, destination, random: Mutex::new(fastrand::Rng::with_seed(options.seed)) }
    }

    fn draw(&self) -> (Duration, bool) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let jitter_ms = random.u64(0..=self.options.jitter_ms);
        let fails = random.f64() < self.options.fail_ratio;
        (Duration::from_millis(self.options.latency_ms.saturating_add(jitter_ms)), fails)
    }
}

impl Provider for Mock {
    fn name(&self) -> ProviderName {
        ProviderName::Mock
    }

    fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    fn rules(&self) -> ProviderRules {
        ProviderRules {
            name: self.name(),
            max_attempts: 3,
            min_useful: Duration::from_millis(1),
            deduplicates_within: None,
            queues: false,
            lookup: Some(LookupAbility {
                settles_within: None,
                sees_every_state: false,
                needs_marker: false,
            }),
        }
    }

    fn concurrency(&self) -> Option<usize> {
        None
    }

    fn status(&self) -> ProviderStatus {
        ProviderStatus::GOOD
    }

    fn has_probe(&self) -> bool {
        false
    }

    fn probe(&self) -> BoxFuture<'_, ProviderStatus> {
        Box::pin(async { ProviderStatus::GOOD })
    }

    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            if !gate.pass() {
                return Verdict::new(VerdictKind::NotSent, "cancelled before it was sent")
                    .with_code(Code::DeadlineExceeded);
            }
            let (latency, fails) = self.draw();
            tokio::time::sleep(latency).await;
            let latency_ms = commentd_contract::time::whole_ms(latency);
            if fails {
                return Verdict::new(VerdictKind::Refused, "the mock was told to refuse some")
                    .with_code(Code::CommentFailed)
                    .after_ms(latency_ms);
            }
            let mut verdict = Verdict::new(VerdictKind::Delivered, "").after_ms(latency_ms);
            verdict.comment_id = format!("mock-{}", job.id);
            verdict.comment_id_is_ours = true;
            verdict
        })
    }

    fn dry_run(&self, job: &ProviderJob) -> Result<Rendered, Box<Verdict>> {
        Ok(Rendered {
            method: "MOCK".into(),
            url: String::new(),
            headers: Vec::new(),
            body: serde_json::json!({ "content": job.comment.content }),
        })
    }
}
