//! A stub sidecar on a loopback socket, and runs against it.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use commentd_acceptance::{
    AcceptArgs, AcceptError, AcceptOptions, NoProgress, ReadComment, Report, TargetReader, run,
};
use commentd_contract::{BatchRequest, StandIns, SystemClock};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

/// What the stub does with the batch of a round.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Plan {
    Deliver,
    /// Reports `success` for everything, with the outcome `unknown` for the first comment.
    BendTheTruth,
    Refuse,
    Hang,
    Redirect,
    CutOff,
}

/// A sidecar that stores what it delivers, and remembers what it was asked.
#[derive(Default)]
pub(crate) struct Stub {
    plans: Vec<Plan>,
    pub(crate) batches: Mutex<Vec<(BatchRequest, HeaderMap)>>,
    pub(crate) stored: Mutex<Vec<ReadComment>>,
    pub(crate) others: Mutex<Vec<String>>,
}

impl Stub {
    pub(crate) fn new(plans: &[Plan]) -> Arc<Self> {
        Arc::new(Self { plans: plans.to_vec(), ..Self::default() })
    }

    /// Serves until the test's runtime ends.
    pub(crate) async fn serve(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new()
            .route("/health", axum::routing::get(health))
            .route("/api/comment/batch", axum::routing::post(batch))
            .fallback(|State(stub): State<Arc<Stub>>, uri: Uri| async move {
                stub.others.lock().unwrap().push(uri.to_string());
                StatusCode::NOT_FOUND
            })
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn store(&self, comments: &[String]) {
        let mut stored = self.stored.lock().unwrap();
        for text in comments {
            let comment_id = stored.len().to_string();
            stored.push(ReadComment { comment_id, text: text.clone() });
        }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let batches = self.batches.lock().unwrap();
        batches.iter().map(|batch| batch.0.intake.key.clone().unwrap().to_string()).collect()
    }
}

async fn health() -> axum::Json<Value> {
    axum::Json(json!({"v": 1, "ok": true, "data": {"mode": "mock", "provider": "mock",
        "upstream_base_url": "http://user:hunter2@upstream/"}}))
}

async fn batch(
    State(stub): State<Arc<Stub>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let request = BatchRequest::parse(&body, StandIns::default()).unwrap();
    let plan = {
        let mut batches = stub.batches.lock().unwrap();
        batches.push((request.clone(), headers));
        *stub.plans.get(batches.len() - 1).or(stub.plans.last()).unwrap()
    };
    let mut headers = HeaderMap::new();
    let (status, reply) = match plan {
        Plan::Deliver => {
            stub.store(&request.comments);
            (200, answered(&request, |_| "delivered").to_string())
        }
        Plan::BendTheTruth => {
            stub.store(&request.comments);
            (200, answered(&request, |index| if index == 0 { "unknown" } else { "held" }).to_string())
        }
        Plan::Refuse => (
            503,
            json!({"v": 1, "ok": false, "error_code": 61, "error_message": "in flight: 1024",
            "latency_ms": 0, "task_id": "", "data": {}})
            .to_string(),
        ),
        Plan::Hang => std::future::pending().await,
        Plan::Redirect => {
            headers.insert("location", "/elsewhere".parse().unwrap());
            (307, String::new())
        }
        Plan::CutOff => (200, "{\"v\":1,\"ok\":tr".into()),
    };
    (StatusCode::from_u16(status).unwrap(), headers, reply)
}

fn answered(request: &BatchRequest, outcome: fn(usize) -> &'static str) -> Value {
    let results: Vec<Value> = (0..request.comments.len())
        .map(|index| {
            json!({"success": true, "latency_ms": 3, "error_code": 0, "error_message": "",
                "provider": "mock", "method": "mock", "outcome": outcome(index), "delivery_id": "",
                "comment_id": "", "trace_id": "", "idempotency_key": "k", "replayed": false,
                "raw_provider_latency_ms": 2, "retry_count": 0, "provider_error_code": "",
                "provider_error_message": "", "attempts": []})
        })
        .collect();
    json!({"v": 1, "ok": true, "error_code": 0, "error_message": "", "latency_ms": 5, "task_id": "",
        "data": {"provider": "mock", "total": results.len(), "succeeded": results.len(), "failed": 0,
            "total_latency_ms": 4, "fallback_count": 0, "raw_batch_total": results.len(),
            "raw_batch_succeeded": results.len(), "raw_batch_failed": 0, "trace_id": "",
            "idempotency_key": "k", "results": results}})
}

/// Reads what the stub stored, with a change that a channel might make.
pub(crate) struct StoreReader {
    pub(crate) stub: Arc<Stub>,
    pub(crate) change: fn(&mut Vec<ReadComment>),
}

impl TargetReader for StoreReader {
    fn read<'a>(
        &'a self,
        target: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<ReadComment>, String>> + Send + 'a>> {
        assert_eq!(target, "post-1");
        let mut stored = self.stub.stored.lock().unwrap().clone();
        (self.change)(&mut stored);
        Box::pin(async { Ok(stored) })
    }
}

pub(crate) fn options(base_url: &str, adjust: impl FnOnce(&mut AcceptArgs)) -> AcceptOptions {
    let mut args = AcceptArgs {
        http_base_url: Some(base_url.into()),
        rounds: Some("2".into()),
        count: Some("3".into()),
        round_interval_ms: Some("0".into()),
        // Long enough for a busy machine; the tests that need it short say so.
        http_timeout_ms: Some("30000".into()),
        sns_id: Some("post-1".into()),
        no_fail_fast: true,
        ..AcceptArgs::default()
    };
    adjust(&mut args);
    args.check(&|_| None).unwrap()
}

pub(crate) async fn plain(options: &AcceptOptions) -> Result<Report, AcceptError> {
    run(options, None, &SystemClock::start(), &NoProgress).await
}

pub(crate) async fn verified(stub: &Arc<Stub>, change: fn(&mut Vec<ReadComment>)) -> Report {
    let options = options(&stub.serve().await, |args| args.verify = true);
    let reader = StoreReader { stub: stub.clone(), change };
    run(&options, Some(&reader), &SystemClock::start(), &NoProgress).await.unwrap()
}
