//! A board, the fenced program in front of it, and calls to it.

use commentd_board::{Board, BoardOptions, FaultPlan, StoredComment};
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The program to be killed.
pub(crate) const FENCED: &str = env!("CARGO_BIN_EXE_commentd-fenced");

/// A board that ends with the test.
pub(crate) struct Served {
    pub(crate) url: String,
    board: Board,
    runtime: tokio::runtime::Runtime,
}

impl Served {
    pub(crate) fn board() -> Self {
        Self::board_with(FaultPlan::default())
    }

    pub(crate) fn board_with(faults: FaultPlan) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let board = Board::open(BoardOptions { faults, ..BoardOptions::default() }).unwrap();
        let serving = board.clone();
        runtime.spawn(async move { serving.serve(listener, std::future::pending()).await });
        Self { url, board, runtime }
    }

    /// All comments of a target.
    pub(crate) fn comments(&self, target: &str) -> Vec<StoredComment> {
        self.runtime.block_on(self.board.comments(target)).unwrap()
    }
}

/// A running sidecar, ended with the test.
pub(crate) struct Sidecar {
    child: Child,
    address: String,
}

impl Sidecar {
    /// Starts the command and reads where it listens.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| Some(line.ok()?.split_once("listening on http://")?.1.to_owned()));
        let line = line.expect("it says where it listens");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || for _ in lines {});
        Self { child, address: line.split_whitespace().next().unwrap().to_owned() }
    }

    /// The arguments of a sidecar in front of this board, on a ledger in this folder.
    pub(crate) fn args(url: &str, folder: &Path) -> Vec<String> {
        let ledger = folder.join("ledger.db").display().to_string();
        let args = ["serve", "--port", "0", "--channel", "board", "--channel-url", url, "--ledger", &ledger];
        args.into_iter().chain(["--log-level", "error"]).map(str::to_owned).collect()
    }

    /// The fenced program in an environment that says nothing about commentd.
    pub(crate) fn command(url: &str, folder: &Path) -> Command {
        let mut command = Command::new(FENCED);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("COMMENTD_") {
                command.env_remove(name);
            }
        }
        command.args(Self::args(url, folder));
        command
    }

    /// Posts a batch of these comments under this key; gives status and reply.
    pub(crate) fn batch(&self, key: &str, comments: &[&str], deadline_ms: u64) -> (u16, Value) {
        self.try_batch(key, comments, deadline_ms).unwrap()
    }

    /// As [`Sidecar::batch`]; an error if no answer comes.
    pub(crate) fn try_batch(
        &self,
        key: &str,
        comments: &[&str],
        deadline_ms: u64,
    ) -> std::io::Result<(u16, Value)> {
        let body = serde_json::json!({
            "sns_id": "t", "comments": comments, "idempotency_key": key, "deadline_ms": deadline_ms,
        })
        .to_string();
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            stream,
            "POST /api/comment/batch HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply)?;
        let Some((head, body)) = reply.split_once("\r\n\r\n") else {
            return Err(ErrorKind::UnexpectedEof.into());
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Ok((status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {reply}"))))
    }

    /// Asks it to end, as a service manager would, waits until it has, and gives its process id.
    #[cfg(target_os = "linux")]
    pub(crate) fn end(mut self) -> u32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
        self.child.id()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
