//! Whether the caller at the other end of a connection is still there.
//!
//! A caller may close its sending half and wait for the reply, or give up and close the connection. Both check the same
//! here until something is sent: a caller that waits accepts an interim response (`100 Continue`, which a server may send
//! to any HTTP/1.1 client), and one that has gone answers it with a reset.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// What a caller that has closed its sending half is sent.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// From the end of a caller's bytes to the check whether its request is whole. What was read before is with the
/// request by then.
const FIRST_CHECK: Duration = Duration::from_millis(1);
/// Between two checks whether a reset came back.
const CHECK_AGAIN: Duration = Duration::from_millis(5);

/// What a connection and its request in progress tell each other.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    in_progress: AtomicBool,
    has_closed_its_half: AtomicBool,
}

impl Presence {
    /// The request is here as a whole, so its caller may close its half. Not for callers that know no interim response:
    /// of those, one that closes is taken for gone.
    pub(crate) fn request_is_whole(&self) {
        self.in_progress.store(true, Ordering::Relaxed);
    }

    /// The reply is made; true if no other request can follow it.
    pub(crate) fn is_answered(&self) -> bool {
        self.in_progress.store(false, Ordering::Relaxed);
        self.has_closed_its_half.load(Ordering::Relaxed)
    }
}

/// A caller's connection. While a request is in progress it reads as ended only when the caller has gone.
#[derive(Debug)]
pub(crate) struct CallerStream {
    stream: TcpStream,
    presence: Arc<Presence>,
    /// The next check, once the caller has closed its sending half.
    check: Option<Pin<Box<Sleep>>>,
    /// Whether it was sent something since then.
    is_probed: bool,
}

impl CallerStream {
    pub(crate) fn new(stream: TcpStream, presence: Arc<Presence>) -> Self {
        Self { stream, presence, check: None, is_probed: false }
    }

    /// Ready when the caller, which has closed its sending half, has gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(check) = &mut self.check {
            ready!(check.as_mut().poll(cx));
            if !self.presence.in_progress.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            let is_there = if self.is_probed {
                matches!(self.stream.take_error(), Ok(None))
            } else {
                self.is_probed = true;
                self.stream.try_write(INTERIM).is_ok_and(|sent| sent == INTERIM.len())
            };
            if !is_there {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            self.check = Some(Box::pin(tokio::time::sleep(CHECK_AGAIN)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for CallerStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.check.is_some() {
            return this.poll_gone(cx);
        }
        let (filled, room) = (buf.filled().len(), buf.remaining());
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if room == 0 || buf.filled().len() > filled {
            return Poll::Ready(Ok(()));
        }
        this.presence.has_closed_its_half.store(true, Ordering::Relaxed);
        this.check = Some(Box::pin(tokio::time::sleep(FIRST_CHECK)));
        this.poll_gone(cx)
    }
}

impl AsyncWrite for CallerStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, CallerStream, Arc<Presence>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let presence = Arc::<Presence>::default();
        let ours = CallerStream::new(listener.accept().await.unwrap().0, Arc::clone(&presence));
        (caller, ours, presence)
    }

    #[tokio::test]
    async fn a_caller_that_closes_the_whole_is_gone_while_it_is_answered() {
        let (caller, mut ours, presence) = pair().await;
        presence.request_is_whole();
        drop(caller);
        ours.read(&mut [0; 8]).await.expect_err("it is reset");
    }

    #[tokio::test]
    async fn a_caller_that_closes_its_half_is_there_until_it_is_answered() {
        let (mut caller, mut ours, presence) = pair().await;
        presence.request_is_whole();
        caller.shutdown().await.unwrap();
        let (mut byte, mut sent) = ([0; 8], [0; INTERIM.len()]);
        tokio::select! {
            biased;
            read = ours.read(&mut byte) => panic!("it reads as ended: {read:?}"),
            // What it is sent shows that its end was seen.
            read = caller.read_exact(&mut sent) => drop(read.unwrap()),
        }
        assert_eq!(sent, INTERIM);
        assert!(presence.is_answered());
        ours.write_all(b"answer").await.unwrap();
        drop(ours);
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }

    #[tokio::test]
    async fn a_connection_that_answers_nothing_ends_with_its_caller() {
        let (mut caller, mut ours, _presence) = pair().await;
        caller.shutdown().await.unwrap();
        assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
