//! Failpoints: places on a comment's way at which a test can end the process as `kill -9` would.
//!
//! Only a build with the feature `failpoints` has them, and only the variable `COMMENTD_FAILPOINT` arms one:
//! `after-intent:3` ends the process at the third hit of that failpoint. Without the feature each is an empty
//! inline function. Cargo unifies features, so builds of the whole workspace have them, unarmed.

/// A place on a comment's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// The intent isn't recorded yet.
    BeforeIntent,
    /// The intent is durable, nothing is sent.
    AfterIntent,
    /// A part of the body is with the channel.
    MidBody,
    /// The reply is here, and not recorded yet.
    AfterEffect,
    /// The result is durable, and the caller not answered yet.
    AfterRecord,
}

impl Failpoint {
    /// All of them, in the order of a comment's way.
    pub const ALL: [Failpoint; 5] = [
        Failpoint::BeforeIntent,
        Failpoint::AfterIntent,
        Failpoint::MidBody,
        Failpoint::AfterEffect,
        Failpoint::AfterRecord,
    ];

    /// Its name in `COMMENTD_FAILPOINT`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Failpoint::BeforeIntent => "before-intent",
            Failpoint::AfterIntent => "after-intent",
            Failpoint::MidBody => "mid-body",
            Failpoint::AfterEffect => "after-effect",
            Failpoint::AfterRecord => "after-record",
        }
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use super::Failpoint;
    use std::io;
    use std::pin::Pin;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    struct Armed {
        failpoint: Failpoint,
        hits: AtomicU64,
        last: u64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("COMMENTD_FAILPOINT").ok()?;
                let (name, last) = text.split_once(':').unwrap_or((&text, "1"));
                let failpoint = Failpoint::ALL.into_iter().find(|failpoint| failpoint.as_str() == name)?;
                Some(Armed { failpoint, hits: AtomicU64::new(0), last: last.parse().ok()? })
            })
            .as_ref()
    }

    /// Reaches a failpoint: the process ends here if it is the armed one and this is the hit that was asked for.
    pub fn reach(failpoint: Failpoint) {
        if comes_to_its_end(failpoint) {
            end();
        }
    }

    /// Counts a hit; true if it is the one at which the process is to end.
    fn comes_to_its_end(failpoint: Failpoint) -> bool {
        armed().is_some_and(|armed| {
            armed.failpoint == failpoint && armed.hits.fetch_add(1, Ordering::Relaxed) + 1 == armed.last
        })
    }

    fn end() -> ! {
        #[cfg(unix)]
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        // The signal may take a moment to arrive; nothing may happen in it.
        std::process::abort()
    }

    /// A stream to a channel that can end the process in the middle of a request's body.
    pub(crate) struct FailpointStream<S> {
        stream: S,
        ends_at_next_write: bool,
    }

    pub(crate) fn with_failpoints<S>(stream: S) -> FailpointStream<S> {
        FailpointStream { stream, ends_at_next_write: false }
    }

    /// The middle of the body of a POST that is written whole, from the buffer's start.
    fn middle_of_body(buffer: &[u8]) -> Option<usize> {
        let is_post = buffer.starts_with(b"POST ");
        let body = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        (is_post && buffer.len() > body + 1).then(|| body + (buffer.len() - body) / 2)
    }

    impl<S: crate::native::dial::Stream> crate::native::dial::Stream for FailpointStream<S> {
        fn unread(&self) -> crate::native::dial::Unread {
            self.stream.unread()
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for FailpointStream<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.ends_at_next_write {
                end();
            }
            let Some(middle) = middle_of_body(buffer).filter(|_| comes_to_its_end(Failpoint::MidBody)) else {
                return Pin::new(&mut self.stream).poll_write(cx, buffer);
            };
            self.ends_at_next_write = true;
            Pin::new(&mut self.stream).poll_write(cx, buffer.get(..middle).unwrap_or(buffer))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }

    impl<S: AsyncRead + Unpin> AsyncRead for FailpointStream<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::reach;
#[cfg(feature = "failpoints")]
pub(crate) use armed::with_failpoints;

/// Reaches a failpoint: nothing in a build without them.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_failpoint: Failpoint) {}

/// A stream to a channel; itself in a build without failpoints.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn with_failpoints<S>(stream: S) -> S {
    stream
}
