//! The only place that writes to stdout and stderr, logs included, and counts what of it is lost.
//!
//! A command that ends by itself writes directly; it is no error if nobody reads any more. A service must neither wait
//! for its readers nor fail with them: after [`never_wait`], everything goes through a queue to a thread for each stream.
//! What finds the queue full or the stream closed is counted, and the count is written as soon as anything can be.
//!
//! Control characters are taken out, so that no text from outside can steer a terminal.

use commentd_contract::terminal;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, OnceLock};
use std::thread;
use std::time::Duration;

/// Texts that may wait for a stream.
const MOST_WAITING: usize = 4096;
/// Between two checks whether all was written.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

static STREAMS: OnceLock<[Stream; 2]> = OnceLock::new();
static LOST: LazyLock<Arc<AtomicU64>> = LazyLock::new(Arc::default);
static NOTES_ARE_JSON: AtomicBool = AtomicBool::new(false);

/// A stream with a thread of its own.
struct Stream {
    queue: SyncSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum To {
    Stdout,
    Stderr,
}

/// Writes a line to stdout.
pub(crate) fn say(text: &str) {
    write_line(&terminal::lines(text));
}

/// The same for JSON, which means what it meant.
pub(crate) fn say_json(json: &str) {
    write_line(&terminal::json(json));
}

/// The same for what belongs into a file: changed only where a terminal reads it.
pub(crate) fn say_as_it_is(text: &str) {
    if io::stdout().is_terminal() { say(text) } else { write_line(text) }
}

fn write_line(text: &str) {
    write(To::Stdout, format!("{text}\n").into_bytes());
}

/// Writes a question to stderr, without ending the line.
pub(crate) fn ask(question: &str) {
    write(To::Stderr, terminal::lines(question).into_bytes());
}

/// Writes an error to stderr.
pub(crate) fn complain(text: &str) {
    write(To::Stderr, format!("commentd: {}\n", terminal::lines(text)).into_bytes());
}

/// Writes a warning to stderr.
pub(crate) fn warn(text: &str) {
    write(To::Stderr, format!("commentd: warning: {}\n", terminal::lines(text)).into_bytes());
}

/// Writes what is logged to stderr. `as_json`: whether it is JSON, a line each.
pub(crate) fn log(lines: &[u8], as_json: bool) {
    NOTES_ARE_JSON.store(as_json, Ordering::Relaxed);
    write(To::Stderr, lines.to_vec());
}

/// How many lines were lost by now. It goes on counting.
pub(crate) fn lost_lines() -> Arc<AtomicU64> {
    Arc::clone(&LOST)
}

/// From now on nothing that is written waits for whoever reads, and a panic is logged instead of written.
///
/// # Errors
/// When the system gives no threads for it.
pub(crate) fn never_wait() -> io::Result<()> {
    if STREAMS.get().is_some() {
        return Ok(());
    }
    let streams = [
        Stream::start("stdout", |queue, waiting| write_all_of(queue, waiting, false, io::stdout))?,
        Stream::start("stderr", |queue, waiting| write_all_of(queue, waiting, true, io::stderr))?,
    ];
    let _ = STREAMS.set(streams);
    std::panic::set_hook(Box::new(
        |panic| tracing::error!(%panic, "a task failed; this is a fault of commentd"),
    ));
    Ok(())
}

/// Waits until all was written, at most so long. Blocking.
pub(crate) fn flush(at_most: Duration) {
    let Some(streams) = STREAMS.get() else { return };
    let mut left = at_most;
    while streams.iter().any(|stream| stream.waiting.load(Ordering::Acquire) > 0) && !left.is_zero() {
        thread::sleep(LOOK_AGAIN);
        left = left.saturating_sub(LOOK_AGAIN);
    }
}

fn write(to: To, text: Vec<u8>) {
    match (STREAMS.get(), to) {
        (Some([stdout, _]), To::Stdout) => stdout.push(text),
        (Some([_, stderr]), To::Stderr) => stderr.push(text),
        (None, To::Stdout) => drop(write_now(&mut io::stdout().lock(), &text)),
        (None, To::Stderr) => drop(write_now(&mut io::stderr().lock(), &text)),
    }
}

fn write_now(stream: &mut impl Write, text: &[u8]) -> io::Result<()> {
    stream.write_all(text)?;
    stream.flush()
}

impl Stream {
    fn start(
        name: &str,
        run: impl FnOnce(&Receiver<Vec<u8>>, &AtomicUsize) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, queued) = sync_channel(MOST_WAITING);
        let waiting = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&waiting);
        thread::Builder::new().name(name.into()).spawn(move || run(&queued, &counter))?;
        Ok(Self { queue, waiting })
    }

    fn push(&self, text: Vec<u8>) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.queue.try_send(text).is_err() {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            LOST.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes what comes by the queue until there is none any more, and with `notes` how much was lost.
fn write_all_of<W: Write>(
    queue: &Receiver<Vec<u8>>,
    waiting: &AtomicUsize,
    notes: bool,
    stream: impl Fn() -> W,
) {
    let mut told = 0;
    while let Ok(text) = queue.recv() {
        let lost = LOST.load(Ordering::Relaxed);
        if notes && lost > told && write_now(&mut stream(), note(lost - told).as_bytes()).is_ok() {
            told = lost;
        }
        if write_now(&mut stream(), &text).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn note(lost: u64) -> String {
    if NOTES_ARE_JSON.load(Ordering::Relaxed) {
        let fields =
            serde_json::json!({"message": "lines of this log were lost: nobody took them", "lost": lost});
        return format!("{}\n", serde_json::json!({"level": "WARN", "fields": fields}));
    }
    format!("commentd: warning: {lost} lines of this log were lost: nobody took them\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    /// A stream that takes something only when it is let, and then fails if that is asked for.
    #[derive(Clone)]
    struct Held {
        turns: Arc<Mutex<Receiver<bool>>>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Held {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.turns.lock().unwrap().recv().unwrap_or(true) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.written.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_nobody_takes_is_lost_and_counted_and_never_waited_for() {
        let (turn, turns) = channel();
        let held = Held { turns: Arc::new(Mutex::new(turns)), written: Arc::default() };
        let written = Arc::clone(&held.written);
        let stream = Stream::start("test", move |queue, waiting| {
            write_all_of(queue, waiting, true, || held.clone());
        })
        .unwrap();
        let before = LOST.load(Ordering::Relaxed);
        // One of them is at the stream, perhaps.
        for number in 0..MOST_WAITING + 2 {
            stream.push(format!("{number}\n").into_bytes());
        }
        assert!(LOST.load(Ordering::Relaxed) > before, "more than the queue takes");
        turn.send(false).unwrap();
        drop(turn);
        while stream.waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        stream.push(b"last\n".to_vec());
        while stream.waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        let written = written.lock().unwrap();
        assert!(written.contains("lines of this log were lost"), "{written}");
        assert!(written.ends_with("last\n"), "{written}");
    }
}
