//! What happens to a post: it is read in full and numbered, its fault is decided, and it is stored and answered, or not.

use crate::fault::{Fault, FaultDecision, decide};
use crate::refusal::PostRefusal;
use crate::response::{BoardResponse, cut};
use crate::serving::{Serving, ServingPhase};
use crate::shapes::{ParsedPost, WireShape};
use crate::state::PostInFlight;
use crate::store::{AddResult, StoredComment};
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
/// Once the request was read in full, a task of its own goes on with it, so that a client that leaves changes nothing:
/// that is how real servers behave.
pub(crate) async fn post(serving: Serving, shape: WireShape, request: Request) -> Response {
    let started = serving.state.now();
    let latency_ms = || whole_ms(serving.state.now() - started);
    let (head, body) = request.into_parts();
    let body =
        match timeout(Duration::from_millis(BODY_TIMEOUT_MS), axum::body::to_bytes(body, MAX_BODY_BYTES))
            .await
        {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let message = format!("the body can't be read or is over {MAX_BODY_BYTES} bytes");
                return shape.refuse(&PostRefusal::too_large(message), "", latency_ms()).into_response();
            }
            Err(_) => return cut(),
        };
    let Some((number, in_flight)) = serving.state.begin() else {
        return shape.refuse(&PostRefusal::overloaded(), "", latency_ms()).into_response();
    };
    let post = match ParsedPost::parse(shape, &head.headers, &body, serving.state.deduplicates()) {
        Ok(post) => post,
        Err(refusal) => return shape.refuse(&refusal, "", latency_ms()).into_response(),
    };
    let texts: Vec<&str> = post.comments.iter().map(|comment| comment.text.as_str()).collect();
    let (plan, seed) = serving.state.faults();
    let decision = decide(plan, seed, number, &texts);
    if let Some(fault) = &decision.fault {
        serving.state.note_fault(number, fault, &texts);
    }
    let (client, answered) = oneshot::channel();
    let accepted = AcceptedPost { serving, post, started, in_flight };
    tokio::spawn(accepted.run(decision, client));
    // An answer that is dropped unsent is a connection to be cut.
    answered.await.unwrap_or_else(|_| cut())
}

struct AcceptedPost {
    serving: Serving,
    post: ParsedPost,
    started: Moment,
    in_flight: PostInFlight,
}

impl AcceptedPost {
    async fn run(self, decision: FaultDecision, mut client: oneshot::Sender<Response>) {
        if !self.serving.pause(decision.delay_ms, ServingPhase::Ended).await {
            return;
        }
        match decision.fault {
            Some(Fault::CutBefore) => {}
            Some(Fault::ErrorBefore) => self.send(client, self.refusal(&PostRefusal::internal())),
            Some(Fault::Throttle { retry_after_s }) => {
                self.send(client, self.refusal(&PostRefusal::throttled(retry_after_s)));
            }
            Some(Fault::Hang) => {
                tokio::select! {
                    () = client.closed() => {}
                    () = self.serving.reached(ServingPhase::Draining) => {}
                }
            }
            Some(Fault::StoreLate { hold_ms, late_ms }) => {
                let goes_on = tokio::select! {
                    () = client.closed() => true,
                    goes_on = self.serving.pause(hold_ms, ServingPhase::Draining) => goes_on,
                };
                drop(client);
                if goes_on && self.serving.pause(late_ms, ServingPhase::Draining).await {
                    self.store().await;
                }
            }
            fault => self.store_and_respond(fault, client).await,
        }
    }

    /// The faults that come after the comment is stored, and none.
    async fn store_and_respond(self, fault: Option<Fault>, mut client: oneshot::Sender<Response>) {
        let Some(added) = self.store().await else {
            return self.send(client, self.refusal(&PostRefusal::internal()));
        };
        let response = match fault {
            Some(Fault::CutAfter) => return,
            Some(Fault::ErrorAfter) => self.refusal(&PostRefusal::internal()),
            Some(Fault::RefuseAfter) => self.refusal(&PostRefusal::refused()),
            Some(Fault::Garbage) => BoardResponse::garbage(),
            Some(Fault::Filtered) => BoardResponse::filtered(),
            Some(Fault::WrongEcho) => self.wrong_echo(added).await,
            _ => self.post.respond(&added, self.latency_ms()),
        };
        match fault {
            Some(Fault::SlowHeaders { hold_ms }) => {
                tokio::select! {
                    () = client.closed() => {}
                    _ = self.serving.pause(hold_ms, ServingPhase::Draining) => self.send(client, response),
                }
            }
            Some(Fault::SlowBody { hold_ms }) => {
                let serving = self.serving;
                let pause = async move {
                    serving.pause(hold_ms, ServingPhase::Draining).await;
                };
                // A client that has left drops the answer, and with it the guard.
                let _ = client.send(response.into_held(pause, self.in_flight));
            }
            _ => self.send(client, response),
        }
    }

    /// Stores all comments of the post. `None` when the store failed, which is logged.
    async fn store(&self) -> Option<Vec<AddResult>> {
        match self.serving.state.store().add(self.post.comments.clone(), self.post.key.clone()).await {
            Ok(added) => {
                let stored = added.iter().filter(|added| matches!(added, AddResult::Stored(_))).count();
                self.serving.state.count_stored(stored as u64);
                Some(added)
            }
            Err(error) => {
                tracing::error!(%error, "the board can't store a comment");
                None
            }
        }
    }

    /// The response as if another comment had been meant: the newest other one, or one that never was.
    async fn wrong_echo(&self, mut added: Vec<AddResult>) -> BoardResponse {
        let ours = added.iter().filter_map(AddResult::comment).map(|comment| comment.id.clone()).collect();
        let other = self.serving.state.store().other_than(ours).await.ok().flatten();
        for comment in added.iter_mut().filter_map(AddResult::comment_mut) {
            *comment = other.clone().unwrap_or_else(|| nobodys(comment));
        }
        self.post.respond_for_another(&added, self.latency_ms())
    }

    fn latency_ms(&self) -> u64 {
        whole_ms(self.serving.state.now() - self.started)
    }

    fn refusal(&self, refusal: &PostRefusal) -> BoardResponse {
        self.post.shape.refuse(refusal, self.post.task_id(), self.latency_ms())
    }

    fn send(&self, client: oneshot::Sender<Response>, response: BoardResponse) {
        // The client may have left; what was stored stays stored.
        let _ = client.send(response.into_response());
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
