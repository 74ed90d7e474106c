//! Fences: places on a comment's way at which a test can end the process as `kill -9` would.
//!
//! Only a build with the feature `fences` has them, and only the variable `COMMENTD_FENCE` arms one:
//! `after-intent:3` ends the process at the third passage of that fence. Without the feature each is an empty
//! inline function. Cargo unifies features, so builds of the whole workspace have them, unarmed.

/// A place on a comment's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
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

impl Fence {
    /// All of them, in the order of a comment's way.
    pub const ALL: [Fence; 5] =
        [Fence::BeforeIntent, Fence::AfterIntent, Fence::MidBody, Fence::AfterEffect, Fence::AfterRecord];

    /// Its name in `COMMENTD_FENCE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fence::BeforeIntent => "before-intent",
            Fence::AfterIntent => "after-intent",
            Fence::MidBody => "mid-body",
            Fence::AfterEffect => "after-effect",
            Fence::AfterRecord => "after-record",
        }
    }
}

#[cfg(feature = "fences")]
mod armed {
    use super::Fence;
    use std::io;
    use std::pin::Pin;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::{Context, Poll};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    struct Armed {
        fence: Fence,
        passages: AtomicU64,
        last: u64,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        ARMED
            .get_or_init(|| {
                let text = std::env::var("COMMENTD_FENCE").ok()?;
                let (name, last) = text.split_once(':').unwrap_or((&text, "1"));
                let fence = Fence::ALL.into_iter().find(|fence| fence.as_str() == name)?;
                Some(Armed { fence, passages: AtomicU64::new(0), last: last.parse().ok()? })
            })
            .as_ref()
    }

    /// Passes a fence; the process ends here if it is the armed one and this is its passage.
    pub fn pass(fence: Fence) {
        if comes_to_its_end(fence) {
            end();
        }
    }

    /// Counts a passage; true if it is the one at which the process is to end.
    fn comes_to_its_end(fence: Fence) -> bool {
        armed().is_some_and(|armed| {
            armed.fence == fence && armed.passages.fetch_add(1, Ordering::Relaxed) + 1 == armed.last
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
    pub(crate) struct Watched<S> {
        stream: S,
        ends_at_next_write: bool,
    }

    pub(crate) fn watched<S>(stream: S) -> Watched<S> {
        Watched { stream, ends_at_next_write: false }
    }

    /// The middle of the body of a POST that is written whole, from the buffer's start.
    fn middle_of_body(buffer: &[u8]) -> Option<usize> {
        let is_post = buffer.starts_with(b"POST ");
        let body = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        (is_post && buffer.len() > body + 1).then(|| body + (buffer.len() - body) / 2)
    }

    impl<S: crate::native::dial::Stream> crate::native::dial::Stream for Watched<S> {
        fn unread(&self) -> crate::native::dial::Unread {
            self.stream.unread()
        }
    }

    impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &[u8],
        ) -> Poll<io::Result<usize>> {
            if self.ends_at_next_write {
                end();
            }
            let Some(middle) = middle_of_body(buffer).filter(|_| comes_to_its_end(Fence::MidBody)) else {
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

    impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_read(cx, buffer)
        }
    }
}

#[cfg(feature = "fences")]
pub use armed::pass;
#[cfg(feature = "fences")]
pub(crate) use armed::watched;

/// Passes a fence; nothing in a build without them.
#[cfg(not(feature = "fences"))]
#[inline(always)]
pub fn pass(_fence: Fence) {}

/// A stream to a channel; itself in a build without fences.
#[cfg(not(feature = "fences"))]
#[inline(always)]
pub(crate) fn watched<S>(stream: S) -> S {
    stream
}
