//! How those who wait for the writer are told: all of a group who wait on one runtime by one message to it.
//!
//! To wake a task of another thread is a call of the system that may take the core from the writer, and a group
//! answers up to hundreds. Told by a task of their own runtime they cost next to nothing.

use crate::LedgerError;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

/// Where an operation's answer goes. Dropped, it tells that nobody will answer.
#[derive(Debug)]
pub(super) struct Responder<T> {
    sender: oneshot::Sender<Result<T, LedgerError>>,
    /// Where whoever asked waits; `None` outside any runtime.
    runtime: Option<Handle>,
}

impl<T> Responder<T> {
    /// A reply to whoever awaits the receiver, on the runtime that this is called on.
    pub(super) fn new() -> (Self, oneshot::Receiver<Result<T, LedgerError>>) {
        let (sender, answer) = oneshot::channel();
        (Self { sender, runtime: Handle::try_current().ok() }, answer)
    }

    /// Answers now. Whoever asked may be gone; what was recorded stays recorded.
    pub(super) fn give(self, result: Result<T, LedgerError>) {
        let _ = self.sender.send(result);
    }

    /// The answer that this result is, unless its group fails.
    pub(super) fn with(self, result: Result<T, LedgerError>) -> DeferredResponse
    where
        T: Send + 'static,
    {
        let Self { sender, runtime } = self;
        let tell = move |failure: Option<&LedgerError>| {
            Responder { sender, runtime: None }.give(failure.cloned().map_or(result, Err));
        };
        DeferredResponse { runtime, tell: Box::new(tell) }
    }
}

/// An operation's result before it is known whether its group fails.
pub(super) struct DeferredResponse {
    runtime: Option<Handle>,
    tell: Respond,
}

/// Tells an operation's result, or the failure of its whole group.
type Respond = Box<dyn FnOnce(Option<&LedgerError>) + Send>;

/// Answers all of these, with the failure if there is one.
pub(super) fn give(answers: Vec<DeferredResponse>, failure: Option<&LedgerError>) {
    let mut runtimes: Vec<(Id, Handle, Vec<Respond>)> = Vec::new();
    for DeferredResponse { runtime, tell } in answers {
        let Some(runtime) = runtime else {
            tell(failure);
            continue;
        };
        let id = runtime.id();
        match runtimes.iter_mut().find(|(other, ..)| *other == id) {
            Some((.., tells)) => tells.push(tell),
            None => runtimes.push((id, runtime, vec![tell])),
        }
    }
    for (_, runtime, tells) in runtimes {
        let failure = failure.cloned();
        runtime.spawn(async move {
            for tell in tells {
                tell(failure.as_ref());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use tokio::runtime::{Builder, Runtime};

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    /// Asks from this runtime, or from none.
    fn ask(runtime: Option<&Runtime>) -> (Responder<u32>, oneshot::Receiver<Result<u32, LedgerError>>) {
        let _here = runtime.map(Runtime::enter);
        Responder::new()
    }

    #[test]
    fn a_group_is_answered_on_each_runtime_and_outside_of_any() {
        let (one, other) = (runtime(), runtime());
        let from = [Some(&one), Some(&other), None, Some(&one)];
        let (replies, waiting): (Vec<_>, Vec<_>) = from.into_iter().map(ask).unzip();
        let answers = (0..).zip(replies).map(|(number, reply)| reply.with(Ok(number))).collect();
        thread::spawn(move || give(answers, None)).join().unwrap();
        for ((number, at), mut answer) in (0..).zip(from).zip(waiting) {
            let answer = match at {
                Some(runtime) => runtime.block_on(answer).unwrap(),
                None => answer.try_recv().unwrap(),
            };
            assert_eq!(answer, Ok(number));
        }
    }

    #[test]
    fn the_failure_of_a_group_is_everybodys_answer() {
        let here = runtime();
        let (replies, waiting): (Vec<_>, Vec<_>) = [Some(&here), None].into_iter().map(ask).unzip();
        give(replies.into_iter().map(|reply| reply.with(Ok(1))).collect(), Some(&LedgerError::Busy));
        for answer in waiting {
            assert_eq!(here.block_on(answer).unwrap(), Err(LedgerError::Busy));
        }
    }

    #[test]
    fn whoever_waited_on_a_runtime_that_has_ended_is_told_that_nobody_answers() {
        let ended = runtime();
        let (reply, mut answer) = ask(Some(&ended));
        drop(ended);
        give(vec![reply.with(Ok(1))], None);
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
