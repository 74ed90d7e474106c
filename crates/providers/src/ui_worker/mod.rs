//! `real_ui`: comments through a worker process of the user's that works the client's windows.
//!
//! One JSON object a line, one comment at a time:
//!
//! ```text
//! commentd ▶ {"id","cmd":"comment","author","sns_id","content","reply_to","content_hash","not_after_ms"}
//! worker   ▶ {"id","event":"ready"}                     everything is prepared but the irreversible click
//! commentd ▶ {"go":id}                                  the gate
//! worker   ▶ {"id","ok":true}                           or "ok":false,"error_code","error_message", at any time
//! commentd ▶ {"id","cmd":"ping"}
//! worker   ▶ {"id","ok":true}                           or "ok":false,"error_message": why it can't comment now
//! ```
//!
//! `not_after_ms` counts from the line's arrival: after it, a worker that has no `go` gives up by itself. While it
//! waits for `go`, any other line means no. A worker that dies is started again, with a growing wait; one that hangs
//! is ended with its whole process group, and replaced. What a process that was killed has left at work, the next one
//! ends before it starts a worker of its own: two of them on one screen would click into each other's windows.

mod command;
mod predecessor;
mod worker;

use crate::provider::BoxFuture;
use crate::provider::Provider;
use crate::provider::ProviderJob;
use crate::provider::Rendered;
use crate::status::{ProbeState, ProviderStatus, SharedStatus};
use commentd_channels::ReadBack;
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::verdict::of_code;
use commentd_delivery::{Clock, Gate, Moment, Verdict};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use worker::{Worker, WorkerError, WorkerLine, WorkerStage};

/// A UI needs at least this for a comment; with less time left an attempt isn't worth its while.
const MIN_USEFUL: Duration = Duration::from_millis(500);
/// Attempts in one run of a delivery.
const MAX_ATTEMPTS: u32 = 2;
/// A worker that needs longer to read a line or to answer a ping hangs.
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// First wait before a worker that died is started again; doubles with each death in a row.
const FIRST_RESTART_WAIT: Duration = Duration::from_millis(500);
/// No wait is longer.
const LONGEST_RESTART_WAIT: Duration = Duration::from_secs(30);

/// How the worker is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UiOptions {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How long it may take to be ready, and again from `go` to its result, in ms.
    pub timeout_ms: u64,
    /// The file that says which worker runs, so that the next process can end what this one leaves. Of the processes
    /// that use it, only one may run. `None` where nobody comes after us.
    pub mark: Option<PathBuf>,
}

pub use command::split as split_command;

/// The provider.
pub struct UiWorker {
    options: UiOptions,
    destination: Arc<Destination>,
    clock: Arc<dyn Clock>,
    slot: Mutex<WorkerSlot>,
    status: SharedStatus,
}

/// The place for the one worker.
#[derive(Default)]
struct WorkerSlot {
    worker: Option<Worker>,
    /// Deaths since it last did something useful.
    deaths: u32,
    /// Whether what an earlier process left was looked for.
    is_cleared: bool,
    /// No new one is started before this.
    not_before: Moment,
    pings: u64,
}

impl UiWorker {
    /// A provider that runs this command, as soon as it is asked for something.
    pub fn new(options: UiOptions, clock: Arc<dyn Clock>) -> Self {
        let destination = Arc::new(Destination {
            provider: ProviderName::RealUi,
            channel: String::new(),
            base_url: String::new(),
            account: String::new(),
            manifest_version: 0,
        });
        Self { options, destination, clock, slot: Mutex::default(), status: SharedStatus::default() }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.options.timeout_ms)
    }

    /// Ends the worker; the next one waits a while.
    fn kill_and_back_off(&self, slot: &mut WorkerSlot, reason: &str) {
        // Dropping it ends its process group.
        slot.worker = None;
        let wait = FIRST_RESTART_WAIT
            .saturating_mul(1u32.checked_shl(slot.deaths).unwrap_or(u32::MAX))
            .min(LONGEST_RESTART_WAIT);
        slot.deaths = slot.deaths.saturating_add(1).min(16);
        slot.not_before = self.clock.now() + wait;
        tracing::warn!(reason, restart_after_ms = whole_ms(wait), "the UI worker is replaced");
        let down = ProbeState::No(reason.to_owned());
        self.status.set(ProviderStatus { health: down.clone(), capability: down, ..ProviderStatus::GOOD });
    }

    /// A worker that answers a ping with yes, started if need be; else why there is none.
    async fn ensure_ready(&self, slot: &mut WorkerSlot) -> Result<(), String> {
        if slot.worker.as_ref().is_some_and(|worker| worker.stage == WorkerStage::Bound) {
            self.kill_and_back_off(slot, "the worker was left in the middle of something");
        }
        if slot.worker.is_none() {
            let wait = slot.not_before.since(self.clock.now());
            if !wait.is_zero() {
                return Err(format!("the worker ended; it is started again in {} ms", wait.as_millis()));
            }
            if let Some(mark) = self.options.mark.as_deref().filter(|_| !slot.is_cleared) {
                predecessor::end(mark).await?;
                slot.is_cleared = true;
            }
            match Worker::start(&self.options.command) {
                Ok(worker) => {
                    if let (Some(mark), Some(id)) = (&self.options.mark, worker.id()) {
                        predecessor::leave_mark(mark, id);
                    }
                    slot.worker = Some(worker);
                }
                Err(error) => {
                    let program = self.options.command.first().map_or("", String::as_str);
                    let reason = format!("the worker {program} can't be started: {error}");
                    self.kill_and_back_off(slot, &reason);
                    return Err(reason);
                }
            }
        }
        slot.pings += 1;
        let id = format!("ping-{}", slot.pings);
        let Some(worker) = slot.worker.as_mut() else { return Err("there is no worker".into()) };
        let told = worker.tell(&json!({"id": id, "cmd": "ping"}), WorkerStage::Idle, PING_PATIENCE).await;
        let answer = match told {
            Ok(()) => worker.hear(&id, PING_PATIENCE).await,
            Err(lost) => Err(lost),
        };
        match answer {
            Ok(WorkerLine { ok: Some(true), .. }) => {
                self.status.set(ProviderStatus::GOOD);
                Ok(())
            }
            Ok(line) => {
                let reason = format!("the worker can't comment: {}", line.error_message);
                self.status.set(ProviderStatus {
                    capability: ProbeState::No(reason.clone()),
                    ..ProviderStatus::GOOD
                });
                Err(reason)
            }
            Err(lost) => {
                let reason = format!("at a ping, {lost}");
                self.kill_and_back_off(slot, &reason);
                Err(reason)
            }
        }
    }

    async fn try_once(&self, job: &ProviderJob, gate: &Gate) -> Verdict {
        let mut slot = self.slot.lock().await;
        let unavailable =
            |reason: String| Verdict::new(VerdictKind::Denied, reason).with_code(Code::UiWorkerUnavailable);
        // Idle workers aren't asked each time; what came in between shows in the comment itself.
        let is_idle = slot.worker.as_ref().is_some_and(|worker| worker.stage == WorkerStage::Idle);
        if !is_idle && let Err(reason) = self.ensure_ready(&mut slot).await {
            return unavailable(reason);
        }
        let Some(worker) = slot.worker.as_mut() else { return unavailable("there is no worker".into()) };
        let id = id(job);
        let left_ms = whole_ms(job.deadline.since(self.clock.now()));
        match prepare(worker, &request(job, &id, left_ms), &id, self.timeout()).await {
            Ok(Prepared::Ready) => {}
            Ok(Prepared::Ended(verdict)) => return *verdict,
            Err(lost) => {
                self.kill_and_back_off(&mut slot, &lost.to_string());
                return Verdict::new(VerdictKind::NotSent, format!("before the click, {lost}"))
                    .with_code(Code::UiWorkerUnavailable);
            }
        }
        if !gate.pass() {
            // It has no `go`; the next line tells it that none comes.
            return Verdict::new(VerdictKind::NotSent, "cancelled before the click")
                .with_code(Code::DeadlineExceeded);
        }
        let result = match worker.tell(&json!({"go": id}), WorkerStage::Bound, self.timeout()).await {
            Ok(()) => worker.hear(&id, self.timeout()).await,
            Err(lost) => Err(lost),
        };
        match result {
            Ok(line) => {
                worker.stage = WorkerStage::Idle;
                slot.deaths = 0;
                after_go(&line)
            }
            Err(lost) => {
                self.kill_and_back_off(&mut slot, &lost.to_string());
                Verdict::new(VerdictKind::Unknown, format!("after the go, {lost}"))
            }
        }
    }

    async fn ask_ping(&self) -> ProviderStatus {
        // Whoever holds the slot is at work, and that shows more than a ping.
        let Ok(mut slot) = self.slot.try_lock() else { return self.status.get() };
        match self.ensure_ready(&mut slot).await {
            Ok(()) => ProviderStatus::GOOD,
            Err(_) => self.status.get(),
        }
    }
}

/// What came of a comment before its `go`.
enum Prepared {
    Ready,
    Ended(Box<Verdict>),
}

async fn prepare(
    worker: &mut Worker,
    request: &Value,
    id: &str,
    patience: Duration,
) -> Result<Prepared, WorkerError> {
    worker.tell(request, WorkerStage::Preparing, patience).await?;
    let line = worker.hear(id, patience).await?;
    if line.event.as_deref() == Some("ready") {
        return Ok(Prepared::Ready);
    }
    worker.stage = WorkerStage::Idle;
    Ok(Prepared::Ended(Box::new(before_go(&line))))
}

fn id(job: &ProviderJob) -> String {
    format!("{}-{}", job.id, job.attempt)
}

fn request(job: &ProviderJob, id: &str, not_after_ms: u64) -> Value {
    let to = &job.comment.addressing;
    json!({
        "id": id,
        "cmd": "comment",
        "author": to.author,
        "sns_id": to.sns_id,
        "content": job.comment.content,
        "reply_to": to.reply_to,
        "content_hash": to.content_hash,
        "not_after_ms": not_after_ms,
    })
}

/// What an end before the `go` means: nothing was clicked, so it has no effect, whatever the code says elsewhere.
fn before_go(line: &WorkerLine) -> Verdict {
    if line.ok != Some(false) {
        return said(line, VerdictKind::Unknown, "the worker speaks of an end before its go");
    }
    let code = line.error_code.and_then(Code::from_number).unwrap_or(Code::UiWorkerUnavailable);
    let kind = match of_code(code) {
        kind @ (VerdictKind::Refused | VerdictKind::Throttled | VerdictKind::NotSent) => kind,
        _ => VerdictKind::Denied,
    };
    let code = if of_code(code) == kind { code } else { Code::UiWorkerUnavailable };
    said(line, kind, "the worker gave up before the click").with_code(code)
}

fn after_go(line: &WorkerLine) -> Verdict {
    match (line.ok, line.error_code.and_then(Code::from_number)) {
        (Some(true), None | Some(Code::Ok)) => Verdict::new(VerdictKind::Delivered, ""),
        (Some(false), Some(code)) if code != Code::Ok => {
            said(line, of_code(code), "the worker failed after its go").with_code(code)
        }
        _ => said(line, VerdictKind::Unknown, "the worker doesn't say what became of the comment"),
    }
}

fn said(line: &WorkerLine, kind: VerdictKind, what: &str) -> Verdict {
    let mut verdict = Verdict::new(kind, format!("{what}: {}", line.error_message));
    verdict.provider_error_code = line.error_code.map(|code| code.to_string()).unwrap_or_default();
    verdict.provider_error_message.clone_from(&line.error_message);
    verdict
}

impl Provider for UiWorker {
    fn name(&self) -> ProviderName {
        ProviderName::RealUi
    }

    fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    fn rules(&self) -> ProviderRules {
        ProviderRules {
            name: self.name(),
            max_attempts: MAX_ATTEMPTS,
            min_useful: MIN_USEFUL,
            deduplicates_within: None,
            lookup: None,
            queues: true,
        }
    }

    fn concurrency(&self) -> Option<usize> {
        Some(1)
    }

    fn status(&self) -> ProviderStatus {
        self.status.get()
    }

    fn has_probe(&self) -> bool {
        true
    }

    fn probe(&self) -> BoxFuture<'_, ProviderStatus> {
        Box::pin(self.ask_ping())
    }

    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let began = self.clock.now();
            let verdict = self.try_once(job, gate).await;
            verdict.after_ms(whole_ms(self.clock.now() - began))
        })
    }

    fn read_target<'a>(&'a self, _job: &'a ProviderJob) -> BoxFuture<'a, Result<ReadBack, String>> {
        Box::pin(async { Err("the UI worker can't read comments back".into()) })
    }

    fn dry_run(&self, job: &ProviderJob) -> Result<Rendered, Box<Verdict>> {
        let not_after_ms = whole_ms(job.deadline.since(self.clock.now()));
        Ok(Rendered {
            method: "WORKER".into(),
            url: String::new(),
            headers: Vec::new(),
            body: request(job, &id(job), not_after_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: Value) -> WorkerLine {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn before_the_go_nothing_is_in_doubt_and_after_it_the_codes_speak() {
        for (code, before, after) in [
            (json!(10), "refused", "refused"),
            (json!(20), "denied", "denied"),
            (json!(30), "denied", "unknown"),
            (json!(53), "throttled", "throttled"),
            (json!(57), "denied", "misplaced"),
            (json!(62), "not_sent", "not_sent"),
            (json!(65), "denied", "denied"),
            (json!(4711), "denied", "unknown"),
            (Value::Null, "denied", "unknown"),
        ] {
            let line = line(json!({"id": "1", "ok": false, "error_code": code, "error_message": "m"}));
            assert_eq!(before_go(&line).kind.as_str(), before, "{code}");
            assert_eq!(after_go(&line).kind.as_str(), after, "{code}");
        }
        let yes = line(json!({"id": "1", "ok": true}));
        assert_eq!(after_go(&yes).kind, VerdictKind::Delivered);
        assert_eq!(before_go(&yes).kind, VerdictKind::Unknown, "whatever it did, it may have clicked");
        assert_eq!(after_go(&line(json!({"id": "1"}))).kind, VerdictKind::Unknown);
    }
}
