//! A post's way: read in full, numbered, decided on, stored or not, answered or not.

use crate::answer::{Answer, Refusal, cut};
use crate::board::{InFlight, Phase, Surface};
use crate::fault::{Decision, Fault, decide};
use crate::shapes::{Post, Shape};
use crate::store::{Added, StoredComment};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use commentd_contract::limits::MAX_BODY_BYTES;
use commentd_contract::time::{Moment, whole_ms};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

const BODY_TIMEOUT_MS: u64 = 30_000;

/// Answers one post.
///
/// From the moment the request was read in full its fate is decided in a task of its own, so that a client that
/// leaves changes nothing: that is how real servers behave.
pub(crate) async fn post(surface: Surface, shape: Shape, request: Request) -> Response {
    let started = surface.board.now();
    let latency_ms = || whole_ms(surface.board.now() - started);
    let (head, body) = request.into_parts();
    let body =
        match timeout(Duration::from_millis(BODY_TIMEOUT_MS), axum::body::to_bytes(body, MAX_BODY_BYTES))
            .await
        {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let message = format!("the body can't be read or is over {MAX_BODY_BYTES} bytes");
                return shape.refuse(&Refusal::too_large(message), "", latency_ms()).into_response();
            }
            Err(_) => return cut(),
        };
    let Some((number, in_flight)) = surface.board.begin() else {
        return shape.refuse(&Refusal::overloaded(), "", latency_ms()).into_response();
    };
    let post = match Post::parse(shape, &head.headers, &body, surface.board.deduplicates()) {
        Ok(post) => post,
        Err(refusal) => return shape.refuse(&refusal, "", latency_ms()).into_response(),
    };
    let texts: Vec<&str> = post.comments.iter().map(|comment| comment.text.as_str()).collect();
    let (plan, seed) = surface.board.faults();
    let decision = decide(plan, seed, number, &texts);
    if let Some(fault) = &decision.fault {
        surface.board.note_fault(number, fault, &texts);
    }
    let (client, answered) = oneshot::channel();
    let work = Work { surface, post, started, in_flight };
    tokio::spawn(work.run(decision, client));
    // An answer that is dropped unsent is a connection to be cut.
    answered.await.unwrap_or_else(|_| cut())
}

struct Work {
    surface: Surface,
    post: Post,
    started: Moment,
    in_flight: InFlight,
}

impl Work {
    async fn run(self, decision: Decision, mut client: oneshot::Sender<Response>) {
        if !self.surface.pause(decision.delay_ms, Phase::Ended).await {
            return;
        }
        match decision.fault {
            Some(Fault::CutBefore) => {}
            Some(Fault::ErrorBefore) => self.send(client, self.refusal(&Refusal::internal())),
            Some(Fault::Throttle { retry_after_s }) => {
                self.send(client, self.refusal(&Refusal::throttled(retry_after_s)));
            }
            Some(Fault::Hang) => {
                tokio::select! {
                    () = client.closed() => {}
                    () = self.surface.reached(Phase::Draining) => {}
                }
            }
            Some(Fault::StoreLate { hold_ms, late_ms }) => {
                let serving = tokio::select! {
                    () = client.closed() => true,
                    serving = self.surface.pause(hold_ms, Phase::Draining) => serving,
                };
                drop(client);
                if serving && self.surface.pause(late_ms, Phase::Draining).await {
                    self.store().await;
                }
            }
            fault => self.store_and_answer(fault, client).await,
        }
    }

    /// The faults that come after the comment is stored, and none.
    async fn store_and_answer(self, fault: Option<Fault>, mut client: oneshot::Sender<Response>) {
        let Some(added) = self.store().await else {
            return self.send(client, self.refusal(&Refusal::internal()));
        };
        let answer = match fault {
            Some(Fault::CutAfter) => return,
            Some(Fault::ErrorAfter) => self.refusal(&Refusal::internal()),
            Some(Fault::RefuseAfter) => self.refusal(&Refusal::refused()),
            Some(Fault::Garbage) => Answer::garbage(),
            Some(Fault::Filtered) => Answer::filtered(),
            Some(Fault::WrongEcho) => self.wrong_echo(added).await,
            _ => self.post.answer(&added, self.latency_ms()),
        };
        match fault {
            Some(Fault::SlowHeaders { hold_ms }) => {
                tokio::select! {
                    () = client.closed() => {}
                    _ = self.surface.pause(hold_ms, Phase::Draining) => self.send(client, answer),
                }
            }
            Some(Fault::SlowBody { hold_ms }) => {
                let surface = self.surface;
                let pause = async move {
                    surface.pause(hold_ms, Phase::Draining).await;
                };
                // A client that has left drops the answer, and with it the guard.
                let _ = client.send(answer.into_held(pause, self.in_flight));
            }
            _ => self.send(client, answer),
        }
    }

    /// Stores all comments of the post. `None` when the store failed, which is logged.
    async fn store(&self) -> Option<Vec<Added>> {
        match self.surface.board.store().add(self.post.comments.clone(), self.post.key.clone()).await {
            Ok(added) => {
                let stored = added.iter().filter(|added| matches!(added, Added::Stored(_))).count();
                self.surface.board.count_stored(stored as u64);
                Some(added)
            }
            Err(error) => {
                tracing::error!(%error, "the board can't store a comment");
                None
            }
        }
    }

    /// The answer as if another comment had been meant: the newest other one, or one that never was.
    async fn wrong_echo(&self, mut added: Vec<Added>) -> Answer {
        let ours = added.iter().filter_map(Added::comment).map(|comment| comment.id.clone()).collect();
        let other = self.surface.board.store().other_than(ours).await.ok().flatten();
        for comment in added.iter_mut().filter_map(Added::comment_mut) {
            *comment = other.clone().unwrap_or_else(|| nobodys(comment));
        }
        self.post.answer_for_another(&added, self.latency_ms())
    }

    fn latency_ms(&self) -> u64 {
        whole_ms(self.surface.board.now() - self.started)
    }

    fn refusal(&self, refusal: &Refusal) -> Answer {
        self.post.shape.refuse(refusal, self.post.task_id(), self.latency_ms())
    }

    fn send(&self, client: oneshot::Sender<Response>, answer: Answer) {
        // The client may have left; what was stored stays stored.
        let _ = client.send(answer.into_response());
    }
}

impl Added {
    fn comment(&self) -> Option<&StoredComment> {
        match self {
            Added::Stored(comment) | Added::Repeated(comment) => Some(comment),
            _ => None,
        }
    }

    fn comment_mut(&mut self) -> Option<&mut StoredComment> {
        match self {
            Added::Stored(comment) | Added::Repeated(comment) => Some(comment),
            _ => None,
        }
    }
}

fn nobodys(comment: &StoredComment) -> StoredComment {
    StoredComment {
        id: "9000000000".into(),
        text: "somebody else's comment".into(),
        marker: "0123456789abcdef0123456789abcdef".into(),
        author: "somebody".into(),
        parent: String::new(),
        ..comment.clone()
    }
}
