//! Whose bytes are these? A reply belongs to a request only if nothing of it was there before the request was.

use super::dial::{Stream, Unread};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that may come before the head of a reply is whole, informational replies (1xx) included. A channel that
/// sends them without an end would otherwise keep us reading.
const MOST_HEAD_BYTES: usize = 256 * 1024;

/// What a connection's bytes have shown. Only the task that uses the connection writes here.
#[derive(Debug, Default)]
pub(super) struct StreamObserver {
    /// A request's first byte was written, and its reply isn't read whole yet.
    asked: AtomicBool,
    /// A part of the request isn't written yet.
    unsent: AtomicBool,
    /// The system itself is asked for bytes of which the runtime hasn't heard yet.
    looks_closely: AtomicBool,
    /// Bytes came that nobody had asked for.
    unasked: AtomicBool,
    /// A reply began before its request was written.
    early: AtomicBool,
    /// The reply's head is whole: what follows is its body.
    has_head: AtomicBool,
    /// Bytes since the request, until its reply's head is whole.
    head_bytes: AtomicUsize,
}

impl StreamObserver {
    /// While this is on, what the system has and the runtime hasn't heard of counts as well.
    pub(super) fn look_closely(&self, closely: bool) {
        self.looks_closely.store(closely, Relaxed);
    }

    /// The reply's head is here; what follows is its body.
    pub(super) fn head_is_read(&self) {
        self.has_head.store(true, Relaxed);
    }

    /// The reply is read whole: from here on nobody has asked for anything.
    pub(super) fn reply_is_read(&self) {
        self.asked.store(false, Relaxed);
        self.has_head.store(false, Relaxed);
        self.head_bytes.store(0, Relaxed);
    }

    /// A request is being written or answered.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// There were bytes that nobody had asked for.
    pub(super) fn set_unasked(&self) {
        self.unasked.store(true, Relaxed);
    }

    /// Whether bytes came that nobody had asked for.
    pub(super) fn was_unasked(&self) -> bool {
        self.unasked.load(Relaxed)
    }

    /// Whether a reply began before its request was written, so that it can't be its reply.
    pub(super) fn was_early(&self) -> bool {
        self.early.load(Relaxed)
    }
}

/// A stream that keeps its watch up to date.
pub(super) struct ObservedStream {
    stream: Box<dyn Stream>,
    watch: Arc<StreamObserver>,
}

impl ObservedStream {
    pub(super) fn new(stream: Box<dyn Stream>) -> (Self, Arc<StreamObserver>) {
        let watch = Arc::new(StreamObserver::default());
        (Self { stream, watch: Arc::clone(&watch) }, watch)
    }

    fn came(&self, bytes: usize) {
        let watch = &*self.watch;
        if bytes == 0 {
            return;
        }
        if !watch.is_asked() {
            watch.set_unasked();
            return;
        }
        if watch.unsent.load(Relaxed) {
            watch.early.store(true, Relaxed);
        }
        if !watch.has_head.load(Relaxed) {
            watch.head_bytes.store(watch.head_bytes.load(Relaxed).saturating_add(bytes), Relaxed);
        }
    }

    /// Whether what came may still be taken for a head: asked before more is read, because the bytes that came last may
    /// have its end in them.
    fn may_read_on(&self) -> io::Result<()> {
        let watch = &*self.watch;
        if !watch.has_head.load(Relaxed) && watch.head_bytes.load(Relaxed) > MOST_HEAD_BYTES {
            return Err(io::Error::other(format!(
                "more than {MOST_HEAD_BYTES} bytes came before the reply's head was whole"
            )));
        }
        Ok(())
    }
}

impl AsyncRead for ObservedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.may_read_on()?;
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => {
                self.came(buffer.filled().len().saturating_sub(before));
                Poll::Ready(Ok(()))
            }
            Poll::Pending if self.watch.looks_closely.load(Relaxed) && !self.watch.is_asked() => {
                match self.stream.unread() {
                    Unread::Nothing => Poll::Pending,
                    Unread::Bytes => {
                        self.watch.set_unasked();
                        Poll::Ready(Err(io::Error::other("bytes came that nobody had asked for")))
                    }
                    Unread::End => Poll::Ready(Ok(())),
                }
            }
            other => other,
        }
    }
}

impl AsyncWrite for ObservedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.watch.asked.store(true, Relaxed);
        self.watch.unsent.store(true, Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.watch.asked.store(true, Relaxed);
        self.watch.unsent.store(true, Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.watch.unsent.store(false, Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
