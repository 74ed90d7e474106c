//! Programs under test, ended by their id when the test ends, however it ends.

use crate::http::HttpClient;
use crate::wait::{PATIENCE, wait_for};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A command for this program in an environment that says nothing about commentd, without input.
pub fn command(program: &str) -> Command {
    let mut command = if cfg!(target_os = "linux") {
        // Whoever runs the tests may ignore some signals (a job in the background), and a child inherits that. `env`
        // becomes the program, under the same id.
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP,INT,TERM", program]);
        command
    } else {
        Command::new(program)
    };
    clear_settings(&mut command);
    command.stdin(Stdio::null());
    command
}

/// Leaves out of the command's environment what says anything about commentd.
pub fn clear_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy().into_owned();
        if text.starts_with("COMMENTD_") || text.starts_with("PYWEIXIN_") {
            command.env_remove(name);
        }
    }
}

/// Starts a program that is expected to end by itself instead of serving, and gives what it wrote. One that serves all
/// the same is killed after the test's patience, and so has no exit code.
pub fn output_of_refusal(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let _ = child.kill();
    child.wait_with_output().unwrap()
}

/// A process that says where it listens.
pub struct ServingProcess {
    child: Child,
    /// `http://host:port`.
    pub url: String,
    log: Arc<Mutex<String>>,
    reading: Option<JoinHandle<()>>,
}

impl ServingProcess {
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

    /// A client for it.
    pub fn client(&self) -> HttpClient {
        HttpClient::new(&self.url)
    }

    /// Its process id.
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

impl Drop for ServingProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
