//! Connections over TCP pass.

use super::{ChannelBehaviour, TestChannel, run};
use crate::native::dial::{Dial, Stream, Tcp};
use crate::provider::BoxFuture;
use commentd_delivery::{Clock, Moment};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

#[derive(Default)]
pub(super) struct Seen {
    pub(super) does: Mutex<Option<ChannelBehaviour>>,
    received: AtomicUsize,
    connections: AtomicUsize,
    greeted: Notify,
}

pub(super) struct Loopback {
    pub(super) seen: Arc<Seen>,
    port: u16,
    listening: JoinHandle<()>,
    clock: TestClock,
}

impl Loopback {
    pub(super) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Seen::default());
        let shared = Arc::clone(&seen);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { seen, port, listening, clock: TestClock::default() }
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Seen>) {
    let greeting = match &*seen.does.lock().unwrap() {
        Some(ChannelBehaviour::Greets(words)) => words.clone(),
        _ => Vec::new(),
    };
    stream.write_all(&greeting).await.unwrap();
    seen.greeted.notify_one();
    let mut inbox = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes).await {
            Ok(count) if count > 0 => inbox.extend_from_slice(&bytes[..count]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&inbox).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if body.len() < length.map_or(0, |length| length.parse().unwrap()) {
            continue;
        }
        inbox.clear();
        seen.received.fetch_add(1, Ordering::SeqCst);
        let does = seen.does.lock().unwrap().clone().unwrap();
        match does {
            // A client that has read enough may be gone by now.
            ChannelBehaviour::Says(words) => drop(stream.write_all(&words).await),
            ChannelBehaviour::SaysSlowly(words, pause) => {
                for piece in words.chunks(16) {
                    let _ = stream.write_all(piece).await;
                    tokio::time::sleep(pause).await;
                }
            }
            ChannelBehaviour::Closes(words) => {
                let _ = stream.write_all(&words).await;
                return;
            }
            ChannelBehaviour::Resets(words) => {
                let _ = stream.write_all(&words).await;
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            // In one write, so that the second is there when the first is, however busy the machine is.
            ChannelBehaviour::SaysTwice(words, Duration::ZERO) => {
                let _ = stream.write_all(&[words.clone(), words].concat()).await;
            }
            ChannelBehaviour::SaysTwice(words, pause) => {
                let _ = stream.write_all(&words).await;
                tokio::time::sleep(pause).await;
                let _ = stream.write_all(&words).await;
            }
            ChannelBehaviour::Nothing | ChannelBehaviour::Greets(_) => {}
        }
    }
}

/// Connects over TCP; what is said on accept is there by then.
struct Dialer(Arc<Seen>, Tcp);

impl Dial for Dialer {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream = self.1.dial(host, port).await?;
            self.0.greeted.notified().await;
            Ok(stream)
        })
    }
}

impl TestChannel for Loopback {
    fn dialer(&self) -> Arc<dyn Dial> {
        Arc::new(Dialer(Arc::clone(&self.seen), Tcp::new(self.clock())))
    }

    /// Time passes here as it likes.
    fn pauses_ms(&self) -> &'static [u64] {
        &[0]
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock)
    }

    fn does(&self, what: ChannelBehaviour) {
        *self.seen.does.lock().unwrap() = Some(what);
    }

    fn refuses(&self) {
        self.listening.abort();
    }

    fn received(&self) -> usize {
        self.seen.received.load(Ordering::SeqCst)
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

#[derive(Clone, Copy)]
struct TestClock(tokio::time::Instant);

impl Default for TestClock {
    #[allow(clippy::disallowed_methods, reason = "a clock for a test")]
    fn default() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Moment {
        Moment::at(self.0.elapsed())
    }

    fn unix_ms(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn connections_over_tcp_conform() {
    run(Loopback::new).await.unwrap();
}
