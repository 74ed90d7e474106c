//! Connections that can be refused, slow, half-open, or cut at any byte. A channel's server isn't a task: it takes a
//! request in the moment in which its last byte is written, and what it says is there to be read from then on.

use super::channel::{self, Request};
use super::world::{Shared, World, lock};
use commentd_delivery::Moment;
use commentd_providers::BoxFuture;
use commentd_providers::native::dial::{Dial, Stream};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How a connection ends for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By EOF.
    Closed,
    /// By a reset.
    Reset,
}

/// A connection, seen from the wire.
pub(super) struct Wire {
    pub(super) host: usize,
    /// From the client to the channel.
    pub(super) latency: Duration,
    inbox: Vec<u8>,
    written: usize,
    /// The wire is cut after this many bytes from the client.
    cut_after: Option<usize>,
    /// What the client writes gets lost, and nobody tells it.
    is_hole: bool,
    /// The channel doesn't read any more from then on.
    pub(super) deaf_from: Option<Moment>,
    pub(super) outbox: VecDeque<(Moment, Vec<u8>)>,
    pub(super) ends: Option<(Moment, End)>,
    reader: Option<Waker>,
}

/// Makes connections to the world's channels.
pub(super) struct Network {
    pub(super) world: Shared,
}

impl Dial for Network {
    fn dial<'a>(&'a self, host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let Some((takes, id)) = lock(&self.world).dialled(host)? else {
                return std::future::pending().await;
            };
            tokio::time::sleep(takes).await;
            match id {
                None => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
                Some(id) => {
                    Ok(Box::new(Line { world: Shared::clone(&self.world), id, timer: None })
                        as Box<dyn Stream>)
                }
            }
        })
    }
}

impl World {
    /// How long the connection takes, and which it is if it isn't refused; `None` if the process doesn't live to see
    /// it.
    fn dialled(&mut self, host: &str) -> io::Result<Option<(Duration, Option<usize>)>> {
        let Some(host) = channel::HOSTS.iter().position(|name| *name == host) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        };
        if !self.step() {
            return Ok(None);
        }
        let takes = self.dice.pick_ms(&[0, 1, 20, 1, 1]);
        let takes = if self.trouble(2) { Duration::from_secs(5) } else { takes };
        let wire = if self.trouble(4) || self.channels.refuses { None } else { Some(self.wire(host)) };
        Ok(Some((takes, wire)))
    }

    fn wire(&mut self, host: usize) -> usize {
        let latency = self.dice.pick_ms(&[0, 1, 5, 1, 60]);
        let cut_after = self.trouble(5).then(|| self.dice.below(700));
        let is_hole = self.trouble(2);
        let mut greeting = self.channels.greeting.clone();
        if self.trouble(1) {
            self.count("greetings");
            greeting = channel::greeting(host);
        }
        let outbox =
            if greeting.is_empty() { VecDeque::new() } else { VecDeque::from([(self.now(), greeting)]) };
        self.channels.wires.push(Wire {
            host,
            latency,
            inbox: Vec::new(),
            written: 0,
            cut_after,
            is_hole,
            deaf_from: None,
            outbox,
            ends: None,
            reader: None,
        });
        self.channels.wires.len() - 1
    }

    /// Takes bytes from the client; how many, or how the wire has ended.
    fn wire_takes(&mut self, id: usize, bytes: &[u8]) -> io::Result<usize> {
        let now = self.now();
        let most = self.dice.pick(&[bytes.len(), bytes.len(), 7]).clamp(1, bytes.len().max(1));
        let Some(wire) = self.channels.wires.get_mut(id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        if wire.ends.is_some_and(|(at, _)| at <= now) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let left = wire.cut_after.map_or(usize::MAX, |cut| cut.saturating_sub(wire.written));
        let taken = most.min(bytes.len()).min(left);
        if taken == 0 && !bytes.is_empty() {
            wire.ends = Some((now, End::Reset));
            self.count("requests cut");
            self.note(|| format!("        wire {id} is cut"));
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        wire.written += taken;
        let arrives = now + wire.latency;
        if wire.is_hole || wire.deaf_from.is_some_and(|from| from <= arrives) {
            return Ok(taken);
        }
        wire.inbox.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if let Some(request) = request_in(&mut wire.inbox) {
            let reader = wire.reader.take();
            channel::receive(self, id, arrives, &request);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        Ok(taken)
    }
}

/// A whole request at the head of these bytes, which it takes out of them.
fn request_in(bytes: &mut Vec<u8>) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        _ => return None,
    };
    let header = |name: &str| {
        let value = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        value.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or_default().to_owned()
    };
    let length: usize = header("content-length").parse().unwrap_or(0);
    let body = bytes.get(head..head + length)?.to_vec();
    let request = Request {
        is_post: parsed.method == Some("POST"),
        path: parsed.path.unwrap_or_default().to_owned(),
        key: header("idempotency-key"),
        body,
    };
    bytes.drain(..head + length);
    Some(request)
}

/// The client's end of a wire.
struct Line {
    world: Shared,
    id: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let next = {
                let mut world = lock(&self.world);
                if world.is_dead() {
                    return Poll::Pending;
                }
                let now = world.now();
                let Some(wire) = world.channels.wires.get_mut(self.id) else {
                    return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                };
                if let Some((_, bytes)) = wire.outbox.front_mut().filter(|(at, _)| *at <= now) {
                    let taken = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes.drain(..taken).collect::<Vec<u8>>());
                    if bytes.is_empty() {
                        wire.outbox.pop_front();
                    }
                    return Poll::Ready(Ok(()));
                }
                match wire.ends {
                    Some((at, End::Closed)) if at <= now => return Poll::Ready(Ok(())),
                    Some((at, End::Reset)) if at <= now => {
                        return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                    }
                    _ => {}
                }
                wire.reader = Some(cx.waker().clone());
                let next =
                    wire.outbox.front().map(|(at, _)| *at).into_iter().chain(wire.ends.map(|(at, _)| at));
                let next = next.min();
                next.and_then(|next| world.instant(next))
            };
            let Some(next) = next else { return Poll::Pending };
            let mut timer = Box::pin(tokio::time::sleep_until(next));
            if timer.as_mut().poll(cx).is_pending() {
                self.timer = Some(timer);
                return Poll::Pending;
            }
        }
    }
}

/// A read knows it all.
impl Stream for Line {}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut world = lock(&self.world);
        if !world.step() {
            return Poll::Pending;
        }
        Poll::Ready(world.wire_takes(self.id, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        channel::hung_up(&mut lock(&self.world), self.id);
    }
}
