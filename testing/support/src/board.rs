//! A board within the test's own process.

use crate::wait::in_time;
use commentd_board::{Board, BoardOptions};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A board on a free loopback port.
pub struct RunningBoard {
    /// The board itself.
    pub board: Board,
    /// Where it listens.
    pub address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl RunningBoard {
    /// Starts one. It ends when it is stopped or dropped, or with the runtime that it was started in.
    pub async fn start(options: BoardOptions) -> Self {
        let board = Board::open(options).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = board.clone();
        let serving = tokio::spawn(async move {
            served.serve(listener, async { drop(stopped.await) }).await.unwrap();
        });
        Self { board, address, stop, serving }
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it and waits for its end.
    pub async fn stop(self) -> Board {
        self.stop.send(()).unwrap();
        in_time("the board's end", self.serving).await.unwrap();
        self.board
    }
}
