//! A board on a free loopback port, and a client that sees exactly what comes over the wire.

use commentd_board::{Board, BoardOptions, Counters, FaultPlan, FaultRule};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Only there so that a broken board fails a test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: nothing after 30 s"))
}

pub(crate) struct Running {
    pub(crate) board: Board,
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(options: BoardOptions) -> Self {
        let board = Board::open(options).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = board.clone();
        let serving = tokio::spawn(async move {
            served.serve(listener, async { drop(stopped.await) }).await.unwrap();
        });
        Self { board, address, stop, serving }
    }

    pub(crate) async fn honest() -> Self {
        Self::start(BoardOptions::default()).await
    }

    pub(crate) async fn with(rule: FaultRule) -> Self {
        Self::start(BoardOptions { faults: FaultPlan::default().with(rule), ..BoardOptions::default() }).await
    }

    pub(crate) async fn stop(self) -> Board {
        self.stop.send(()).unwrap();
        patiently("the board's end", self.serving).await.unwrap();
        self.board
    }

    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Counters) -> bool) -> Counters {
        let mut watch = self.board.watch();
        *patiently(what, watch.wait_for(condition)).await.unwrap()
    }

    pub(crate) async fn texts(&self, target: &str) -> Vec<String> {
        self.board.comments(target).await.unwrap().into_iter().map(|comment| comment.text).collect()
    }

    /// Sends the request and leaves the connection open.
    pub(crate) async fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn send(&self, request: &str) -> Seen {
        let stream = self.open(request).await;
        patiently("an answer", read_all(stream)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Seen {
        self.send(&post(path, "", body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Seen {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: board\r\nConnection: close\r\n\r\n")).await
    }
}

pub(crate) fn post(path: &str, headers: &str, body: &Value) -> String {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nHost: board\r\nConnection: close\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What came before the connection's end.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    /// 0: not a byte.
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    pub(crate) fn content_length(&self) -> usize {
        let line = self.head.lines().find_map(|line| line.strip_prefix("content-length: "));
        line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no length in {self:?}"))
    }
}

/// Reads to the connection's end; a reset is an end like any other.
pub(crate) async fn read_all(mut stream: TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    seen(&bytes)
}

pub(crate) fn seen(bytes: &[u8]) -> Seen {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Seen { status, head: head.to_owned(), body: body.to_owned() }
}
