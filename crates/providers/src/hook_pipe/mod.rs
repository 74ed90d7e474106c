//! `real_hook`: comments through the pipe of the hook that runs inside the client.
//!
//! The pipe serves one client at a time, and the hook one comment at a time. So there is one lane; a connection is
//! made for a burst and left after a second without work, so that others get their turn. A new connection must answer
//! `status` before it carries a comment: that is the probe of the hook's capability, and after an unknown attempt,
//! whose connection is dropped, the proof that the hook has come back.

mod options;
mod pipe;
mod wire;

use crate::provider::BoxFuture;
use crate::provider::Provider;
use crate::provider::ProviderJob;
use crate::provider::Rendered;
use crate::status::{ProbeState, ProviderStatus, SharedStatus};
use bytes::Bytes;
use commentd_channels::ReadBack;
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::record::Destination;
use commentd_delivery::step::ProviderRules;
use commentd_delivery::{Clock, Gate, Moment, Verdict};
pub use options::{ExecutionMode, HookOptions};

use pipe::{ConnectError, Pipe, PipeError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use wire::{HookQuery, HookReply, MAX_REQUEST_BYTES};

/// The pipe's usual name on Windows.
pub const WINDOWS_PIPE: &str = r"\\.\pipe\pywechat_hook";

/// A connection without work is left after this, so that another client gets its turn.
const LEAVE_AFTER: Duration = Duration::from_secs(1);
/// Less time than this isn't worth an attempt: the hook's own work takes longer.
const MIN_USEFUL: Duration = Duration::from_millis(100);
/// Attempts in one run of a delivery.
const MAX_ATTEMPTS: u32 = 3;

/// A hook that saw the client comment longer ago than this may not get hold of the thread that did.
const MAX_CAPTURE_AGE: Duration = Duration::from_secs(10);
/// A hook whose capture was that old is asked again after this, because the client may have commented since.
const ASK_AGE_AFTER: Duration = Duration::from_secs(1);

/// The provider.
pub struct HookPipe {
    options: HookOptions,
    destination: Arc<Destination>,
    clock: Arc<dyn Clock>,
    slot: Arc<Mutex<PipeSlot>>,
    /// How old the hook's capture was, and when the hook said so.
    capture: SyncMutex<Option<(Duration, Moment)>>,
    status: SharedStatus,
    probes: AtomicU64,
}

/// The place for the one connection. Whoever uses the pipe holds the slot and takes the connection out, so that it is
/// closed if its user is dropped halfway.
#[derive(Default)]
struct PipeSlot {
    pipe: Option<Pipe>,
    /// How often a connection was put back.
    rests: u64,
}

impl HookPipe {
    /// A provider over this pipe. Connects when there is something to do.
    pub fn new(options: HookOptions, clock: Arc<dyn Clock>) -> Self {
        let destination = Arc::new(Destination {
            provider: ProviderName::RealHook,
            channel: String::new(),
            base_url: options.pipe_name.clone(),
            account: String::new(),
            manifest_version: 0,
        });
        Self {
            options,
            destination,
            clock,
            slot: Arc::default(),
            capture: SyncMutex::default(),
            status: SharedStatus::default(),
            probes: AtomicU64::new(0),
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.options.timeout_ms)
    }

    /// A connection whose hook is able to comment. Nothing that has an effect was sent over it.
    async fn pipe(&self, slot: &mut MutexGuard<'_, PipeSlot>, task_id: &str) -> Result<Pipe, Box<Verdict>> {
        if let Some(mut pipe) = slot.pipe.take()
            && pipe.is_alive()
        {
            return Ok(pipe);
        }
        let (pipe, status) = self.connect(task_id).await?;
        self.take_in(&status)?;
        Ok(pipe)
    }

    /// What the hook says of itself; else why it can't comment.
    fn take_in(&self, status: &HookReply) -> Result<(), Box<Verdict>> {
        let age = status.capture_age_ms().map(|ms| (Duration::from_millis(ms), self.clock.now()));
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = age;
        match status.why_not_able() {
            None => {
                self.status.set(ProviderStatus::GOOD);
                Ok(())
            }
            Some((code, reason)) => {
                self.status.set(ProviderStatus {
                    capability: ProbeState::No(reason.clone()),
                    ..ProviderStatus::GOOD
                });
                let verdict = Verdict::new(VerdictKind::Denied, format!("the hook isn't able: {reason}"));
                Err(Box::new(verdict.with_code(code)))
            }
        }
    }

    async fn connect(&self, task_id: &str) -> Result<(Pipe, HookReply), Box<Verdict>> {
        let mut pipe = Pipe::open(&self.options.pipe_name, self.timeout()).await.map_err(|no_pipe| {
            Box::new(match no_pipe {
                ConnectError::Absent(reason) => {
                    let reason = format!("there is no pipe: {reason}");
                    let down = ProbeState::No(reason.clone());
                    self.status.set(ProviderStatus {
                        health: down.clone(),
                        capability: down,
                        ..ProviderStatus::GOOD
                    });
                    Verdict::new(VerdictKind::Denied, reason).with_code(Code::HookNotInstalled)
                }
                ConnectError::Busy => Verdict::new(VerdictKind::NotSent, "another client has the pipe")
                    .with_code(Code::Overloaded),
                ConnectError::Failed(reason) => self.not_sent(Code::PipeDisconnected, &reason),
            })
        })?;
        let status = self.ask_hook_status(&mut pipe, task_id).await?;
        Ok((pipe, status))
    }

    async fn ask_hook_status(&self, pipe: &mut Pipe, task_id: &str) -> Result<HookReply, Box<Verdict>> {
        let task_id = format!("{task_id}-status");
        let status = pipe.ask(HookQuery::status(&task_id).frame(), &task_id, self.timeout()).await;
        status.map_err(|lost| Box::new(self.lost_before_gate(&lost)))
    }

    fn capture(&self) -> Option<(Duration, Moment)> {
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The execution mode, as far as is known by now.
    fn mode(&self) -> &'static str {
        let is_old = || self.capture_age().is_some_and(|age| age > MAX_CAPTURE_AGE);
        match self.options.execution_mode {
            ExecutionMode::CaptureThread => "capture_thread",
            ExecutionMode::PipeThread => "pipe_thread",
            ExecutionMode::Auto if is_old() => "pipe_thread",
            ExecutionMode::Auto => "capture_thread",
        }
    }

    /// Asks for the capture's age where it decides how to comment and may have changed.
    async fn renew_age(&self, pipe: &mut Pipe, task_id: &str) -> Result<(), Box<Verdict>> {
        let is_old_news = |(_, asked): (Duration, Moment)| self.clock.now().since(asked) >= ASK_AGE_AFTER;
        let decides = self.options.execution_mode == ExecutionMode::Auto && self.mode() == "pipe_thread";
        if !decides || !self.capture().is_some_and(is_old_news) {
            return Ok(());
        }
        let status = self.ask_hook_status(pipe, task_id).await?;
        self.take_in(&status)
    }

    fn not_sent(&self, code: Code, reason: &str) -> Verdict {
        self.status.set_health(ProbeState::No(reason.to_owned()));
        Verdict::new(VerdictKind::NotSent, reason).with_code(code)
    }

    fn lost_before_gate(&self, lost: &PipeError) -> Verdict {
        self.not_sent(code_of(lost), &format!("before the comment was sent, {lost}"))
    }

    /// The target of a comment: its own, or what the hook knows by author and hash, or the latest if the user wants
    /// that. The latest may be another post, so it is taken only where nothing says which one is meant.
    async fn target(
        &self,
        job: &ProviderJob,
        pipe: &mut Pipe,
        task_id: &str,
    ) -> Result<String, Box<Verdict>> {
        let to = &job.comment.addressing;
        if !to.sns_id.is_empty() {
            return Ok(to.sns_id.clone());
        }
        let task_id = format!("{task_id}-query");
        let asks_for_latest = to.author.is_empty() && to.content_hash.is_empty();
        if asks_for_latest && !self.options.latest_sns_id {
            return Err(Box::new(no_target(
                "the comment names neither sns_id nor author and content_hash (the latest post is taken with \
                 --real-latest-sns-id only)",
            )));
        }
        let question = if asks_for_latest {
            HookQuery::latest_sns_id(&task_id)
        } else {
            HookQuery::query_sns_id(&task_id, &to.author, &to.content_hash)
        };
        let reply = pipe
            .ask(question.frame(), &task_id, self.timeout())
            .await
            .map_err(|lost| Box::new(self.lost_before_gate(&lost)))?;
        match reply.sns_id() {
            found if reply.ok && !found.is_empty() => Ok(found),
            _ => Err(Box::new(no_target("the hook knows no such post"))),
        }
    }

    fn frame(&self, job: &ProviderJob, sns_id: &str, task_id: &str) -> Result<Bytes, Box<Verdict>> {
        let comment = &job.comment;
        let reply_to = &comment.addressing.reply_to;
        let request = wire::comment(&self.options, self.mode(), task_id, sns_id, &comment.content, reply_to);
        let frame = Bytes::from(request.to_string());
        if frame.len() <= MAX_REQUEST_BYTES {
            return Ok(frame);
        }
        let message = format!(
            "the hook takes requests of at most {MAX_REQUEST_BYTES} bytes, this comment makes one of {}",
            frame.len()
        );
        Err(Box::new(Verdict::new(VerdictKind::Denied, message).with_code(Code::ProviderUnavailable)))
    }

    async fn try_once(&self, job: &ProviderJob, gate: &Gate) -> Result<Verdict, Box<Verdict>> {
        let task_id = task_id(job);
        // What is too long stays too long, whatever the target.
        self.frame(job, &job.comment.addressing.sns_id, &task_id)?;
        let mut slot = self.slot.lock().await;
        let mut pipe = self.pipe(&mut slot, &task_id).await?;
        self.renew_age(&mut pipe, &task_id).await?;
        let target = self.target(job, &mut pipe, &task_id).await;
        let frame = target.and_then(|sns_id| self.frame(job, &sns_id, &task_id));
        let frame = match frame {
            Ok(frame) => frame,
            Err(verdict) => {
                if verdict.kind == VerdictKind::Denied {
                    self.put_back(&mut slot, pipe);
                }
                return Err(verdict);
            }
        };
        if !gate.pass() {
            self.put_back(&mut slot, pipe);
            let verdict = Verdict::new(VerdictKind::NotSent, "cancelled before it was sent");
            return Err(Box::new(verdict.with_code(Code::DeadlineExceeded)));
        }
        match pipe.ask(frame, &task_id, self.timeout()).await {
            Ok(reply) => {
                let verdict = reply.verdict();
                // After an unknown the hook must first show on a new connection that it has come back.
                if verdict.kind != VerdictKind::Unknown {
                    self.put_back(&mut slot, pipe);
                }
                Ok(verdict)
            }
            Err(lost) => {
                let message = format!("the comment was handed over, then {lost}");
                Ok(Verdict::new(VerdictKind::Unknown, message).with_code(code_of(&lost)))
            }
        }
    }

    /// Keeps a connection for the rest of the burst.
    fn put_back(&self, slot: &mut MutexGuard<'_, PipeSlot>, pipe: Pipe) {
        slot.pipe = Some(pipe);
        slot.rests += 1;
        let (rests, kept) = (slot.rests, Arc::downgrade(&self.slot));
        tokio::spawn(async move {
            tokio::time::sleep(LEAVE_AFTER).await;
            let Some(slot) = kept.upgrade() else { return };
            let mut slot = slot.lock().await;
            if slot.rests == rests {
                slot.pipe = None;
            }
        });
    }

    /// What an attempt has shown.
    fn learn(&self, verdict: &Verdict) {
        match (verdict.kind, verdict.code) {
            (VerdictKind::Unknown, _) => self.status.set_health(ProbeState::No(verdict.message.clone())),
            // What the hook can't do now it can't do for the next one either; `status` will tell when it can.
            (
                VerdictKind::Denied,
                Code::CommentFailed
                | Code::CommentNotImplemented
                | Code::WechatVersionMismatch
                | Code::HookNotInstalled,
            ) => self.status.set_capability(ProbeState::No(verdict.message.clone())),
            (VerdictKind::NotSent, _) => {}
            _ => self.status.set_health(ProbeState::Yes),
        }
    }

    async fn ask_status(&self) -> ProviderStatus {
        // Whoever holds the slot is at work, and that shows more than a question.
        let Ok(mut slot) = self.slot.try_lock() else { return self.status.get() };
        // A fresh connection, so that it says the same as an attempt would hear.
        slot.pipe = None;
        let number = self.probes.fetch_add(1, Ordering::Relaxed);
        match self.pipe(&mut slot, &format!("probe-{number}")).await {
            // Not kept: a probe isn't a burst.
            Ok(_closed_again) => ProviderStatus::GOOD,
            Err(verdict) if verdict.kind == VerdictKind::NotSent => {
                ProviderStatus { health: ProbeState::No(verdict.message), ..self.status.get() }
            }
            Err(_) => self.status.get(),
        }
    }
}

fn task_id(job: &ProviderJob) -> String {
    format!("{}-{}", job.id, job.attempt)
}

fn code_of(lost: &PipeError) -> Code {
    match lost {
        PipeError::Late(_) => Code::PipeTimeout,
        PipeError::Broken(_) => Code::PipeDisconnected,
    }
}

fn no_target(message: &str) -> Verdict {
    Verdict::new(VerdictKind::Denied, message).with_code(Code::SnsIdNotFound)
}

impl Provider for HookPipe {
    fn name(&self) -> ProviderName {
        ProviderName::RealHook
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
        Box::pin(self.ask_status())
    }

    fn attempt<'a>(&'a self, job: &'a ProviderJob, gate: &'a Gate) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let began = self.clock.now();
            let verdict = self.try_once(job, gate).await.unwrap_or_else(|verdict| *verdict);
            self.learn(&verdict);
            verdict.after_ms(whole_ms(self.clock.now() - began))
        })
    }

    fn read_target<'a>(&'a self, _job: &'a ProviderJob) -> BoxFuture<'a, Result<ReadBack, String>> {
        Box::pin(async { Err("the hook's pipe can't read comments back".into()) })
    }

    fn dry_run(&self, job: &ProviderJob) -> Result<Rendered, Box<Verdict>> {
        let task_id = task_id(job);
        let comment = &job.comment;
        let to = &comment.addressing;
        self.frame(job, &to.sns_id, &task_id)?;
        Ok(Rendered {
            method: "PIPE".into(),
            url: self.options.pipe_name.clone(),
            headers: Vec::new(),
            body: wire::comment(
                &self.options,
                self.mode(),
                &task_id,
                &to.sns_id,
                &comment.content,
                &to.reply_to,
            ),
        })
    }

    fn capture_age(&self) -> Option<Duration> {
        let (age, asked) = self.capture()?;
        Some(age.saturating_add(self.clock.now().since(asked)))
    }
}
