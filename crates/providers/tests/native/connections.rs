//! What a connection to the channel may be used for, and how long it is kept.

use crate::support::{HandClock, attempt, job, provider};
use commentd_contract::{SystemClock, VerdictKind};
use commentd_delivery::breaker::{Weight, weigh};
use commentd_delivery::{Comment, Verdict};
use commentd_providers::native::dial::{Dial, Stream};
use commentd_providers::{BoxFuture, Provider};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
/// Far longer than any of this takes.
pub const GENEROUS: Duration = Duration::from_secs(20);

/// Serves each connection as `serve` does, one after the other in one task; the address.
async fn upstream<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    url
}

/// Reads one whole small request; false at the end.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut inbox = Vec::new();
    while !inbox.ends_with(b"}") {
        if !matches!(stream.read_buf(&mut inbox).await, Ok(1..)) {
            return false;
        }
    }
    true
}

async fn post(url: &str) -> Verdict {
    let clock = HandClock::default();
    attempt(&provider("", url, ["", ""], &clock), &job(1, 1, &clock)).await
}

/// Connections in memory, so that no clock runs while bytes are on their way.
struct InMemory<F>(F);

impl<F: Fn(DuplexStream) -> P + Send + Sync, P: Future<Output = ()> + Send + 'static> Dial for InMemory<F> {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(self.0(theirs));
        Box::pin(async { Ok(Box::new(ours) as Box<dyn Stream>) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_reply_is_not_taken_for_the_next_comments() {
    for pause_ms in [0, 1, 4, 8] {
        let stored = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&stored);
        // Stores the first comment on each connection and says so twice; what comes after it gets lost.
        let serve = move |mut stream: DuplexStream| {
            let stored = Arc::clone(&shared);
            async move {
                assert!(request(&mut stream).await);
                stored.fetch_add(1, Ordering::SeqCst);
                stream.write_all(REPLY).await.unwrap();
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                let _ = stream.write_all(REPLY).await;
                while request(&mut stream).await {}
            }
        };
        let clock = SystemClock::start_at(0);
        let provider = provider("", "http://in.memory", ["", ""], &clock).dialing(Arc::new(InMemory(serve)));
        for number in 1..=3 {
            let verdict = attempt(&provider, &job(number, 1, &clock)).await;
            assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
            assert_eq!(stored.load(Ordering::SeqCst), usize::from(number), "{pause_ms} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_writes_on_accept_is_no_reply() {
    let serve = async |mut stream: DuplexStream| {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let _ = stream.write_all(REPLY).await;
        while request(&mut stream).await {}
    };
    let clock = SystemClock::start_at(0);
    let provider = provider("", "http://in.memory", ["", ""], &clock).dialing(Arc::new(InMemory(serve)));
    for number in 1..=3 {
        let verdict = attempt(&provider, &job(number, 1, &clock)).await;
        assert_eq!(verdict.kind, VerdictKind::NotSent, "{verdict:?}");
        assert!(verdict.message.contains("speaks before it is asked"), "{verdict:?}");
    }
}

#[tokio::test]
async fn a_reply_that_begins_before_the_request_is_written_is_not_its_own() {
    let url = upstream(async |mut stream| {
        let mut byte = [0];
        let _ = stream.read_exact(&mut byte).await;
        let _ = stream.write_all(REPLY).await;
        // The rest of the request isn't read, so that it can't be written whole.
        std::future::pending::<()>().await;
    })
    .await;
    let clock = HandClock::default();
    let mut job = job(1, 1, &clock);
    let addressing = job.comment.addressing.clone();
    job.comment = Arc::new(Comment { content: "a".repeat(32 << 20), addressing });
    let verdict = attempt(&provider("", &url, ["", ""], &clock), &job).await;
    assert_eq!(verdict.kind, VerdictKind::Unknown, "{verdict:?}");
}

#[tokio::test]
async fn informational_replies_without_an_end_are_not_read_without_an_end() {
    let url = upstream(async |mut stream| {
        request(&mut stream).await;
        while stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await.is_ok() {}
    })
    .await;
    let verdict = tokio::time::timeout(GENEROUS, post(&url)).await.expect("it is read without an end");
    assert_eq!(verdict.kind, VerdictKind::Unknown, "{verdict:?}");
    assert!(verdict.message.contains("before the reply's head was whole"), "{verdict:?}");
}

#[tokio::test]
async fn a_long_body_is_no_long_head() {
    let body = format!("{{\"pad\":\"{}\"}}", "x".repeat(900 * 1024));
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(4000);
    for before in ["", hints.as_str()] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let reply = Arc::new([before, &head, &body].concat().into_bytes());
        let url = upstream(move |mut stream| {
            let reply = Arc::clone(&reply);
            async move { while request(&mut stream).await && stream.write_all(&reply).await.is_ok() {} }
        })
        .await;
        let clock = HandClock::default();
        let provider = provider("", &url, ["", ""], &clock);
        // The second goes over the first one's connection.
        for number in 1..=2 {
            let verdict = attempt(&provider, &job(number, 1, &clock)).await;
            assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
        }
    }
}

#[tokio::test]
async fn an_idle_connection_that_its_upstream_closes_is_closed_without_traffic() {
    let answered = Arc::new(Notify::new());
    let (closed, mut is_closed) = tokio::sync::mpsc::unbounded_channel();
    let shared = Arc::clone(&answered);
    let url = upstream(move |mut stream| {
        let (answered, closed) = (Arc::clone(&shared), closed.clone());
        async move {
            request(&mut stream).await;
            stream.write_all(REPLY).await.unwrap();
            answered.notified().await;
            stream.shutdown().await.unwrap();
            // Ends when the client has closed its side, too.
            let _ = stream.read(&mut [0]).await;
            closed.send(()).unwrap();
        }
    })
    .await;
    let clock = HandClock::default();
    let provider = provider("", &url, ["", ""], &clock);
    assert_eq!(attempt(&provider, &job(1, 1, &clock)).await.kind, VerdictKind::Delivered);
    answered.notify_one();
    tokio::time::timeout(GENEROUS, is_closed.recv()).await.expect("it stays half-closed");
}

/// A listener of this backlog that serves one connection after the other, each in `takes`.
fn small_listener(backlog: i32, takes: Duration) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(backlog).unwrap();
    let listener = std::net::TcpListener::from(socket);
    let url = format!("http://{}", listener.local_addr().unwrap());
    // A thread that ends with the process.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut inbox = Vec::new();
            let mut bytes = [0; 1024];
            while !inbox.ends_with(b"}") {
                match std::io::Read::read(&mut stream, &mut bytes) {
                    Ok(count @ 1..) => inbox.extend_from_slice(&bytes[..count]),
                    _ => break,
                }
            }
            std::thread::sleep(takes);
            let head = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            let _ = std::io::Write::write_all(&mut stream, head);
        }
    });
    url
}

#[tokio::test]
async fn ten_at_once_get_through_a_small_backlog_before_the_system_would_repeat_a_packet() {
    for backlog in [1, 3, 5] {
        let clock = HandClock::default();
        let url = small_listener(backlog, Duration::from_millis(3));
        let provider = Arc::new(provider("", &url, ["", ""], &clock));
        let attempts: Vec<_> = (1..=10)
            .map(|number| {
                let (provider, job) = (Arc::clone(&provider), job(number, 1, &clock));
                tokio::spawn(async move { attempt(&provider, &job).await })
            })
            .collect();
        let all = async {
            for attempt in attempts {
                let verdict = attempt.await.unwrap();
                assert_eq!(verdict.kind, VerdictKind::Delivered, "{verdict:?}");
            }
        };
        // The first repeated packet of a dropped connection comes after a second.
        tokio::time::timeout(Duration::from_millis(950), all).await.expect("somebody waited for the system");
    }
}

/// No connection can be made, for want of file descriptors.
struct Exhausted;

impl Dial for Exhausted {
    fn dial<'a>(&'a self, _host: &'a str, _port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        let too_many_open_files = if cfg!(windows) { 10024 } else { 24 };
        Box::pin(async move { Err(io::Error::from_raw_os_error(too_many_open_files)) })
    }
}

#[tokio::test]
async fn a_shortage_of_our_own_says_nothing_about_the_channel() {
    let clock = HandClock::default();
    let provider = provider("", "http://channel", ["", ""], &clock).dialing(Arc::new(Exhausted));
    let before = provider.status();
    let verdict = attempt(&provider, &job(1, 1, &clock)).await;
    assert_eq!(verdict.kind, VerdictKind::NotSent, "{verdict:?}");
    assert!(verdict.message.contains("ulimit -n"), "{verdict:?}");
    assert_eq!(weigh(&verdict, Duration::ZERO), Weight::Nothing, "the breaker");
    assert_eq!(provider.status(), before, "its health");
}
