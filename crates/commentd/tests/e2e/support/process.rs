//! Processes under test, ended by their id when the test ends, however it ends.

use super::{Client, wait_for};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The program itself.
pub struct Program;

impl Program {
    /// A command with these arguments in an environment that says nothing about commentd.
    pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
        let program = env!("CARGO_BIN_EXE_commentd");
        let mut command = if cfg!(target_os = "linux") {
            // Whoever runs the tests may ignore some signals (`nohup`, a job in the background), and a child inherits
            // that. `env` becomes the program, under the same id.
            let mut command = Command::new("env");
            command.args(["--default-signal=HUP,INT,TERM", program]);
            command
        } else {
            Command::new(program)
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().into_owned();
            if text.starts_with("COMMENTD_") || text.starts_with("PYWEIXIN_") {
                command.env_remove(name);
            }
        }
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
        Self::command(args).output().unwrap()
    }
}

/// A process that says where it listens.
pub struct Served {
    child: Child,
    pub url: String,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl Served {
    /// Starts it and waits for its line with `listening on URL`.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().unwrap();
        let sink = Arc::clone(&log);
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        let url = loop {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let status = child.wait().unwrap();
                panic!("it ended ({status}) before it listened: {said}{}", log.lock().unwrap());
            }
            said.push_str(&line);
            if let Some((_, after)) = line.split_once("listening on ") {
                break after.split_whitespace().next().unwrap().trim_end_matches([',', ';']).to_owned();
            }
        };
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || {
            let mut rest = String::new();
            let _ = stdout.read_to_string(&mut rest);
        });
        Self { child, url, log, reading: Some(reading) }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.url)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to stderr by now.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub fn terminate(self) -> ExitStatus {
        self.ask_to_end();
        self.ended().0
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_end(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end; also gives all that it wrote to stderr.
    pub fn ended(mut self) -> (ExitStatus, String) {
        let mut status = None;
        wait_for("the process to end after SIGTERM", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        (status.unwrap(), self.log())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `commentd serve`.
pub struct Sidecar;

impl Sidecar {
    /// With these arguments, on a free port.
    pub fn start(args: &[&str]) -> Served {
        Served::start(Program::command(["serve", "--port", "0"].iter().chain(args)))
    }

    /// In front of a channel at `url`, with its ledger in this directory.
    pub fn for_channel(channel: &str, url: &str, directory: &Path, args: &[&str]) -> Served {
        let ledger = directory.join("ledger.db");
        let mut all = vec!["--channel", channel, "--channel-url", url, "--ledger", ledger.to_str().unwrap()];
        all.extend_from_slice(args);
        Self::start(&all)
    }
}

/// `commentd board`.
pub struct Board;

impl Board {
    /// With these arguments, on a free port.
    pub fn start(args: &[&str]) -> Served {
        Served::start(Program::command(["board"].iter().chain(args)))
    }

    /// What is on a board's target, as the board itself says.
    pub fn comments(url: &str, target: &str) -> Vec<serde_json::Value> {
        let path = format!("/api/comments?target={target}&limit=10000");
        Client::new(url).get(&path).json()["comments"].as_array().unwrap().clone()
    }

    /// The board's counters.
    pub fn counter(url: &str, name: &str) -> u64 {
        Client::new(url).get("/api/requests").json()[name].as_u64().unwrap()
    }
}
