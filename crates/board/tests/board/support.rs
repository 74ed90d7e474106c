//! What the board's tests share.

use commentd_board::{Board, BoardOptions, Counters, FaultPlan, FaultRule};
use commentd_test_support::http::request_bytes;
use commentd_test_support::{RawResponse, RunningBoard, in_time};
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A board on a free loopback port, and requests to it.
pub(crate) struct BoardUnderTest {
    running: RunningBoard,
}

impl BoardUnderTest {
    pub(crate) async fn start(options: BoardOptions) -> Self {
        Self { running: RunningBoard::start(options).await }
    }

    pub(crate) async fn honest() -> Self {
        Self::start(BoardOptions::default()).await
    }

    pub(crate) async fn with(rule: FaultRule) -> Self {
        Self::start(BoardOptions { faults: FaultPlan::default().with(rule), ..BoardOptions::default() }).await
    }

    pub(crate) fn board(&self) -> &Board {
        &self.running.board
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.running.address
    }

    pub(crate) async fn stop(self) -> Board {
        self.running.stop().await
    }

    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Counters) -> bool) -> Counters {
        let mut watch = self.board().watch();
        *in_time(what, watch.wait_for(condition)).await.unwrap()
    }

    pub(crate) async fn texts(&self, target: &str) -> Vec<String> {
        self.board().comments(target).await.unwrap().into_iter().map(|comment| comment.text).collect()
    }

    /// Sends the request and leaves the connection open.
    pub(crate) async fn open(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(request).await.unwrap();
        stream
    }

    pub(crate) async fn send(&self, request: &[u8]) -> RawResponse {
        let stream = self.open(request).await;
        in_time("a response", RawResponse::read(stream)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> RawResponse {
        self.send(&post(path, &[], body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> RawResponse {
        self.send(&request_bytes("GET", path, "board", &[], b"")).await
    }
}

/// The bytes of a request with this body and these headers beside the usual ones.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let headers = [headers, &[("Content-Type", "application/json")]].concat();
    request_bytes("POST", path, "board", &headers, body.to_string().as_bytes())
}
