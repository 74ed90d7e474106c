//! What is done for each delivery without waiting for anybody.

#![allow(missing_docs, reason = "the macros make public items")]
#![allow(clippy::expect_used, reason = "a benchmark may fail by panicking")]

use commentd_benches::Kind;
use commentd_channels::{Channel, ChannelReply, built_in};
use commentd_contract::{CommentRequest, ProviderName, StandIns, VerdictKind};
use commentd_delivery::breaker::{Breaker, BreakerEpoch, BreakerPermit};
use commentd_delivery::machine::Machine;
use commentd_delivery::retry::{RetryBudget, RetryPermit};
use commentd_delivery::step::{Event, Plan, ProviderHealth, ProviderRules};
use commentd_delivery::{Comment, DeliveryId, Fingerprint, Moment, Verdict};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const UNIX_MS: u64 = 1_800_000_000_000;

fn at(ms: u64) -> Moment {
    Moment::at(Duration::from_millis(ms))
}

fn sample() -> Comment {
    Kind::default().comment(7)
}

fn parsing(bench: &mut Criterion) {
    let comment = sample();
    let body = serde_json::json!({
        "v": 1, "cmd": "comment", "task_id": "t-7", "sns_id": comment.addressing.sns_id, "author": "",
        "content_hash": "", "reply_to": "", "content": comment.content,
    })
    .to_string();
    let headers = || StandIns {
        idempotency_keys: vec![("idempotency-key", b"0123456789abcdef0123456789abcdef")],
        traceparent: None,
    };
    bench.bench_function("parse a request", |b| {
        b.iter(|| CommentRequest::parse(black_box(body.as_bytes()), headers()).expect("it is well-formed"));
    });
}

fn fingerprint(bench: &mut Criterion) {
    let comment = sample();
    bench.bench_function("fingerprint of a comment", |b| b.iter(|| black_box(&comment).fingerprint(1)));
}

/// One provider's breaker and retry budget, as the dispatcher keeps them.
struct Provider {
    breaker: Breaker,
    budget: RetryBudget,
}

impl Provider {
    /// After ten seconds of traffic, so that every slice of their windows is in use.
    fn busy() -> Self {
        let mut provider = Self { breaker: Breaker::new(true), budget: RetryBudget::default() };
        let delivered = Verdict::new(VerdictKind::Delivered, "");
        for ms in 0..10_000 {
            let permit = provider.attempt_starts(0);
            provider.attempt_is_sent(0, None, at(ms));
            provider.attempt_ends(0, permit, &delivered, Duration::from_millis(35), at(ms));
        }
        provider
    }
}

impl ProviderHealth for Provider {
    fn obstacle(&mut self, _provider: usize, now: Moment) -> Option<Verdict> {
        (!self.breaker.is_passable(now)).then(|| Verdict::new(VerdictKind::Denied, "its breaker is open"))
    }

    fn is_half_open(&mut self, _provider: usize, _now: Moment) -> bool {
        false
    }

    fn has_seen_marker(&mut self, _: usize) -> bool {
        true
    }

    fn attempt_starts(&mut self, _provider: usize) -> BreakerPermit {
        self.breaker.start()
    }

    fn attempt_is_sent(&mut self, _provider: usize, retry: Option<RetryPermit>, now: Moment) {
        self.budget.deposit(now);
        if let Some(permit) = retry {
            self.budget.spend(permit, now);
        }
    }

    fn attempt_ends(
        &mut self,
        _provider: usize,
        permit: BreakerPermit,
        verdict: &Verdict,
        took: Duration,
        now: Moment,
    ) {
        self.breaker.end(permit, verdict, took, now);
    }

    fn attempt_is_found(&mut self, _provider: usize, epoch: BreakerEpoch) {
        self.breaker.found(epoch);
    }

    fn withdraw_retry(&mut self, _provider: usize, now: Moment) -> Option<RetryPermit> {
        self.budget.withdraw(now)
    }
}

fn machine(bench: &mut Criterion) {
    let rules = ProviderRules {
        name: ProviderName::NativeHttp,
        max_attempts: 3,
        min_useful: Duration::from_millis(50),
        deduplicates_within: None,
        lookup: None,
        queues: false,
    };
    let plan = Plan {
        id: DeliveryId::from_bytes([7; 16]),
        trace_id: "trace".into(),
        fingerprint: Fingerprint([0; 32]),
        chain: vec![rules],
        deadline: at(11_000),
        grace: Duration::from_millis(20),
        key_is_new: true,
        known: None,
        has_caller: true,
    };
    let mut provider = Provider::busy();
    bench.bench_function("a delivery's machine, from start to delivered", |b| {
        b.iter_batched(
            || (plan.clone(), Verdict::new(VerdictKind::Delivered, "").after_ms(35)),
            |(plan, verdict)| {
                let mut machine = Machine::new(plan);
                let events =
                    [Event::Start, Event::IntentRecorded, Event::AttemptEnded(verdict), Event::Settled];
                for event in events {
                    black_box(machine.step(event, at(10_000), &mut provider));
                }
                assert!(machine.is_over());
                machine
            },
            BatchSize::SmallInput,
        );
    });
}

fn breaker(bench: &mut Criterion) {
    let mut provider = Provider::busy();
    let delivered = Verdict::new(VerdictKind::Delivered, "");
    bench.bench_function("breaker: one attempt passes and ends", |b| {
        b.iter(|| {
            let now = black_box(at(10_000));
            assert!(provider.breaker.is_passable(now));
            let permit = provider.breaker.start();
            provider.breaker.end(permit, &delivered, Duration::from_millis(35), now);
        });
    });
    bench.bench_function("retry budget: one request in, one retry out", |b| {
        b.iter(|| {
            let now = black_box(at(10_000));
            provider.budget.deposit(now);
            if let Some(permit) = provider.budget.withdraw(now) {
                provider.budget.spend(permit, now);
            }
        });
    });
}

fn generic() -> Channel {
    let manifests = built_in().expect("the built-in manifests are checked by tests");
    let manifest =
        manifests.iter().find(|manifest| manifest.is_called("generic")).expect("generic is built in");
    manifest.channel(&BTreeMap::new()).expect("it needs no settings")
}

fn manifest(bench: &mut Criterion) {
    let (channel, comment, id) = (generic(), Arc::new(sample()), DeliveryId::from_bytes([7; 16]));
    bench.bench_function("generic manifest: render a request", |b| {
        b.iter(|| {
            let scope = channel.scope(Arc::clone(black_box(&comment)), id, UNIX_MS);
            channel.render(&scope).expect("it can be rendered")
        });
    });
    let scope = channel.scope(comment, id, UNIX_MS);
    let body = serde_json::json!({
        "v": 1, "ok": true, "error_code": 0, "error_message": "", "latency_ms": 35, "task_id": id.to_string(),
        "data": { "provider": "mock", "method": "mock", "outcome": "delivered", "comment_id": "", "attempts": [] },
    });
    let reply = ChannelReply {
        status: 200,
        headers: [("content-type".to_owned(), "application/json".to_owned())].into_iter().collect(),
        body: body.to_string().into(),
    };
    assert_eq!(channel.judge(&reply, &scope).kind, VerdictKind::Delivered);
    bench.bench_function("generic manifest: judge a reply", |b| {
        b.iter(|| channel.judge(black_box(&reply), &scope));
    });
}

criterion_group!(benches, parsing, fingerprint, machine, breaker, manifest);
criterion_main!(benches);
