//! Letting others go first.

use std::future::poll_fn;
use std::task::Poll;

/// Lets every task that is ready on this thread go first, once. Cancel safe.
///
/// tokio's own `yield_now` also asks the system what else there is, and wakes its task after that a second time if
/// something else has woken it meanwhile, as a connection's own parts do.
pub async fn yield_once() {
    let mut is_behind = false;
    poll_fn(|cx| {
        if is_behind {
            return Poll::Ready(());
        }
        is_behind = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn what_is_ready_goes_first() {
        let (said, mut says) = mpsc::unbounded_channel();
        let stepping = {
            let said = said.clone();
            tokio::spawn(async move {
                said.send("came").unwrap();
                yield_once().await;
                said.send("went on").unwrap();
            })
        };
        tokio::spawn(async move { said.send("was ready").unwrap() });
        stepping.await.unwrap();
        let mut order = Vec::new();
        while let Some(word) = says.recv().await {
            order.push(word);
        }
        assert_eq!(order, ["came", "was ready", "went on"]);
    }
}
