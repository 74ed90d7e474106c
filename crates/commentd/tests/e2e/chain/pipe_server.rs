//! A hook's pipe that does what the comment's text tells it to, one client at a time, as the real one.

use commentd_test_support::server::Latch;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the pipe saw.
#[derive(Debug, Default)]
pub struct PipeRecord {
    /// The texts that it posted.
    pub posted: Vec<String>,
    /// Requests that arrived while it worked on a comment, on the same connection or another.
    pub at_once: usize,
    is_at_work: bool,
    /// Clients that have left.
    pub left: usize,
    /// What `status` calls false.
    pub lacks: Option<&'static str>,
    /// How old `status` calls the capture, in ms; nothing is said of it if none.
    pub capture_age_ms: Option<u64>,
    /// The execution modes that comments asked for.
    pub modes: Vec<String>,
    last_task: String,
}

pub struct PipeServer {
    pub seen: Arc<Mutex<PipeRecord>>,
    /// What a comment that waits waits for.
    pub free: Latch,
}

impl PipeServer {
    pub fn start(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Arc::<Mutex<PipeRecord>>::default();
        let free = Latch::default();
        let (shared, awaited, turn) = (Arc::clone(&seen), free.clone(), Arc::<Mutex<()>>::default());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let (seen, free, turn) = (Arc::clone(&shared), awaited.clone(), Arc::clone(&turn));
                std::thread::spawn(move || {
                    note_if_at_work(&stream, &seen);
                    let _turn = turn.lock().unwrap();
                    serve(&mut stream, &seen, &free);
                    seen.lock().unwrap().left += 1;
                });
            }
        });
        Self { seen, free }
    }

    pub fn posted(&self) -> Vec<String> {
        self.seen.lock().unwrap().posted.clone()
    }
}

/// A client of the pipe: asks for its status, and waits for the answer.
pub fn ask_status(path: &Path) -> Value {
    let mut stream = UnixStream::connect(path).unwrap();
    say(&mut stream, &json!({"v": 1, "cmd": "status", "task_id": "other"}));
    hear(&mut stream).unwrap()
}

fn hear(stream: &mut UnixStream) -> Option<Value> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap()];
    stream.read_exact(&mut frame).ok()?;
    Some(serde_json::from_slice(&frame).unwrap())
}

fn framed(reply: &Value) -> Vec<u8> {
    let text = reply.to_string();
    [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

fn say(stream: &mut UnixStream, reply: &Value) {
    // A client that has left can't be told.
    let _ = stream.write_all(&framed(reply));
}

/// Waits until a client says something, and notes whether that was while a comment was at work.
fn note_if_at_work(stream: &UnixStream, seen: &Mutex<PipeRecord>) {
    let said = socket2::SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    let mut seen = seen.lock().unwrap();
    seen.at_once += usize::from(seen.is_at_work && matches!(said, Ok(read) if read > 0));
}

fn serve(stream: &mut UnixStream, seen: &Mutex<PipeRecord>, free: &Latch) {
    while let Some(request) = hear(stream) {
        let task_id = request["task_id"].as_str().unwrap().to_owned();
        let yes = json!({"v": 1, "ok": true, "error_code": 0, "error_message": "", "task_id": task_id,
            "data": {"hook_installed": true, "state_captured": true, "context_fresh": false}});
        if request["cmd"] != "comment" {
            let mut status = yes;
            let seen = seen.lock().unwrap();
            if let Some(name) = seen.lacks {
                status["data"][name] = json!(false);
            }
            if let Some(age) = seen.capture_age_ms {
                status["data"]["capture_age_ms"] = json!(age);
            }
            drop(seen);
            say(stream, &status);
            continue;
        }
        assert!(request["allow_queue_fallback"] == false);
        seen.lock().unwrap().modes.push(request["execution_mode"].as_str().unwrap().to_owned());
        let content = request["content"].as_str().unwrap();
        let does = content.split("hook=").nth(1).unwrap().split(';').next().unwrap();
        let previous = std::mem::replace(&mut seen.lock().unwrap().last_task, task_id.clone());
        let no = |code: u64, message: &str| json!({"v": 1, "ok": false, "error_code": code, "error_message": message, "task_id": task_id});
        if let Some(code) = does.strip_prefix("code ") {
            say(stream, &no(code.parse().unwrap(), "told to"));
            continue;
        }
        match does {
            "isn't captured" => {
                say(stream, &no(30, "runtime context not captured yet"));
                continue;
            }
            "wasn't run" => {
                say(stream, &no(30, "capture-thread execution timeout"));
                continue;
            }
            "dies" => return,
            _ => {}
        }
        {
            let mut seen = seen.lock().unwrap();
            seen.posted.push(content.to_owned());
            seen.is_at_work = true;
        }
        // It takes a little, as the real one does: else nobody could come in between.
        std::thread::park_timeout(Duration::from_millis(1));
        if does == "waits" {
            free.wait();
        }
        seen.lock().unwrap().is_at_work = false;
        // What came meanwhile on this connection shows as bytes that wait.
        stream.set_nonblocking(true).unwrap();
        let said = socket2::SockRef::from(&*stream).peek(&mut [MaybeUninit::uninit()]);
        stream.set_nonblocking(false).unwrap();
        seen.lock().unwrap().at_once += usize::from(matches!(said, Ok(read) if read > 0));
        match does {
            "posts and dies" => return,
            "is cut" => {
                let frame = framed(&yes);
                let _ = stream.write_all(&frame[..frame.len() / 2]);
                return;
            }
            "may still run" => {
                say(stream, &no(30, "timeout (job may still be running)"));
            }
            "hangs" => {
                let _ = hear(stream);
                return;
            }
            "answers late" => {
                say(stream, &json!({"v": 1, "ok": false, "error_code": 10, "task_id": previous}));
                say(stream, &yes);
            }
            _ => say(stream, &yes),
        }
    }
}
